#include "probe/statistics.h"

#include <algorithm>

namespace minirun::probe {

double quantile(std::span<const double> sorted, double q) {
  if (sorted.empty()) return 0;
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(low);
  return sorted[low] + (sorted[high] - sorted[low]) * part;
}

Summary summarize(std::span<double> samples) {
  Summary result;
  result.n = samples.size();
  if (samples.empty()) return result;
  std::sort(samples.begin(), samples.end());
  double sum = 0;
  for (const double sample : samples) sum += sample;
  result.min = samples.front();
  result.p5 = quantile(samples, 0.05);
  result.median = quantile(samples, 0.5);
  result.p95 = quantile(samples, 0.95);
  result.p99 = quantile(samples, 0.99);
  result.max = samples.back();
  result.mean = sum / static_cast<double>(samples.size());
  return result;
}

bool noisy(const Summary& summary) {
  return summary.n >= 5 && summary.median > 0 && summary.p95 - summary.p5 > 0.5 * summary.median;
}

}  // namespace minirun::probe
