// Owns: joining libseccomp's programs, one for each architecture, behind a few BPF instructions
// that choose between them and decide what libseccomp 2.5 cannot: system calls newer than itself,
// and the multiplexers of 32-bit x86. Must not: know libseccomp or the OCI model.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace minirun::seccomp {

inline constexpr std::uint32_t socketcall_number = 102;  ///< 32-bit x86
inline constexpr std::uint32_t ipc_number = 117;         ///< 32-bit x86

/// One call of a multiplexer of 32-bit x86: socketcall(1, ...) is socket.
struct MultiplexedCall {
  std::uint32_t number = 0;  ///< socketcall_number or ipc_number
  std::uint32_t call = 0;    ///< its first argument: SYS_SOCKET 1, SEMOP 1 ...
  bool operator==(const MultiplexedCall&) const = default;
};

/// One architecture of the program.
struct ArchitecturePart {
  std::uint32_t audit_arch = 0;  ///< AUDIT_ARCH_*, as in struct seccomp_data
  std::uint32_t first = 0;       ///< the least number that is its own: 0x40000000 for x32
  /// "Newer" numbers are those above `newest`, up to `newer_last`. Both 0: there are none.
  std::uint32_t newest = 0;
  std::uint32_t newer_last = 0;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> newer;  ///< number and SECCOMP_RET_*
  std::optional<std::uint32_t> newer_action;  ///< for all others; absent: `body` decides
  std::vector<MultiplexedCall> refused;       ///< 32-bit x86 only: these get `refuse_action`
  std::uint32_t refuse_action = 0;
  std::vector<std::uint64_t> body;  ///< libseccomp's program, decides all the rest
};

/// The whole program, struct sock_filter as 8 bytes each. An architecture without a part is killed.
/// Before the bodies only loads, JEQ, JGE, JGT and JA are used, and arguments are loaded for the
/// multiplexers alone, so that the kernel's cache of always-allowed calls (Linux 5.11) sees
/// through.
[[nodiscard]] std::vector<std::uint64_t> join(std::vector<ArchitecturePart> parts);

/// The number, the same on every architecture, of a system call of Linux 6.5 or newer; nullopt for
/// any other name.
[[nodiscard]] std::optional<std::uint32_t> newer_syscall_number(std::string_view name);

/// The multiplexed form that a system call name has on 32-bit x86 beside its own number, if any.
[[nodiscard]] std::optional<MultiplexedCall> multiplexed_call(std::string_view name);

}  // namespace minirun::seccomp
