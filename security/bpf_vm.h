// Owns: an interpreter of the classic BPF that seccomp(2) accepts. Must not: share code with what
// makes such programs, which are tested by it.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace minirun {

inline constexpr std::uint32_t x86_64 = AUDIT_ARCH_X86_64, i386 = AUDIT_ARCH_I386;
/// Set in the numbers of x32, which has the architecture of x86_64.
inline constexpr std::uint32_t x32_bit = 0x40000000;

/// The system call that a program is asked about.
struct BpfCall {
  std::uint32_t arch = 0;
  std::uint32_t number = 0;
  std::array<std::uint64_t, 6> args{};
};

struct BpfVerdict {
  std::uint32_t action = 0;  ///< SECCOMP_RET_*
  unsigned steps = 0;        ///< instructions executed
};

inline bool bpf_jumps(std::uint16_t code, std::uint32_t a, std::uint32_t k) {
  switch (BPF_OP(code)) {
    case BPF_JEQ:
      return a == k;
    case BPF_JGT:
      return a > k;
    case BPF_JGE:
      return a >= k;
    default:
      return (a & k) != 0;  // BPF_JSET
  }
}

/// Runs the program; nullopt when the kernel's checker would have refused it: an unknown
/// instruction, a load outside of seccomp_data, running off the end.
inline std::optional<BpfVerdict> run_bpf(const std::vector<std::uint64_t>& program,
                                         const BpfCall& call) {
  seccomp_data data{};
  data.nr = std::bit_cast<int>(call.number);
  data.arch = call.arch;
  for (std::size_t i = 0; i < 6; ++i) data.args[i] = call.args[i];
  std::uint32_t a = 0;
  BpfVerdict verdict;
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    ++verdict.steps;
    const auto in = std::bit_cast<sock_filter>(program[pc]);
    switch (in.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (in.k % 4 != 0 || in.k > sizeof data - 4) return std::nullopt;
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + in.k, 4);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= in.k;
        break;
      case BPF_JMP | BPF_JA:
        pc += in.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
      case BPF_JMP | BPF_JGT | BPF_K:
      case BPF_JMP | BPF_JGE | BPF_K:
      case BPF_JMP | BPF_JSET | BPF_K:
        pc += bpf_jumps(in.code, a, in.k) ? in.jt : in.jf;
        break;
      case BPF_RET | BPF_K:
        verdict.action = in.k;
        return verdict;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

}  // namespace minirun
