// Owns: numbers of system calls that libseccomp 2.5 has not, or has only in disguise.
// Must not: know libseccomp or the OCI model.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace minirun::seccomp {

inline constexpr std::uint32_t socketcall_number = 102;  ///< 32-bit x86
inline constexpr std::uint32_t ipc_number = 117;         ///< 32-bit x86

/// One call of a multiplexer of 32-bit x86: socketcall(1, ...) is socket.
struct MultiplexedCall {
  std::uint32_t number = 0;             ///< socketcall_number or ipc_number
  std::uint32_t call = 0;               ///< its first argument: SYS_SOCKET 1, SEMOP 1 ...
  std::optional<std::uint32_t> direct;  ///< its own number, of Linux 4.3 or 5.1
  bool operator==(const MultiplexedCall&) const = default;
};

/// The number, the same on every architecture, of a system call of Linux 6.5 or newer; nullopt for
/// any other name.
[[nodiscard]] std::optional<std::uint32_t> newer_syscall_number(std::string_view name);

/// The multiplexed form that a system call name has on 32-bit x86, if any.
[[nodiscard]] std::optional<MultiplexedCall> multiplexed_call(std::string_view name);

}  // namespace minirun::seccomp
