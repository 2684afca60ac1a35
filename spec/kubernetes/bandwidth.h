// Owns: the bandwidth annotations of a pod and the numbers of the token bucket filter behind them.
// Must not: talk to the kernel; netns/ does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "spec/kubernetes/pod.h"

namespace minirun::kubernetes {

inline constexpr std::string_view ingress_bandwidth = "kubernetes.io/ingress-bandwidth";
inline constexpr std::string_view egress_bandwidth = "kubernetes.io/egress-bandwidth";

/// Bits per second, 1k to 1P; the text is a quantity.
[[nodiscard]] Result<std::uint64_t> parse_bandwidth(std::string_view text);

/// The burst that the CRI runtimes hand to the CNI plugin, in bits; no annotation sets it.
[[nodiscard]] std::uint64_t cri_burst_bits(Cri cri);
/// minirun's own: what passes in 50 ms, at least 4 packets of `mtu_bytes`.
[[nodiscard]] std::uint64_t own_burst_bits(std::uint64_t rate_bits, std::uint32_t mtu_bytes = 1500);

struct TokenBucket {
  std::uint64_t rate_bytes_per_sec = 0;
  std::uint64_t burst_bytes = 0;
  double burst_usec = 0;  ///< time to drain the burst at the rate
  std::uint32_t latency_usec = 25000;
  std::uint32_t limit_bytes = 0;  ///< 32 bits in the kernel interface: wraps, as with CRI-O's burst
  bool limit_wraps = false;
  /// Ticks of 64 ns (/proc/net/psched); absent when they overflow 32 bits.
  std::optional<std::uint32_t> buffer_ticks;
  std::string formula;
};

/// The CNI bandwidth plugin's arithmetic. Error when only one of the two is 0, or when the burst
/// is 4 GiB or more.
[[nodiscard]] Result<TokenBucket> token_bucket(std::uint64_t rate_bits, std::uint64_t burst_bits);

}  // namespace minirun::kubernetes
