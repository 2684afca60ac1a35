// Owns: the conversions of CPU time between Kubernetes milli-CPUs, cgroup v1 shares, cgroup v2
// weights, CFS quotas and systemd's percents. Pure arithmetic.
// Must not: decide which formula applies, or know about files and pods.
#pragma once

#include <cstdint>
#include <optional>

namespace minirun {

inline constexpr std::uint64_t cpu_shares_min = 2;
inline constexpr std::uint64_t cpu_shares_max = 262144;
/// The kernel rejects a smaller quota or period (measured, EINVAL below 1000 us).
inline constexpr std::int64_t cpu_quota_min_us = 1000;
inline constexpr std::uint64_t cpu_period_default_us = 100000;

/// trunc(milli * 1024 / 1000) within 2..262144; 0 or less gives 2 (kubelet MilliCPUToShares).
[[nodiscard]] std::uint64_t milli_cpu_to_shares(std::int64_t milli);
/// ceil(shares * 1000 / 1024), 0 below 2 shares: what a pod's status shows.
[[nodiscard]] std::int64_t shares_to_milli_cpu(std::uint64_t shares);

/// max(1000, trunc(milli * period / 1000)) in us per period; 0 or less gives 0, "no limit".
/// `period_us` is 1000 to 1000000. Saturates at the largest 64-bit number.
[[nodiscard]] std::int64_t milli_cpu_to_quota_us(std::int64_t milli,
                                                 std::uint64_t period_us = cpu_period_default_us);
/// trunc(quota * 1000 / period); 0 for no limit (quota <= 0) or a period of 0.
[[nodiscard]] std::int64_t quota_us_to_milli_cpu(std::int64_t quota_us, std::uint64_t period_us);

enum class WeightFormula {
  /// 1 + (shares - 2) * 9999 / 262142: runc < 1.3.2, crun < 1.23, and still the kubelet for pods.
  linear,
  /// ceil(10^((L^2 + 125 L)/612 - 7/34)), L = log2(shares): runc >= 1.3.2, crun >= 1.23.
  quadratic,
};

/// cpu.weight, 1 to 10000, for cpu.shares; 0 (unset) stays 0. Shares outside 2..262144 are taken
/// for the nearer end.
[[nodiscard]] std::uint64_t shares_to_weight(std::uint64_t shares, WeightFormula formula);
/// cpu.shares for a cpu.weight of 1..10000; 0 stays 0. Linear: (weight - 1) * 262142 / 9999 + 2,
/// the kubelet's read-back. Quadratic: the smallest shares that give at least this weight.
[[nodiscard]] std::uint64_t weight_to_shares(std::uint64_t weight, WeightFormula formula);

/// systemd keeps whole percents of a CPU: CPUQuotaPerSecUSec, us per second, rounded up to a
/// multiple of 10000. Nothing for no limit (quota <= 0).
[[nodiscard]] std::optional<std::uint64_t> systemd_quota_per_sec_us(
    std::int64_t quota_us, std::uint64_t period_us = cpu_period_default_us);
/// The quota per period after that rounding; 0 or less is returned as it is.
[[nodiscard]] std::int64_t systemd_rounded_quota_us(
    std::int64_t quota_us, std::uint64_t period_us = cpu_period_default_us);

}  // namespace minirun
