// Owns: proof that the kernel does with the default profile what the interpreter says: a forked
// child loads it. Must not: load anything into the test process itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "base/capabilities.h"
#include "security/seccomp.h"
#include "spec/default_seccomp.h"

#if defined(__x86_64__)

namespace minirun {
namespace {

/// Loads the program as the child of a container would; false with errno otherwise.
bool load(SeccompProgram& program) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  const sock_fprog whole{static_cast<unsigned short>(program.filter.size()),
                         reinterpret_cast<sock_filter*>(program.filter.data())};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program.flags, &whole) >= 0;
}

struct Outcome {
  bool loaded = false;
  int load_errno = 0;
  std::vector<int> errnos;  ///< 0: the call succeeded
  int status = 0;           ///< of waitpid(2)
};

/// Loads `seccomp` in a child and reports what each probe sees; a probe returns an errno.
template <class... Probe>
Outcome in_child(const Seccomp& seccomp, Probe... probes) {
  Outcome out;
  auto program = compile_seccomp(seccomp);
  EXPECT_TRUE(program);
  int channel[2] = {-1, -1};
  if (!program || ::pipe2(channel, O_CLOEXEC) != 0) return out;
  const pid_t pid = ::fork();
  if (pid == 0) {
    int result = load(*program) ? 0 : errno;
    if (::write(channel[1], &result, sizeof result) != sizeof result || result != 0) ::_exit(1);
    for (const int value : {probes()...})
      if (::write(channel[1], &value, sizeof value) != sizeof value) ::_exit(2);
    ::_exit(0);
  }
  ::close(channel[1]);
  int value = 0;
  if (::read(channel[0], &value, sizeof value) == sizeof value) {
    out.load_errno = value;
    out.loaded = value == 0;
  }
  while (::read(channel[0], &value, sizeof value) == sizeof value) out.errnos.push_back(value);
  ::close(channel[0]);
  ::waitpid(pid, &out.status, 0);
  return out;
}

int failed(long result) {
  return result < 0 ? errno : 0;
}

/// A system call of the 32-bit table. Returns -errno.
long int80(long number, long first, long second, long third) {
  long result = number;
  asm volatile("int $0x80"
               : "+a"(result)
               : "b"(first), "c"(second), "d"(third)
               : "memory", "r8", "r9", "r10", "r11");
  return static_cast<int>(result);
}

TEST(SeccompLoad, TheDefaultProfileAnswersAsExpected) {
  const Outcome out = in_child(
      default_seccomp(default_capabilities),
      [] { return failed(::socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0)); },
      [] { return failed(::socket(40 /* AF_VSOCK */, SOCK_STREAM, 0)); },
      [] { return failed(::socket(AF_UNIX, SOCK_STREAM, 0)); },
      [] { return failed(::unshare(CLONE_NEWUSER)); },
      [] { return failed(::syscall(SYS_keyctl, 0, -3, 0, 0, 0)); },
      [] { return failed(::syscall(SYS_clone3, nullptr, 0)); },
      [] { return failed(::personality(ADDR_NO_RANDOMIZE)); },
      [] { return failed(::personality(0xffffffff)); },
      [] { return failed(::syscall(425 /* io_uring_setup */, 1, nullptr)); },
      [] { return failed(::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr)); },
      [] { return failed(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); },
      [] { return failed(::syscall(511)); },
      [] { return failed(::syscall(452 /* fchmodat2 */, -1, "x", 0, 0)); },
      [] { return failed(::syscall(SYS_getppid)); });
  if (!out.loaded) GTEST_SKIP() << "SKIPPED: seccomp(2) refuses here: errno " << out.load_errno;
  // fchmodat2 reaches the kernel: EBADF from 6.6 on, ENOSYS before.
  ASSERT_EQ(out.errnos.size(), 14U) << "status " << out.status;
  EXPECT_TRUE(out.errnos[12] == EBADF || out.errnos[12] == ENOSYS) << out.errnos[12];
  std::vector<int> others = out.errnos;
  others.erase(others.begin() + 12);
  EXPECT_EQ(others, (std::vector<int>{EPERM, EPERM, 0, EPERM, EPERM, ENOSYS, EPERM, 0, EPERM, EPERM,
                                      EPERM, ENOSYS, 0}));
}

TEST(SeccompLoad, ThirtyTwoBitDoorsAreClosedToo) {
  const Outcome out = in_child(
      default_seccomp(default_capabilities),
      [] { return static_cast<int>(-int80(359 /* socket */, 38, SOCK_SEQPACKET, 0)); },
      [] { return static_cast<int>(-int80(102 /* socketcall */, 1 /* SYS_SOCKET */, 0, 0)); },
      [] { return static_cast<int>(-int80(288 /* keyctl */, 0, -3, 0)); },
      [] { return static_cast<int>(-int80(359, AF_VSOCK, SOCK_STREAM, 0)); },
      [] { return failed(::syscall(0x40000000 | 41, 38, SOCK_SEQPACKET, 0)); });
  if (!out.loaded) GTEST_SKIP() << "SKIPPED: seccomp(2) refuses here: errno " << out.load_errno;
  if (WIFSIGNALED(out.status) && WTERMSIG(out.status) == SIGSEGV)
    GTEST_SKIP() << "SKIPPED: this kernel has no 32-bit system calls";
  EXPECT_EQ(out.errnos, (std::vector<int>(5, EPERM)));
}

TEST(SeccompLoad, AnArchitectureThatIsNotListedKillsTheProcess) {
  Seccomp seccomp;
  seccomp.default_action = "SCMP_ACT_ALLOW";
  const Outcome out =
      in_child(seccomp, [] { return static_cast<int>(-int80(20 /* getpid */, 0, 0, 0)); });
  if (!out.loaded) GTEST_SKIP() << "SKIPPED: seccomp(2) refuses here: errno " << out.load_errno;
  ASSERT_TRUE(WIFSIGNALED(out.status));
  if (WTERMSIG(out.status) == SIGSEGV)
    GTEST_SKIP() << "SKIPPED: this kernel has no 32-bit system calls";
  EXPECT_EQ(WTERMSIG(out.status), SIGSYS);
}

TEST(SeccompLoad, EveryActionIsTakenByTheKernel) {
  const auto probe = [] { return failed(::syscall(SYS_getppid)); };
  for (const std::string_view action : seccomp_actions) {
    if (action == "SCMP_ACT_TRAP" || action.starts_with("SCMP_ACT_KILL")) continue;
    Seccomp seccomp;
    seccomp.default_action = "SCMP_ACT_ALLOW";
    // Nobody answers a notification: ENOSYS once the listener is closed, so none is made here.
    seccomp.syscalls = {
        {{action == "SCMP_ACT_NOTIFY" ? "sethostname" : "getppid"}, std::string(action), {}, {}}};
    const Outcome out = in_child(seccomp, probe);
    if (!out.loaded) GTEST_SKIP() << "SKIPPED: seccomp(2) refuses here: errno " << out.load_errno;
    const int expected = action == "SCMP_ACT_ERRNO"   ? EPERM
                         : action == "SCMP_ACT_TRACE" ? ENOSYS  // no tracer
                                                      : 0;
    EXPECT_EQ(out.errnos, std::vector<int>{expected}) << action;
  }
  for (const char* action : {"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"}) {
    Seccomp seccomp;
    seccomp.default_action = "SCMP_ACT_ALLOW";
    seccomp.syscalls = {{{"getppid"}, action, {}, {}}};
    const Outcome out = in_child(seccomp, probe);
    if (!out.loaded) GTEST_SKIP() << "SKIPPED: seccomp(2) refuses here: errno " << out.load_errno;
    EXPECT_TRUE(WIFSIGNALED(out.status) && WTERMSIG(out.status) == SIGSYS) << action;
  }
}

TEST(SeccompLoad, EveryFlagIsTakenByTheKernel) {
  for (const std::string_view flag : seccomp_flags)
    for (const char* action : {"SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"}) {
      Seccomp seccomp;
      seccomp.default_action = "SCMP_ACT_ALLOW";
      seccomp.flags = {std::string(flag)};
      seccomp.syscalls = {{{"sethostname"}, action, {}, {}}};
      const Outcome out = in_child(seccomp, [] { return 0; });
      if (out.load_errno == ENOSYS || out.load_errno == EPERM)
        GTEST_SKIP() << "SKIPPED: seccomp(2) refuses here: errno " << out.load_errno;
      EXPECT_TRUE(out.loaded) << flag << " " << action << ": errno " << out.load_errno
                              << " (WAIT_KILLABLE_RECV needs Linux 5.19)";
    }
}

}  // namespace
}  // namespace minirun

#endif
