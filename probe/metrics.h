// Owns: what follows from the counters of one recorded run beside its document: throttled shares,
// peaks, kills, with the arithmetic of the limits. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "probe/judge.h"

namespace minirun::probe {

struct Derived {
  std::string metric, unit, better;
  double value = 0;
};

/// The name of a document's metric in a recording: the scenario takes the place of the workload's
/// kind ("throttle.2t.gap" of "nt" is "throttle.nt.gap"), or stands before it.
[[nodiscard]] std::string recorded_name(const Json& run, const std::string& metric);

/// From "before", "after", "limits" and the document of one run.
[[nodiscard]] std::vector<Derived> derive(const Json& run);

/// Quota and period of "cpu.max" in microseconds; nullopt: no limit ("max"), or no such file.
struct Quota {
  double quota_us, period_us;
};
[[nodiscard]] std::optional<Quota> quota_of(const Json& limits);
[[nodiscard]] std::optional<double> memory_max_of(const Json& limits);

/// The limit or mechanism that explains the difference between the sides of `row`; `limits` are
/// those of the container's run. Empty: nothing to explain.
[[nodiscard]] std::string explain(const Row& row, const Json& limits, double threads);

/// A number of a JSON object; nullopt: not there, or no number.
[[nodiscard]] std::optional<double> number_in(const Json& object, const char* key);
/// The object `key`, or an empty one.
[[nodiscard]] const Json& object_in(const Json& object, const char* key);
[[nodiscard]] const Json& array_in(const Json& object, const char* key);
[[nodiscard]] std::string text_in(const Json& object, const char* key);

}  // namespace minirun::probe
