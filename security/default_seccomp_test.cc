// Owns: what the default profile decides, as a table of calls; on x86_64, i386 and x32.
// Must not: load a program (seccomp_load_test.cc does).
#include "spec/default_seccomp.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <initializer_list>

#include "base/capabilities.h"
#include "security/bpf_vm.h"
#include "security/seccomp.h"

#if defined(__x86_64__)  // the numbers below

namespace minirun {
namespace {

constexpr std::uint32_t allow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t eperm = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t enosys = SECCOMP_RET_ERRNO | ENOSYS;

constexpr std::uint64_t dac_read_search = capability_bit(2);
constexpr std::uint64_t sys_module = capability_bit(16);
constexpr std::uint64_t sys_rawio = capability_bit(17);
constexpr std::uint64_t sys_chroot = capability_bit(18);
constexpr std::uint64_t sys_ptrace = capability_bit(19);
constexpr std::uint64_t sys_pacct = capability_bit(20);
constexpr std::uint64_t sys_admin = capability_bit(21);
constexpr std::uint64_t sys_boot = capability_bit(22);
constexpr std::uint64_t sys_nice = capability_bit(23);
constexpr std::uint64_t sys_time = capability_bit(25);
constexpr std::uint64_t sys_tty_config = capability_bit(26);
constexpr std::uint64_t syslog_cap = capability_bit(34);
constexpr std::uint64_t perfmon = capability_bit(38);
constexpr std::uint64_t bpf_cap = capability_bit(39);
constexpr std::uint64_t all_capabilities = ~std::uint64_t{0};

struct Row {
  const char* what;
  BpfCall call;
  std::uint64_t capability;  ///< which opens it; 0: none does anything about it
  std::uint32_t without;     ///< verdict without that capability and with all others
  std::uint32_t with = allow;
};

class DefaultSeccomp : public ::testing::Test {
 protected:
  static std::vector<std::uint64_t> program(std::uint64_t capabilities) {
    const auto compiled = compile_seccomp(default_seccomp(capabilities));
    EXPECT_TRUE(compiled);
    if (!compiled) return {};
    EXPECT_TRUE(compiled->warnings.empty()) << compiled->warnings[0];
    return compiled->filter;
  }
  static std::uint32_t verdict(const std::vector<std::uint64_t>& filter, const BpfCall& call) {
    const auto out = run_bpf(filter, call);
    EXPECT_TRUE(out) << "the program is not valid";
    return out ? out->action : 0;
  }
};

TEST_F(DefaultSeccomp, EveryNameIsKnown) {
  for (const std::uint64_t capabilities :
       {std::uint64_t{0}, default_capabilities, all_capabilities})
    program(capabilities);  // expects no warning
}

TEST_F(DefaultSeccomp, DefaultCapabilitiesAndEverydayCalls) {
  const auto filter = program(default_capabilities);
  for (const std::uint32_t number : std::initializer_list<std::uint32_t>{
           0, 1, 2, 3, 9, 56 /* clone */, 57, 59, 101 /* ptrace */, 158, 161 /* chroot */, 202, 257,
           317 /* seccomp */, 334 /* rseq */, 435 + 17 /* fchmodat2 */, 462 /* mseal */,
           444 /* landlock */})
    EXPECT_EQ(verdict(filter, {x86_64, number, {}}), allow) << number;
  for (const std::uint32_t number : std::initializer_list<std::uint32_t>{
           3, 4, 5, 11, 45, 120, 192 /* mmap2 */, 243, 252, 403, 452})
    EXPECT_EQ(verdict(filter, {i386, number, {}}), allow) << number;
  for (const std::uint32_t number :
       std::initializer_list<std::uint32_t>{0, 1, 513 /* rt_sigreturn */, 520 /* execve */, 452})
    EXPECT_EQ(verdict(filter, {x86_64, x32_bit | number, {}}), allow) << number;
}

TEST_F(DefaultSeccomp, NeverAllowedWithAnyCapability) {
  const auto filter = program(all_capabilities);
  const std::pair<const char*, std::uint32_t> denied[] = {
      {"io_uring_setup", 425}, {"io_uring_enter", 426}, {"io_uring_register", 427},
      {"userfaultfd", 323},    {"keyctl", 250},         {"add_key", 248},
      {"request_key", 249},    {"kexec_load", 246},     {"kexec_file_load", 320},
      {"swapon", 167},         {"swapoff", 168},        {"pivot_root", 155},
      {"nfsservctl", 180},     {"uselib", 134},         {"_sysctl", 156},
      {"sysfs", 139},          {"ustat", 136},          {"create_module", 174},
      {"query_module", 178},   {"move_pages", 279},     {"migrate_pages", 256}};
  for (const auto& [name, number] : denied) {
    EXPECT_EQ(verdict(filter, {x86_64, number, {}}), eperm) << name;
    EXPECT_NE(verdict(filter, {x86_64, x32_bit | number, {}}), allow) << name;
  }
  const std::pair<const char*, std::uint32_t> denied32[] = {
      {"keyctl", 288}, {"add_key", 286},   {"userfaultfd", 374}, {"io_uring_setup", 425},
      {"vm86", 166},   {"vm86old", 113},   {"bdflush", 134},     {"kexec_load", 283},
      {"uselib", 86},  {"pivot_root", 217}};
  for (const auto& [name, number] : denied32)
    EXPECT_EQ(verdict(filter, {i386, number, {}}), eperm) << name;
}

const Row gated[] = {
    {"open_by_handle_at", {x86_64, 304, {}}, dac_read_search, eperm},
    {"mount", {x86_64, 165, {}}, sys_admin, eperm},
    {"mount", {i386, 21, {}}, sys_admin, eperm},
    {"mount", {x86_64, x32_bit | 165, {}}, sys_admin, eperm},
    {"umount2", {x86_64, 166, {}}, sys_admin, eperm},
    {"unshare", {x86_64, 272, {}}, sys_admin, eperm},
    {"unshare", {i386, 310, {}}, sys_admin, eperm},
    {"setns", {x86_64, 308, {}}, sys_admin, eperm},
    {"open_tree", {x86_64, 428, {}}, sys_admin, eperm},
    {"move_mount", {x86_64, 429, {}}, sys_admin, eperm},
    {"fsopen", {x86_64, 430, {}}, sys_admin, eperm},
    {"fsconfig", {x86_64, 431, {}}, sys_admin, eperm},
    {"fsmount", {x86_64, 432, {}}, sys_admin, eperm},
    {"fspick", {x86_64, 433, {}}, sys_admin, eperm},
    {"mount_setattr", {x86_64, 442, {}}, sys_admin, eperm},
    {"open_tree_attr", {x86_64, 467, {}}, sys_admin, enosys},
    {"clone3", {x86_64, 435, {}}, sys_admin, enosys},
    {"clone3", {i386, 435, {}}, sys_admin, enosys},
    {"clone3", {x86_64, x32_bit | 435, {}}, sys_admin, enosys},
    {"fanotify_init", {x86_64, 300, {}}, sys_admin, eperm},
    {"quotactl", {x86_64, 179, {}}, sys_admin, eperm},
    {"sethostname", {x86_64, 170, {}}, sys_admin, eperm},
    {"lookup_dcookie", {x86_64, 212, {}}, sys_admin, eperm},
    {"reboot", {x86_64, 169, {}}, sys_boot, eperm},
    {"chroot", {x86_64, 161, {}}, sys_chroot, eperm},
    {"init_module", {x86_64, 175, {}}, sys_module, eperm},
    {"finit_module", {x86_64, 313, {}}, sys_module, eperm},
    {"acct", {x86_64, 163, {}}, sys_pacct, eperm},
    {"kcmp", {x86_64, 312, {}}, sys_ptrace, eperm},
    {"pidfd_getfd", {x86_64, 438, {}}, sys_ptrace, eperm},
    {"iopl", {x86_64, 172, {}}, sys_rawio, eperm},
    {"ioperm", {i386, 101, {}}, sys_rawio, eperm},
    {"settimeofday", {x86_64, 164, {}}, sys_time, eperm},
    {"clock_settime", {x86_64, 227, {}}, sys_time, eperm},
    {"stime", {i386, 25, {}}, sys_time, eperm},
    {"vhangup", {x86_64, 153, {}}, sys_tty_config, eperm},
    {"mbind", {x86_64, 237, {}}, sys_nice, eperm},
    {"bpf", {x86_64, 321, {}}, bpf_cap | sys_admin, eperm},
    {"perf_event_open", {x86_64, 298, {}}, perfmon | sys_admin, eperm},
    {"syslog", {x86_64, 103, {}}, syslog_cap | sys_admin, eperm},
};

TEST_F(DefaultSeccomp, CallsThatNeedACapability) {
  const auto with_all = program(all_capabilities);
  for (const Row& row : gated) {
    EXPECT_EQ(verdict(with_all, row.call), row.with) << row.what;
    EXPECT_EQ(verdict(program(all_capabilities & ~row.capability), row.call), row.without)
        << row.what;
  }
  for (const std::uint64_t one : {bpf_cap, sys_admin})
    EXPECT_EQ(verdict(program(one), {x86_64, 321, {}}), allow) << "either opens bpf";
}

TEST_F(DefaultSeccomp, CloneMakesProcessesAndThreadsButNoNamespaces) {
  const auto filter = program(default_capabilities);
  const std::uint64_t thread = 0x3d0f00;  // what pthread_create passes
  EXPECT_EQ(verdict(filter, {x86_64, 56, {thread}}), allow);
  EXPECT_EQ(verdict(filter, {x86_64, 56, {17}}), allow);
  for (const std::uint64_t flag : {0x00020000ULL, 0x02000000ULL, 0x04000000ULL, 0x08000000ULL,
                                   0x10000000ULL, 0x20000000ULL, 0x40000000ULL}) {
    EXPECT_EQ(verdict(filter, {x86_64, 56, {flag | 17}}), eperm) << flag;
    EXPECT_EQ(verdict(filter, {x86_64, x32_bit | 56, {flag | 17}}), eperm) << flag;
    EXPECT_EQ(verdict(filter, {i386, 120, {flag | 17}}), eperm) << flag;
    EXPECT_EQ(verdict(filter, {x86_64, 56, {flag | 17 | 1ULL << 40}}), eperm) << flag;
    EXPECT_EQ(verdict(program(all_capabilities), {x86_64, 56, {flag | 17}}), allow) << flag;
  }
}

TEST_F(DefaultSeccomp, SocketFamilies) {
  const auto filter = program(all_capabilities);
  const std::uint64_t refused[] = {
      12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 47, 1000, (1ULL << 32) | 38, ~std::uint64_t{0}};
  for (const std::uint64_t family : refused) {
    EXPECT_EQ(verdict(filter, {x86_64, 41, {family}}), eperm) << family;
    EXPECT_EQ(verdict(filter, {x86_64, x32_bit | 41, {family}}), eperm) << family;
    if (family <= 0xffffffff) {
      EXPECT_EQ(verdict(filter, {i386, 359, {family}}), eperm) << family;
    }
  }
  for (const std::uint64_t family :
       std::initializer_list<std::uint64_t>{1, 2, 10, 16, 17, 29, 31, 44, 45}) {
    EXPECT_EQ(verdict(filter, {x86_64, 41, {family}}), allow) << family;
    EXPECT_EQ(verdict(filter, {i386, 359, {family}}), allow) << family;
  }
  EXPECT_EQ(verdict(filter, {i386, 102, {1}}), eperm) << "socketcall(SYS_SOCKET) of any family";
  EXPECT_EQ(verdict(filter, {i386, 102, {2}}), allow) << "socketcall(SYS_BIND)";
  EXPECT_EQ(verdict(filter, {i386, 102, {21}}), eperm);
}

TEST_F(DefaultSeccomp, Personalities) {
  const auto filter = program(all_capabilities);
  for (const std::uint64_t value : {0x0ULL, 0x8ULL, 0x20000ULL, 0x20008ULL, 0xffffffffULL}) {
    EXPECT_EQ(verdict(filter, {x86_64, 135, {value}}), allow) << value;
    EXPECT_EQ(verdict(filter, {i386, 136, {value}}), allow) << value;
  }
  for (const std::uint64_t value : {0x40000ULL /* ADDR_NO_RANDOMIZE */, 0x100000ULL, 0x400000ULL,
                                    0x1ULL, 0x60000ULL, 0xffffffffffffffffULL})
    EXPECT_EQ(verdict(filter, {x86_64, 135, {value}}), eperm) << value;
}

TEST_F(DefaultSeccomp, WhatNobodyKnowsDoesNotExist) {
  const auto filter = program(default_capabilities);
  for (const std::uint32_t number :
       std::initializer_list<std::uint32_t>{471U, 500U, 511U, 512U, 547U, 4711U})
    EXPECT_EQ(verdict(filter, {x86_64, number, {}}), enosys) << number;
  EXPECT_EQ(verdict(filter, {i386, 480, {}}), enosys);
  EXPECT_EQ(verdict(filter, {x86_64, x32_bit | 480, {}}), enosys);
  EXPECT_EQ(verdict(filter, {AUDIT_ARCH_AARCH64, 63, {}}), SECCOMP_RET_KILL_PROCESS);
}

}  // namespace
}  // namespace minirun

#endif
