// Owns: the counters of a cgroup as numbers, and what they say about which limit was hit.
// Must not: keep time or compute rates (probes/ does).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"

namespace minirun {

/// A "key value" file: memory.stat, memory.events.
using FlatKeys = std::map<std::string, std::uint64_t, std::less<>>;
[[nodiscard]] FlatKeys parse_flat_keyed(std::string_view text);
/// 0 without the key.
[[nodiscard]] inline std::uint64_t count_of(const FlatKeys& keys, std::string_view key) {
  const auto it = keys.find(key);
  return it == keys.end() ? 0 : it->second;
}

/// cpu.stat. Times in microseconds. The second half needs the cpu controller (bursts: 5.14).
struct CpuStats {
  std::uint64_t usage_usec = 0, user_usec = 0, system_usec = 0;
  std::optional<std::uint64_t> nr_periods, nr_throttled, throttled_usec, nr_bursts, burst_usec;
  bool operator==(const CpuStats&) const = default;
};
[[nodiscard]] CpuStats parse_cpu_stat(std::string_view text);

/// Bytes, except for the event counters.
struct MemoryStats {
  std::uint64_t current = 0;
  std::optional<std::uint64_t> max;   ///< absent: no limit
  std::optional<std::uint64_t> peak;  ///< memory.peak, Linux 5.19; absent before that
  FlatKeys stat;                      ///< memory.stat: anon, file, kernel, shmem, slab ...
  FlatKeys events;                    ///< memory.events: low, high, max, oom, oom_kill ...
  FlatKeys events_local;              ///< the same without what happened below
  std::optional<std::uint64_t> swap_current, swap_peak, swap_max;
  FlatKeys swap_events;
  bool operator==(const MemoryStats&) const = default;

  /// The highest usage that is known, and the file that it is from: without memory.peak only
  /// "memory.current", which is a lower bound.
  struct Peak {
    std::uint64_t bytes;
    std::string_view source;
  };
  [[nodiscard]] Peak highest() const;
};

struct PidsStats {
  std::uint64_t current = 0;
  std::optional<std::uint64_t> max;   ///< absent: no limit
  std::optional<std::uint64_t> peak;  ///< pids.peak, Linux 6.1
  std::uint64_t max_events = 0;       ///< forks refused
  bool operator==(const PidsStats&) const = default;
};

struct IoStats {
  std::uint64_t rbytes = 0, wbytes = 0, rios = 0, wios = 0, dbytes = 0, dios = 0;
  bool operator==(const IoStats&) const = default;
};
/// io.stat, by "major:minor".
[[nodiscard]] std::map<std::string, IoStats> parse_io_stat(std::string_view text);

/// Pressure stall information: totals in microseconds since the cgroup was made, and the share of
/// the last 10, 60 and 300 seconds in percent.
struct Pressure {
  std::uint64_t some_usec = 0;
  std::optional<std::uint64_t> full_usec;  ///< for cpu since Linux 5.13
  std::array<double, 3> some_percent{}, full_percent{};
  bool operator==(const Pressure&) const = default;
};
[[nodiscard]] std::optional<Pressure> parse_pressure(std::string_view text);

/// Absent parts: the controller is not enabled for this cgroup, or the kernel has no PSI (psi=1).
struct CgroupStats {
  CpuStats cpu;
  std::optional<MemoryStats> memory;
  std::optional<PidsStats> pids;
  std::optional<std::map<std::string, IoStats>> io;
  std::optional<Pressure> cpu_pressure, memory_pressure, io_pressure;
  bool operator==(const CgroupStats&) const = default;
};

/// Reads all of it. Errors: the cgroup is gone (ENODEV); an absent file is not an error.
[[nodiscard]] Result<CgroupStats> read_stats(const CgroupFd& cgroup);

// ------------------------------------------------------------------ what only `events` shows

struct HugetlbStats {
  std::uint64_t current = 0;
  std::optional<std::uint64_t> max;  ///< absent: no limit
  std::uint64_t failures = 0;
  bool operator==(const HugetlbStats&) const = default;
};

/// The rarer controllers, and what is counted for each process.
struct DetailedStats {
  std::map<std::string, HugetlbStats> hugetlb;  ///< by page size, "2MB"
  std::map<std::string, FlatKeys> rdma;         ///< rdma.current by device
  FlatKeys misc;                                ///< misc.current
  std::string cpus, mems;                       ///< cpuset.*.effective
  /// Sums over the threads that live now; what ended took its numbers along.
  std::uint64_t voluntary_switches = 0, involuntary_switches = 0;
  std::uint64_t processes = 0, threads = 0;
  /// True when there are more threads than are looked at (4096).
  bool switches_truncated = false;
};
[[nodiscard]] Result<DetailedStats> read_detailed_stats(const CgroupFd& cgroup);

// ------------------------------------------------------------------ which limit was hit

/// The counters of one cgroup on the way from the container to the root.
struct LevelCounters {
  std::string path;
  FlatKeys memory_events;        ///< with what is below
  FlatKeys memory_events_local;  ///< without
  FlatKeys pids_events;          ///< pids.events.local (Linux 6.11), else pids.events
  bool pids_local = false;       ///< which of the two it is
  std::optional<std::uint64_t> memory_max, pids_max;
  bool operator==(const LevelCounters&) const = default;
};

/// The container's cgroup first, then its ancestors; the root of the mount has no counters.
/// Errors: `path` cannot be opened.
[[nodiscard]] Result<std::vector<LevelCounters>> read_levels(const CgroupFacts& facts,
                                                             std::string_view path);

/// Who ran out of memory.
enum class OomCause {
  none,
  own_limit,  ///< the container's memory.max
  below,      ///< a memory.max that the container set for a cgroup of its own
  ancestor,   ///< the memory.max of a cgroup above it
  host,       ///< the machine: killed without any limit being hit
};

struct LimitVerdict {
  OomCause oom = OomCause::none;
  std::uint64_t oom_kills = 0;  ///< processes killed in the container
  bool group_kill = false;      ///< memory.oom.group: all of them at once
  std::string oom_path;         ///< the cgroup whose limit it was; empty for host and below
  std::optional<std::uint64_t> oom_limit_bytes;
  std::uint64_t memory_max_hits = 0;  ///< reclaim forced by the container's own memory.max
  std::uint64_t pids_hits = 0;        ///< forks refused in the container
  std::string pids_path;              ///< whose pids.max; empty when the kernel does not tell
  bool operator==(const LimitVerdict&) const = default;
};

/// Compares two readings of the same levels. A level without a reading before (made since)
/// counts from zero; without `before` at all, everything does.
[[nodiscard]] LimitVerdict judge_limits(const std::vector<LevelCounters>& before,
                                        const std::vector<LevelCounters>& after);

/// One sentence without a final stop, e.g. "killed 1 process: out of memory at memory.max of
/// /pod, 67108864 bytes"; empty when nothing was hit.
[[nodiscard]] std::string describe(const LimitVerdict& verdict);

}  // namespace minirun
