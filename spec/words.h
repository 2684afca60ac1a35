// Owns: the closed sets of words of the OCI runtime specification 1.3 and their kernel values, one
// row per word; the readers, `minirun spec` and `minirun features` use the same tables.
// Must not: contain behaviour. Mount options have a table of their own (mount_options.h).
#pragma once

#include <sys/mount.h>
#include <sys/resource.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "spec/model.h"

namespace minirun {

template <class T>
struct Word {
  std::string_view name;
  T value;
};

inline constexpr auto namespace_words = std::to_array<Word<NamespaceType>>({
    {"pid", NamespaceType::pid},
    {"network", NamespaceType::network},
    {"mount", NamespaceType::mount},
    {"ipc", NamespaceType::ipc},
    {"uts", NamespaceType::uts},
    {"user", NamespaceType::user},
    {"cgroup", NamespaceType::cgroup},
    {"time", NamespaceType::time},
});

/// "network" for NamespaceType::network.
[[nodiscard]] constexpr std::string_view namespace_name(NamespaceType type) {
  for (const auto& word : namespace_words)
    if (word.value == type) return word.name;
  return {};
}

inline constexpr auto rlimit_words = std::to_array<Word<int>>({
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
});

// sched_setattr(2); the values of SCHED_ISO and the flags are not in glibc's headers.
inline constexpr auto scheduler_policy_words = std::to_array<Word<int>>({
    {"SCHED_OTHER", 0},
    {"SCHED_FIFO", 1},
    {"SCHED_RR", 2},
    {"SCHED_BATCH", 3},
    {"SCHED_ISO", 4},
    {"SCHED_IDLE", 5},
    {"SCHED_DEADLINE", 6},
});
inline constexpr auto scheduler_flag_words = std::to_array<Word<std::uint64_t>>({
    {"SCHED_FLAG_RESET_ON_FORK", 0x01},
    {"SCHED_FLAG_RECLAIM", 0x02},
    {"SCHED_FLAG_DL_OVERRUN", 0x04},
    {"SCHED_FLAG_KEEP_POLICY", 0x08},
    {"SCHED_FLAG_KEEP_PARAMS", 0x10},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
});

inline constexpr auto io_class_words = std::to_array<Word<int>>({
    {"IOPRIO_CLASS_RT", 1},
    {"IOPRIO_CLASS_BE", 2},
    {"IOPRIO_CLASS_IDLE", 3},
});

// set_mempolicy(2); PREFERRED_MANY needs Linux 5.15, WEIGHTED_INTERLEAVE 6.9.
inline constexpr auto memory_policy_words = std::to_array<Word<int>>({
    {"MPOL_DEFAULT", 0},
    {"MPOL_PREFERRED", 1},
    {"MPOL_BIND", 2},
    {"MPOL_INTERLEAVE", 3},
    {"MPOL_LOCAL", 4},
    {"MPOL_PREFERRED_MANY", 5},
    {"MPOL_WEIGHTED_INTERLEAVE", 6},
});
inline constexpr auto memory_policy_flag_words = std::to_array<Word<unsigned>>({
    {"MPOL_F_NUMA_BALANCING", 1U << 13},
    {"MPOL_F_RELATIVE_NODES", 1U << 14},
    {"MPOL_F_STATIC_NODES", 1U << 15},
});

inline constexpr auto personality_words = std::to_array<Word<unsigned long>>({
    {"LINUX", 0x0000},
    {"LINUX32", 0x0008},
});

inline constexpr auto propagation_words = std::to_array<Word<std::uint64_t>>({
    {"private", MS_PRIVATE},
    {"rprivate", MS_PRIVATE | MS_REC},
    {"rshared", MS_SHARED | MS_REC},
    {"rslave", MS_SLAVE | MS_REC},
    {"runbindable", MS_UNBINDABLE | MS_REC},
    {"shared", MS_SHARED},
    {"slave", MS_SLAVE},
    {"unbindable", MS_UNBINDABLE},
});

inline constexpr auto device_type_words = std::to_array<Word<Device::Type>>({
    {"b", Device::Type::block},
    {"c", Device::Type::character},
    {"p", Device::Type::fifo},
    {"u", Device::Type::character},
});
inline constexpr auto device_rule_type_words = std::to_array<Word<DeviceRule::Type>>({
    {"a", DeviceRule::Type::all},
    {"b", DeviceRule::Type::block},
    {"c", DeviceRule::Type::character},
});

// The model keeps the words of seccomp as written; the value says whether errnoRet may be given.
inline constexpr auto seccomp_action_words = std::to_array<Word<bool>>({
    {"SCMP_ACT_ALLOW", false},
    {"SCMP_ACT_ERRNO", true},
    {"SCMP_ACT_KILL", false},
    {"SCMP_ACT_KILL_PROCESS", false},
    {"SCMP_ACT_KILL_THREAD", false},
    {"SCMP_ACT_LOG", false},
    {"SCMP_ACT_NOTIFY", false},
    {"SCMP_ACT_TRACE", true},
    {"SCMP_ACT_TRAP", false},
});
inline constexpr auto seccomp_operator_words = std::to_array<Word<bool>>({
    {"SCMP_CMP_EQ", true},
    {"SCMP_CMP_GE", true},
    {"SCMP_CMP_GT", true},
    {"SCMP_CMP_LE", true},
    {"SCMP_CMP_LT", true},
    {"SCMP_CMP_MASKED_EQ", true},
    {"SCMP_CMP_NE", true},
});
inline constexpr auto seccomp_architecture_words = std::to_array<Word<bool>>({
    {"SCMP_ARCH_AARCH64", true},     {"SCMP_ARCH_ARM", true},    {"SCMP_ARCH_LOONGARCH64", true},
    {"SCMP_ARCH_M68K", true},        {"SCMP_ARCH_MIPS", true},   {"SCMP_ARCH_MIPS64", true},
    {"SCMP_ARCH_MIPS64N32", true},   {"SCMP_ARCH_MIPSEL", true}, {"SCMP_ARCH_MIPSEL64", true},
    {"SCMP_ARCH_MIPSEL64N32", true}, {"SCMP_ARCH_PARISC", true}, {"SCMP_ARCH_PARISC64", true},
    {"SCMP_ARCH_PPC", true},         {"SCMP_ARCH_PPC64", true},  {"SCMP_ARCH_PPC64LE", true},
    {"SCMP_ARCH_RISCV64", true},     {"SCMP_ARCH_S390", true},   {"SCMP_ARCH_S390X", true},
    {"SCMP_ARCH_SH", true},          {"SCMP_ARCH_SHEB", true},   {"SCMP_ARCH_X32", true},
    {"SCMP_ARCH_X86", true},         {"SCMP_ARCH_X86_64", true},
});
inline constexpr auto seccomp_flag_words = std::to_array<Word<bool>>({
    {"SECCOMP_FILTER_FLAG_LOG", true},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", true},
    {"SECCOMP_FILTER_FLAG_TSYNC", true},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", true},
});

}  // namespace minirun
