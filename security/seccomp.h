// Owns: the translation of an OCI seccomp profile into the program that seccomp(2) takes.
// Must not: load it (that is a step of the child) or touch files (security/seccomp_cache.h does).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// What config-linux.md "seccomp" may name and this file understands; `features` prints them.
inline constexpr std::array<std::string_view, 9> seccomp_actions = {
    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO",        "SCMP_ACT_KILL",
    "SCMP_ACT_LOG",   "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",         "SCMP_ACT_NOTIFY"};
inline constexpr std::array<std::string_view, 7> seccomp_operators = {
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
    "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
inline constexpr std::array<std::string_view, 4> seccomp_flags = {
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
/// OCI 1.3 names. The last four are unknown to libseccomp 2.5: skipped with a warning, so that
/// their system calls are killed as those of any architecture that is not listed.
inline constexpr std::array<std::string_view, 23> seccomp_architectures = {
    "SCMP_ARCH_X86",     "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",         "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",        "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",     "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB"};

/// A compiled profile. `filter` and `flags` go to seccomp(SECCOMP_SET_MODE_FILTER) as they are.
struct SeccompProgram {
  std::vector<std::uint64_t> filter;  ///< struct sock_filter, 8 bytes each, 1 to 4096 of them
  unsigned flags = 0;   ///< SECCOMP_FILTER_FLAG_*, with NEW_LISTENER when `notify` is set
  bool notify = false;  ///< some rule says SCMP_ACT_NOTIFY: seccomp(2) returns a listener
  std::vector<std::string> warnings;  ///< what was skipped or read in an unobvious way
  bool operator==(const SeccompProgram&) const = default;
};

/// "2.5.4": the libseccomp that is linked in.
[[nodiscard]] std::string libseccomp_version();

/// Compiles the profile. Makes no assumption about the running kernel: what it lacks, seccomp(2)
/// itself refuses. Below a millisecond for a default profile and three architectures.
///  * The native architecture is always part of it; a system call of an architecture that is not
///    listed kills the process.
///  * Conditions on several arguments are ANDed (CVE-2017-18367). When one argument is named twice,
///    each condition becomes a rule of its own (OR), as in runc, with a warning.
///  * A rule with the default action says nothing and is skipped.
///  * Of several rules for a name, the first one without conditions wins, as in runc; the others
///    are skipped with a warning, or an error for KILL*, TRAP and NOTIFY. Otherwise the first one
///    whose conditions hold.
///  * A name that is unknown is skipped with a warning for ALLOW, ERRNO, LOG and TRACE; it is an
///    error for KILL*, TRAP and NOTIFY, where the author counts on the rule.
///  * With an ERRNO default, a system call newer than libseccomp and not named by the profile fails
///    with ENOSYS, so that a new libc falls back to what it did before.
///  * Values are compared with all 64 bits, whatever the architecture.
///  * On 32-bit x86, a rule for `socket` or `shmget` is also one for socketcall or ipc, but its
///    conditions cannot be checked there: the more careful answer is given.
/// Errors: unknown action, operator, flag, architecture; an argument index above 5; an errno where
/// the action has none, or above 4094; NOTIFY as the default, or for write or sendmsg (the
/// hand-over of the listener itself needs those: it would wait for itself); contradicting rules; a
/// program of more than 4096 instructions. `object` is the field,
/// "linux.seccomp.syscalls[3].action".
[[nodiscard]] Result<SeccompProgram> compile_seccomp(const Seccomp& seccomp);

}  // namespace minirun
