// Owns: the parser of durations. Must not: use floating point: "0.1s" is exactly 100000 us.
#include "spec/duration.h"

#include <array>
#include <cstdint>

#include "base/text.h"

namespace minirun {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t us;
};
// "ms" before "m", so that the longer name is tried first; `us` decides what is larger.
constexpr std::array<Unit, 5> kUnits{{
    {"us", 1},
    {"ms", 1000},
    {"s", 1'000'000},
    {"m", 60'000'000},
    {"h", 3'600'000'000},
}};

/// Reads digits off the front of `text`: their value, and 10^count in `scale`.
std::optional<std::int64_t> digits(std::string_view& text, std::int64_t& scale) {
  std::int64_t value = 0;
  scale = 1;
  while (!text.empty() && is_digit(text.front())) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, text.front() - '0', &value) ||
        __builtin_mul_overflow(scale, 10, &scale))
      return std::nullopt;
    text.remove_prefix(1);
  }
  return value;
}

}  // namespace

std::optional<std::chrono::microseconds> parse_duration(std::string_view text) {
  std::int64_t total = 0;
  std::int64_t smaller_than = INT64_MAX;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    std::int64_t scale = 1, fraction_scale = 1;
    const auto whole = digits(text, scale);
    if (!whole || scale == 1) return std::nullopt;
    std::int64_t fraction = 0;
    if (!text.empty() && text.front() == '.') {
      text.remove_prefix(1);
      const auto value = digits(text, fraction_scale);
      if (!value || fraction_scale == 1) return std::nullopt;
      fraction = *value;
    }
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits)
      if (!unit && text.starts_with(candidate.name)) unit = &candidate;
    if (!unit || unit->us >= smaller_than) return std::nullopt;
    text.remove_prefix(unit->name.size());
    smaller_than = unit->us;
    std::int64_t part = 0, scaled_fraction = 0;
    if (__builtin_mul_overflow(*whole, unit->us, &part) ||
        __builtin_mul_overflow(fraction, unit->us, &scaled_fraction) ||
        scaled_fraction % fraction_scale != 0 || __builtin_add_overflow(total, part, &total) ||
        __builtin_add_overflow(total, scaled_fraction / fraction_scale, &total))
      return std::nullopt;
  }
  return std::chrono::microseconds(total);
}

}  // namespace minirun
