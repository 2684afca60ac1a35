#include "security/seccomp_verdict.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <bit>
#include <cstring>
#include <optional>

namespace minirun {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t native = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t native = AUDIT_ARCH_AARCH64;
#endif

bool jumps(std::uint16_t code, std::uint32_t a, std::uint32_t k) {
  switch (BPF_OP(code)) {
    case BPF_JEQ:
      return a == k;
    case BPF_JGT:
      return a > k;
    case BPF_JGE:
      return a >= k;
    default:
      return (a & k) != 0;
  }
}

/// SECCOMP_RET_*; absent: it does not end, or has an instruction that our filters never have.
std::optional<std::uint32_t> verdict(const std::vector<std::uint64_t>& filter,
                                     const seccomp_data& data) {
  std::uint32_t a = 0;
  for (std::size_t at = 0; at < filter.size(); ++at) {
    const auto step = std::bit_cast<sock_filter>(filter[at]);
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (step.k % 4 != 0 || step.k > sizeof data - 4) return std::nullopt;
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + step.k, sizeof a);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= step.k;
        break;
      case BPF_JMP | BPF_JA:
        at += step.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
      case BPF_JMP | BPF_JGT | BPF_K:
      case BPF_JMP | BPF_JGE | BPF_K:
      case BPF_JMP | BPF_JSET | BPF_K:
        at += jumps(step.code, a, step.k) ? step.jt : step.jf;
        break;
      case BPF_RET | BPF_K:
        return step.k;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

}  // namespace

bool lets_through(const std::vector<std::uint64_t>& filter, const FilteredCall& call) {
  seccomp_data data{};
  data.nr = static_cast<int>(call.number);
  data.arch = native;
  for (std::size_t i = 0; i < call.args.size(); ++i) data.args[i] = call.args[i];
  const auto action = verdict(filter, data);
  if (!action) return false;
  const std::uint32_t kind = *action & SECCOMP_RET_ACTION_FULL;
  return kind == SECCOMP_RET_ALLOW || kind == SECCOMP_RET_LOG;
}

}  // namespace minirun
