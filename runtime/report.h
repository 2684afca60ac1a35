// Owns: what a finished run has to say: RunResult, its JSON (schema version 1) and its summary.
// Must not: read a file of the kernel, or print.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cgroups/plan.h"
#include "cgroups/stats.h"
#include "runtime/launch.h"
#include "spec/model.h"

namespace minirun {

inline constexpr int report_schema = 1;

struct RunResult {
  std::string id;
  std::string name;
  std::optional<int> exit_code;  ///< of the program, when it exited
  std::optional<int> signal;     ///< that killed it
  bool timed_out = false;
  double seconds = 0;             ///< from the word to go until the end of init
  std::string started, finished;  ///< RFC 3339
  CgroupPlan cgroup;
  std::map<std::string, Origin> origins;
  CgroupStats stats;
  LimitVerdict verdict;
  std::vector<PhaseClock::Phase> phases;
  std::string layer;  ///< where `--keep` left the upper directory

  /// As shells and docker do: the program's own, or 128 + signal.
  [[nodiscard]] int status() const;
};

[[nodiscard]] std::string report_json(const RunResult& result);

/// Four lines, as in README.md; `color` marks what was hit.
[[nodiscard]] std::string summary(const RunResult& result, bool color);

/// "64 MiB", "1.2 MiB", "512 B": binary units, at most one decimal.
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
/// "2.31 s", "18.4 ms", "350 us"
[[nodiscard]] std::string human_duration(double seconds);

}  // namespace minirun
