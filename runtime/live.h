// Owns: what containers use right now: two readings of the counters and the rates between them.
// Must not: lay out text, or keep more than one earlier reading.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/stats.h"

namespace minirun {

/// One reading of one container. Limits are the smallest of its cgroup and those above it.
struct LiveReading {
  std::string id;
  std::chrono::steady_clock::time_point at;
  CgroupStats stats;
  std::optional<double> cpus_allowed;
  std::optional<std::uint64_t> memory_max, pids_max;
};
/// Error: the cgroup is gone.
[[nodiscard]] Result<LiveReading> read_live(const HostFacts& facts, const std::string& id,
                                            const std::string& cgroup_path);

/// What happened between two readings. Rates are per second.
struct LiveUsage {
  std::string id;
  double seconds = 0;  ///< between the readings
  double cpus = 0;     ///< CPU seconds per second
  std::optional<double> cpus_allowed;
  double throttled_share = 0;    ///< of the periods, 0 to 1
  double throttled_seconds = 0;  ///< stalled per second, of all CPUs together
  std::optional<std::uint64_t> memory, working_set, memory_max;
  std::uint64_t oom_kills = 0;                                       ///< since its start
  std::optional<double> cpu_pressure, memory_pressure, io_pressure;  ///< "some", 0 to 1
  std::optional<std::uint64_t> pids, pids_max;
  double read_bytes = 0, written_bytes = 0;
  bool operator==(const LiveUsage&) const = default;
};
[[nodiscard]] LiveUsage usage_between(const LiveReading& before, const LiveReading& after);

}  // namespace minirun
