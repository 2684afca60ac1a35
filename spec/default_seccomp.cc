// Owns: the facts of the default seccomp profile, grouped by why a call is allowed or not.
// Must not: resolve names to numbers (a name that this kernel or architecture lacks is harmless).
//
// The decisions are those of the field (moby's profile of 2026): EPERM by default, capability by
// capability where a call needs one anyway, no new namespaces without CAP_SYS_ADMIN. Never allowed,
// with any capability: io_uring (a second system call table that no filter sees), userfaultfd
// (makes kernel races winnable), the keyrings (not namespaced), kexec, swap, pivot_root,
// nfsservctl, uselib, vm86, sysfs, ustat, migrate_pages and move_pages.
#include "spec/default_seccomp.h"

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/capabilities.h"

namespace minirun {
namespace {

constexpr std::string_view allow_action = "SCMP_ACT_ALLOW";

// ------------------------------------------------------------- allowed without any capability

/// Calls of any ordinary program, one line of names per subject. 32-bit twins stand beside theirs.
constexpr std::string_view ordinary[] = {
    // life of a process
    "execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid "
    "getpgrp setpgid getsid setsid kill tkill tgkill pause restart_syscall prctl set_tid_address "
    "get_robust_list set_robust_list get_thread_area set_thread_area rseq getcpu membarrier "
    "pidfd_open pidfd_send_signal process_mrelease",
    // signals
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn",
    // ids and capabilities: the kernel checks them against what the process holds
    "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid "
    "setresuid setresgid setfsuid setfsgid setgroups getuid32 geteuid32 getgid32 getegid32 "
    "getresuid32 getresgid32 getgroups32 setuid32 setgid32 setreuid32 setregid32 setresuid32 "
    "setresgid32 setfsuid32 setfsgid32 setgroups32 capget capset",
    // memory
    "brk mmap mmap2 munmap mremap mprotect madvise mincore mlock mlock2 mlockall munlock "
    "munlockall "
    "msync remap_file_pages memfd_create memfd_secret pkey_alloc pkey_free pkey_mprotect "
    "map_shadow_stack mseal cachestat",
    // files by name; name_to_handle_at is harmless without open_by_handle_at
    "access faccessat faccessat2 chdir fchdir getcwd chmod fchmod fchmodat fchmodat2 chown fchown "
    "fchownat lchown chown32 fchown32 lchown32 creat open openat openat2 link linkat symlink "
    "symlinkat readlink readlinkat rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat "
    "mknod mknodat umask truncate truncate64 utime utimes utimensat utimensat_time64 futimesat "
    "name_to_handle_at",
    // what is known about a file
    "stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs "
    "fstatfs64 getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat "
    "listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr "
    "removexattrat statmount listmount inotify_init inotify_init1 inotify_add_watch "
    "inotify_rm_watch fanotify_mark",
    // open files
    "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek close "
    "close_range dup dup2 dup3 fcntl fcntl64 flock ftruncate ftruncate64 fallocate fadvise64 "
    "fadvise64_64 readahead fsync fdatasync sync syncfs sync_file_range getdents getdents64 ioctl "
    "copy_file_range sendfile sendfile64 splice tee vmsplice pipe pipe2",
    // waiting
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 "
    "epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 "
    "futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue",
    // the asynchronous I/O of 2002
    "io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64",
    // time; adjtimex and clock_adjtime read without and set only with CAP_SYS_TIME
    "time times gettimeofday nanosleep clock_getres clock_getres_time64 clock_gettime "
    "clock_gettime64 clock_nanosleep clock_nanosleep_time64 adjtimex clock_adjtime clock_adjtime64 "
    "alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime "
    "timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime "
    "timerfd_gettime64 timerfd_settime timerfd_settime64",
    // sockets, once they exist (socket itself: allowed_families)
    "accept accept4 bind connect listen shutdown socketpair getpeername getsockname getsockopt "
    "setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
    // System V and POSIX IPC, which have a namespace of their own
    "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl "
    "shmdt shmget mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 "
    "mq_timedsend mq_timedsend_time64",
    // scheduling and limits: the kernel asks for CAP_SYS_NICE, CAP_SYS_RESOURCE by itself
    "getpriority setpriority ioprio_get ioprio_set sched_getaffinity sched_setaffinity "
    "sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler "
    "sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval "
    "sched_rr_get_interval_time64 sched_yield getrlimit setrlimit ugetrlimit prlimit64 getrusage",
    // facts about the machine
    "uname sysinfo getrandom",
    // a process may restrict itself further
    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    // debugging one's own children; before Linux 4.8 ptrace could get around seccomp, and minirun
    // needs 5.6 (openat2)
    "ptrace process_vm_readv process_vm_writev",
};

#if defined(__x86_64__)
constexpr std::string_view of_this_architecture = "arch_prctl modify_ldt";
constexpr std::string_view architectures[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#elif defined(__aarch64__)
constexpr std::string_view of_this_architecture =
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
constexpr std::string_view architectures[] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
#else
#error "the default seccomp profile knows no architecture but x86_64 and aarch64"
#endif

// ------------------------------------------------------------- allowed with a capability

struct Gated {
  std::string_view capability;
  std::string_view names;
};

constexpr Gated gated[] = {
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},  // the "shocker" escape of 2014
    {"CAP_SYS_ADMIN",
     "mount umount umount2 fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount "
     "mount_setattr quotactl quotactl_fd setns unshare clone clone3 sethostname setdomainname bpf "
     "perf_event_open syslog fanotify_init lookup_dcookie lsm_get_self_attr lsm_set_self_attr "
     "lsm_list_modules"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYS_MODULE", "init_module finit_module delete_module"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"},
    {"CAP_SYS_RAWIO", "iopl ioperm"},
    {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
    {"CAP_SYS_NICE", "get_mempolicy set_mempolicy set_mempolicy_home_node mbind"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_BPF", "bpf"},
    {"CAP_PERFMON", "perf_event_open"},
};

// ------------------------------------------------------------- allowed with some arguments

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: the first argument of clone.
/// CLONE_NEWTIME is not a flag of clone (its bit is part of the exit signal there).
constexpr std::uint64_t namespace_flags = 0x7E020000;

/// PER_LINUX, PER_LINUX32, both with UNAME26, and "tell me": the others switch off address space
/// randomisation or map page zero.
constexpr std::uint64_t personalities[] = {0, 0x8, 0x20000, 0x20008, 0xffffffff};

/// AF_* above AF_ROSE (11). Below it all are allowed. Left out: AF_ALG 38, the door of
/// CVE-2026-31431 ("Copy Fail": page cache writes from an unprivileged socket); AF_VSOCK 40, which
/// reaches the hypervisor past every network namespace; families that Linux has removed: 12 DECnet,
/// 19 Econet, 20 ATMSVC, 23 IrDA, 25 WANPIPE, 34 ISDN, 37 CAIF. socketcall (32-bit x86) is not in
/// any list: its arguments are behind a pointer, so a filter cannot tell the family.
constexpr std::uint64_t first_refused_family = 12;
constexpr std::uint64_t allowed_families[] = {13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29,
                                              30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45};

// ------------------------------------------------------------- putting it together

void append_names(std::vector<std::string>& names, std::string_view text) {
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    names.emplace_back(text.substr(0, space));
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
}

SeccompSyscall with_argument(std::string_view name, SeccompArg argument) {
  return {{std::string(name)}, std::string(allow_action), std::nullopt, {std::move(argument)}};
}

void add_conditional(std::vector<SeccompSyscall>& rules) {
  for (const std::uint64_t value : personalities)
    rules.push_back(with_argument("personality", {0, value, 0, "SCMP_CMP_EQ"}));
  rules.push_back(with_argument("socket", {0, first_refused_family, 0, "SCMP_CMP_LT"}));
  for (const std::uint64_t family : allowed_families)
    rules.push_back(with_argument("socket", {0, family, 0, "SCMP_CMP_EQ"}));
}

/// Without CAP_SYS_ADMIN: threads and processes, but no namespaces. clone3 takes its flags behind a
/// pointer; ENOSYS makes libc fall back to clone.
void add_clone(std::vector<SeccompSyscall>& rules) {
  rules.push_back(with_argument("clone", {0, namespace_flags, 0, "SCMP_CMP_MASKED_EQ"}));
  rules.push_back({{"clone3"}, "SCMP_ACT_ERRNO", std::uint32_t{ENOSYS}, {}});
}

bool holds(std::uint64_t capabilities, std::string_view name) {
  const std::optional<unsigned> number = capability_from_name(name);
  return number && (capabilities & capability_bit(*number)) != 0;
}

}  // namespace

Seccomp default_seccomp(std::uint64_t bounding_capabilities) {
  Seccomp profile;
  profile.default_action = "SCMP_ACT_ERRNO";
  profile.default_errno_ret = EPERM;
  for (const std::string_view name : architectures) profile.architectures.emplace_back(name);

  SeccompSyscall plain{{}, std::string(allow_action), std::nullopt, {}};
  for (const std::string_view names : ordinary) append_names(plain.names, names);
  append_names(plain.names, of_this_architecture);
  for (const Gated& group : gated)
    if (holds(bounding_capabilities, group.capability)) append_names(plain.names, group.names);
  profile.syscalls.push_back(std::move(plain));

  add_conditional(profile.syscalls);
  if (!holds(bounding_capabilities, "CAP_SYS_ADMIN")) add_clone(profile.syscalls);
  return profile;
}

}  // namespace minirun
