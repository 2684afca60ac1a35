// Owns: durations as users write them: "20ms", "1m30s".
// Must not: know which field a duration belongs to.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace minirun {

/// One or more `digits[.digits]unit` without blanks, unit one of us, ms, s, m, h, each once and
/// the larger first. Exact to the microsecond; at most about 290,000 years. Absent: another shape.
[[nodiscard]] std::optional<std::chrono::microseconds> parse_duration(std::string_view text);

}  // namespace minirun
