// Owns: order statistics over samples. Pure; compiled into the library and into minirun-probe, so
// that both say the same of the same numbers.
// Must not: allocate, throw samples away, or know what they measure.
#pragma once

#include <cstddef>
#include <span>

namespace minirun::probe {

/// Everything that a result carries. In the unit of the samples; all zero when there are none.
struct Summary {
  std::size_t n = 0;
  double min = 0, p5 = 0, median = 0, p95 = 0, p99 = 0, max = 0, mean = 0;
  bool operator==(const Summary&) const = default;
};

/// The quantile `q` (0 to 1) of sorted samples, interpolated between the two neighbours (Hyndman
/// and Fan, "Sample quantiles in statistical packages", 1996, type 7). 0 for no samples.
[[nodiscard]] double quantile(std::span<const double> sorted, double q);

/// Sorts `samples` in place.
[[nodiscard]] Summary summarize(std::span<double> samples);

/// Whether the middle nine tenths of the samples spread by more than half of the median: such a
/// result is shown with a warning, never left out.
[[nodiscard]] bool noisy(const Summary& summary);

}  // namespace minirun::probe
