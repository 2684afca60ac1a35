// Owns: numbers of system calls that libseccomp 2.5 has not, or has only in disguise.
// Must not: know libseccomp or the OCI model.
#include "security/seccomp_syscalls.h"

#include <array>
#include <utility>

namespace minirun::seccomp {
namespace {

/// System calls of Linux 6.5 and newer, from the kernel's system call tables. Since Linux 5.1 one
/// number serves all architectures (x32 adds its bit), which is why a table of ours is enough.
/// libseccomp 2.5.4 ends at 450, Debian 12's at 456.
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

struct Multiplexed {
  std::string_view name;
  std::uint32_t call;
  std::uint32_t direct;  ///< 0: none
};

constexpr std::array<Multiplexed, 20> socketcalls = {{
    // call: linux/net.h; direct: the table of 32-bit x86
    {"socket", 1, 359},    {"bind", 2, 361},        {"connect", 3, 362},     {"listen", 4, 363},
    {"accept", 5, 0},      {"getsockname", 6, 367}, {"getpeername", 7, 368}, {"socketpair", 8, 360},
    {"send", 9, 0},        {"recv", 10, 0},         {"sendto", 11, 369},     {"recvfrom", 12, 371},
    {"shutdown", 13, 373}, {"setsockopt", 14, 366}, {"getsockopt", 15, 365}, {"sendmsg", 16, 370},
    {"recvmsg", 17, 372},  {"accept4", 18, 364},    {"recvmmsg", 19, 337},   {"sendmmsg", 20, 345},
}};
constexpr std::array<Multiplexed, 12> ipc_calls = {{
    // call: linux/ipc.h
    {"semop", 1, 0},
    {"semget", 2, 393},
    {"semctl", 3, 394},
    {"semtimedop", 4, 0},
    {"msgsnd", 11, 400},
    {"msgrcv", 12, 401},
    {"msgget", 13, 399},
    {"msgctl", 14, 402},
    {"shmat", 21, 397},
    {"shmdt", 22, 398},
    {"shmget", 23, 395},
    {"shmctl", 24, 396},
}};

std::optional<MultiplexedCall> find(const auto& table, std::uint32_t number,
                                    std::string_view name) {
  for (const Multiplexed& entry : table)
    if (entry.name == name)
      return MultiplexedCall{number, entry.call,
                             entry.direct == 0 ? std::nullopt : std::optional{entry.direct}};
  return std::nullopt;
}

}  // namespace

std::optional<std::uint32_t> newer_syscall_number(std::string_view name) {
  for (const auto& [known, number] : newer_syscalls)
    if (known == name) return number;
  return std::nullopt;
}

std::optional<MultiplexedCall> multiplexed_call(std::string_view name) {
  const auto found = find(socketcalls, socketcall_number, name);
  return found ? found : find(ipc_calls, ipc_number, name);
}

}  // namespace minirun::seccomp
