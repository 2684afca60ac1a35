// Owns: section 7 of the reference.
// Must not: hide the 32-bit limits of struct tc_tbf_qopt; they are why annotations "do not work".
#include "spec/kubernetes/bandwidth.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace minirun::kubernetes {

namespace {

constexpr std::int64_t rate_min_bits = 1000;
constexpr std::int64_t rate_max_bits = 1'000'000'000'000'000;
constexpr std::uint64_t u32_max = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t latency_usec = 25000;

}  // namespace

Result<std::uint64_t> parse_bandwidth(std::string_view text) {
  const Quantity quantity = TRY(parse_quantity(text));
  const std::int64_t bits = TRY(quantity.value());
  if (bits < rate_min_bits)
    return plain_error(fmt::format("\"{}\"", text), "unreasonably small (< 1kbit)");
  if (bits > rate_max_bits)
    return plain_error(fmt::format("\"{}\"", text), "unreasonably large (> 1Pbit)");
  return static_cast<std::uint64_t>(bits);
}

std::uint64_t cri_burst_bits(Cri cri) {
  switch (cri) {
    case Cri::containerd:
      return u32_max;
    case Cri::cri_o:
      return u32_max * 8 - 1;
    case Cri::dockershim:
      return std::numeric_limits<std::int32_t>::max();
  }
  return 0;
}

// What passes in 50 ms, at least 4 packets with their Ethernet headers: the full bucket at the
// start makes up for the headers, which take 4.4 % of a rate. At 10 Mbit/s it is smaller than the
// largest GSO packet (64 KiB), so that tbf cuts those into packets and the receiver's rate stays
// even.
std::uint64_t own_burst_bits(std::uint64_t rate_bits, std::uint32_t mtu_bytes) {
  // Room for rate * 25 ms in the 32-bit limit; from 1.3 Tbit/s on nothing fits any more.
  const std::uint64_t queue = std::min(u32_max, rate_bits / 8 / 1'000'000 * latency_usec);
  const std::uint64_t least = std::uint64_t{4} * (mtu_bytes + 14ULL) * 8;
  const std::uint64_t most = std::max(least, std::min(u32_max / 2, u32_max - queue) * 8);
  return std::clamp(rate_bits / 20, least, most);
}

Result<TokenBucket> token_bucket(std::uint64_t rate_bits, std::uint64_t burst_bits) {
  if ((rate_bits == 0) != (burst_bits == 0))
    return plain_error("bandwidth", "rate and burst must be set together");
  if (rate_bits != 0 && rate_bits < 8)
    return plain_error("bandwidth", fmt::format("a rate of {} bits/s is below a byte", rate_bits));
  if (burst_bits / 8 >= u32_max)
    return plain_error("bandwidth", fmt::format("a burst of {} bits is 4 GiB or more", burst_bits));
  TokenBucket bucket;
  if (rate_bits == 0) return bucket;
  bucket.rate_bytes_per_sec = rate_bits / 8;
  bucket.burst_bytes = burst_bits / 8;
  bucket.latency_usec = static_cast<std::uint32_t>(latency_usec);
  bucket.burst_usec = static_cast<double>(bucket.burst_bytes) * 1e6 /
                      static_cast<double>(bucket.rate_bytes_per_sec);
  const Uint128 usec = Uint128{bucket.burst_bytes} * 1'000'000 / bucket.rate_bytes_per_sec;
  const Uint128 ticks = usec * 125 / 8;  // 15.625 per us
  if (ticks <= u32_max) bucket.buffer_ticks = static_cast<std::uint32_t>(ticks);
  const Uint128 limit =
      Uint128{bucket.rate_bytes_per_sec} * latency_usec / 1'000'000 + bucket.burst_bytes;
  bucket.limit_wraps = limit > u32_max;
  bucket.limit_bytes = static_cast<std::uint32_t>(limit & u32_max);
  bucket.formula = fmt::format(
      "rate {} / 8 = {} bytes/s; burst {} / 8 = {} bytes; limit = rate * 25 ms + burst = {}{}",
      rate_bits, bucket.rate_bytes_per_sec, burst_bits, bucket.burst_bytes, bucket.limit_bytes,
      bucket.limit_wraps ? " (wrapped at 32 bits)" : "");
  return bucket;
}

}  // namespace minirun::kubernetes
