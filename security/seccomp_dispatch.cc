// Owns: the dispatcher in front of libseccomp's programs, and the numbers that it needs.
// Must not: know libseccomp or the OCI model.
#include "security/seccomp_dispatch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <functional>

namespace minirun::seccomp {
namespace {

/// System calls of Linux 6.5 and newer, from the kernel's system call tables. Since Linux 5.1 one
/// number serves all architectures (x32 adds its bit), which is why a table of ours is enough.
constexpr std::array<std::pair<std::string_view, std::uint32_t>, 20> newer_syscalls = {{
    {"cachestat", 451},          // 6.5
    {"fchmodat2", 452},          // 6.6
    {"map_shadow_stack", 453},   // 6.6
    {"futex_wake", 454},         // 6.7
    {"futex_wait", 455},         // 6.7
    {"futex_requeue", 456},      // 6.7
    {"statmount", 457},          // 6.8
    {"listmount", 458},          // 6.8
    {"lsm_get_self_attr", 459},  // 6.8
    {"lsm_set_self_attr", 460},  // 6.8
    {"lsm_list_modules", 461},   // 6.8
    {"mseal", 462},              // 6.10
    {"setxattrat", 463},         // 6.13
    {"getxattrat", 464},         // 6.13
    {"listxattrat", 465},        // 6.13
    {"removexattrat", 466},      // 6.13
    {"open_tree_attr", 467},     // 6.15
    {"file_getattr", 468},       // 6.17
    {"file_setattr", 469},       // 6.17
    {"listns", 470},             // 6.19
}};

/// SYS_SOCKET is 1, and so on (linux/net.h).
constexpr std::array<std::string_view, 20> socketcalls = {
    "socket",     "bind",    "connect", "listen",  "accept",   "getsockname", "getpeername",
    "socketpair", "send",    "recv",    "sendto",  "recvfrom", "shutdown",    "setsockopt",
    "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg"};
/// linux/ipc.h
constexpr std::array<std::pair<std::string_view, std::uint32_t>, 12> ipc_calls = {{
    {"semop", 1},
    {"semget", 2},
    {"semctl", 3},
    {"semtimedop", 4},
    {"msgsnd", 11},
    {"msgrcv", 12},
    {"msgget", 13},
    {"msgctl", 14},
    {"shmat", 21},
    {"shmdt", 22},
    {"shmget", 23},
    {"shmctl", 24},
}};
/// The low half of args[0]: only little-endian architectures have a use for it here.
constexpr std::uint32_t first_argument = offsetof(seccomp_data, args);

/// Instructions, and jumps whose target is given later.
class Assembler {
 public:
  void emit(std::uint32_t code, std::uint32_t k, unsigned if_true = 0, unsigned if_false = 0) {
    const sock_filter instruction{static_cast<std::uint16_t>(code),
                                  static_cast<std::uint8_t>(if_true),
                                  static_cast<std::uint8_t>(if_false), k};
    code_.push_back(std::bit_cast<std::uint64_t>(instruction));
  }
  void load(std::uint32_t offset) { emit(BPF_LD | BPF_W | BPF_ABS, offset); }
  void finish(std::uint32_t action) { emit(BPF_RET | BPF_K, action); }
  void finish_if_equal(std::uint32_t value, std::uint32_t action) {
    emit(BPF_JMP | BPF_K | BPF_JEQ, value, 0, 1);
    finish(action);
  }

  /// A jump to be landed. JA takes 32 bits of distance; conditional jumps only 8.
  [[nodiscard]] std::size_t jump() {
    emit(BPF_JMP | BPF_JA, 0);
    return code_.size() - 1;
  }
  /// Falls through when the comparison holds, else takes the jump.
  [[nodiscard]] std::size_t jump_unless(std::uint32_t comparison, std::uint32_t value) {
    emit(BPF_JMP | BPF_K | comparison, value, 1, 0);
    return jump();
  }
  /// Falls through when the comparison does not hold.
  [[nodiscard]] std::size_t jump_if(std::uint32_t comparison, std::uint32_t value) {
    emit(BPF_JMP | BPF_K | comparison, value, 0, 1);
    return jump();
  }
  /// The jump at `at` goes to the next instruction that is written.
  void land(std::size_t at) {
    auto instruction = std::bit_cast<sock_filter>(code_[at]);
    instruction.k = static_cast<std::uint32_t>(code_.size() - at - 1);
    code_[at] = std::bit_cast<std::uint64_t>(instruction);
  }
  void append(const std::vector<std::uint64_t>& code) {
    code_.insert(code_.end(), code.begin(), code.end());
  }
  [[nodiscard]] std::vector<std::uint64_t> take() && { return std::move(code_); }

 private:
  std::vector<std::uint64_t> code_;
};

/// The only load of an argument, behind the comparison of the number.
void emit_multiplexer(Assembler& bpf, const ArchitecturePart& part, std::uint32_t number) {
  const auto is_ours = [number](const MultiplexedCall& call) { return call.number == number; };
  if (std::ranges::none_of(part.refused, is_ours)) return;
  const std::size_t other_number = bpf.jump_unless(BPF_JEQ, number);
  bpf.load(first_argument);
  for (const MultiplexedCall& refused : part.refused)
    if (is_ours(refused)) bpf.finish_if_equal(refused.call, part.refuse_action);
  bpf.load(offsetof(seccomp_data, nr));
  bpf.land(other_number);
}

/// With the number in the accumulator: decides, or jumps to the body. Returns those jumps.
std::vector<std::size_t> emit_decisions(Assembler& bpf, const ArchitecturePart& part) {
  std::vector<std::size_t> to_body;
  for (const std::uint32_t number : {socketcall_number, ipc_number})
    emit_multiplexer(bpf, part, number);
  if (!part.newer.empty() || part.newer_action) {
    to_body.push_back(bpf.jump_unless(BPF_JGT, part.newest));
    to_body.push_back(bpf.jump_if(BPF_JGT, part.newer_last));
    for (const auto& [number, action] : part.newer) bpf.finish_if_equal(number, action);
    if (part.newer_action) bpf.finish(*part.newer_action);
  }
  to_body.push_back(bpf.jump());
  return to_body;
}

}  // namespace

std::optional<std::uint32_t> newer_syscall_number(std::string_view name) {
  for (const auto& [known, number] : newer_syscalls)
    if (known == name) return number;
  return std::nullopt;
}

std::optional<MultiplexedCall> multiplexed_call(std::string_view name) {
  for (std::uint32_t i = 0; i < socketcalls.size(); ++i)
    if (socketcalls[i] == name) return MultiplexedCall{socketcall_number, i + 1};
  for (const auto& [known, call] : ipc_calls)
    if (known == name) return MultiplexedCall{ipc_number, call};
  return std::nullopt;
}

std::vector<std::uint64_t> join(std::vector<ArchitecturePart> parts) {
  // x86_64 and x32 are one architecture to the kernel: the part with the higher numbers goes first.
  std::ranges::stable_sort(parts, std::ranges::greater{}, &ArchitecturePart::first);
  std::vector<std::vector<std::size_t>> to_body(parts.size());
  Assembler bpf;
  bpf.load(offsetof(seccomp_data, arch));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t other_arch = bpf.jump_unless(BPF_JEQ, parts[i].audit_arch);
    bpf.load(offsetof(seccomp_data, nr));
    std::optional<std::size_t> below;
    if (parts[i].first > 0) below = bpf.jump_unless(BPF_JGE, parts[i].first);
    to_body[i] = emit_decisions(bpf, parts[i]);
    if (below) {
      bpf.land(*below);
      bpf.load(offsetof(seccomp_data, arch));
    }
    bpf.land(other_arch);
  }
  bpf.finish(SECCOMP_RET_KILL_PROCESS);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (const std::size_t jump : to_body[i]) bpf.land(jump);
    bpf.append(parts[i].body);
  }
  return std::move(bpf).take();
}

}  // namespace minirun::seccomp
