// Owns: the formulas of cpu.h. 128-bit intermediates, because quota * 10^6 of a large limit does
// not fit 64 bits; double for the quadratic weight, because float differs in 597 of 262147 places.
// Must not: round in any other way than the formula in the header says.
#include "spec/kubernetes/cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace minirun {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t weight_max = 10000;
constexpr std::uint64_t shares_span = cpu_shares_max - cpu_shares_min;  // 262142

std::int64_t saturate(Wide value) {
  constexpr Wide top = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::min(value, top));
}

Wide wide(std::int64_t positive) {
  return static_cast<Wide>(positive);
}

std::uint64_t quadratic_weight(std::uint64_t shares) {
  if (shares <= cpu_shares_min) return 1;
  if (shares >= cpu_shares_max) return weight_max;
  const double log = std::log2(static_cast<double>(shares));
  const double exponent = (log * log + 125 * log) / 612.0 - 7.0 / 34.0;
  return static_cast<std::uint64_t>(std::ceil(std::pow(10, exponent)));
}

}  // namespace

std::uint64_t milli_cpu_to_shares(std::int64_t milli) {
  if (milli <= 0) return cpu_shares_min;
  const Wide shares = wide(milli) * 1024 / 1000;
  return static_cast<std::uint64_t>(std::clamp(shares, Wide{cpu_shares_min}, Wide{cpu_shares_max}));
}

std::int64_t shares_to_milli_cpu(std::uint64_t shares) {
  if (shares < cpu_shares_min) return 0;
  return saturate((Wide{shares} * 1000 + 1023) / 1024);
}

std::int64_t milli_cpu_to_quota_us(std::int64_t milli, std::uint64_t period_us) {
  if (milli <= 0) return 0;
  return std::max(cpu_quota_min_us, saturate(wide(milli) * period_us / 1000));
}

std::int64_t quota_us_to_milli_cpu(std::int64_t quota_us, std::uint64_t period_us) {
  if (quota_us <= 0 || period_us == 0) return 0;
  return saturate(wide(quota_us) * 1000 / period_us);
}

std::uint64_t shares_to_weight(std::uint64_t shares, WeightFormula formula) {
  if (shares == 0) return 0;
  const std::uint64_t inside = std::clamp(shares, cpu_shares_min, cpu_shares_max);
  if (formula == WeightFormula::quadratic) return quadratic_weight(inside);
  return 1 + (inside - cpu_shares_min) * (weight_max - 1) / shares_span;
}

std::uint64_t weight_to_shares(std::uint64_t weight, WeightFormula formula) {
  if (weight == 0) return 0;
  const std::uint64_t inside = std::min(weight, weight_max);
  if (formula == WeightFormula::linear)
    return (inside - 1) * shares_span / (weight_max - 1) + cpu_shares_min;
  std::uint64_t low = cpu_shares_min;
  std::uint64_t high = cpu_shares_max;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (quadratic_weight(middle) >= inside)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

std::optional<std::uint64_t> systemd_quota_per_sec_us(std::int64_t quota_us,
                                                      std::uint64_t period_us) {
  if (quota_us <= 0) return std::nullopt;
  const std::uint64_t period = period_us == 0 ? cpu_period_default_us : period_us;
  constexpr Wide percent = 10000;
  const Wide per_second = wide(quota_us) * 1'000'000 / period;
  const Wide rounded = (per_second + percent - 1) / percent * percent;
  constexpr Wide top = std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(std::min(rounded, top));
}

std::int64_t systemd_rounded_quota_us(std::int64_t quota_us, std::uint64_t period_us) {
  const std::optional<std::uint64_t> per_second = systemd_quota_per_sec_us(quota_us, period_us);
  if (!per_second) return quota_us;
  const std::uint64_t period = period_us == 0 ? cpu_period_default_us : period_us;
  return saturate(Wide{*per_second} * period / 1'000'000);
}

}  // namespace minirun
