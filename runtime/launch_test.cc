#include "runtime/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace minirun {
namespace {

using testing::HasSubstr;

/// A stage that says "forked PID" and nothing else; what the parent makes of it.
struct Liar {
  Launched launched;
  Status status;

  Liar(pid_t pid, bool forks, pid_t middle = 0, int signal_fd = -1) {
    if (middle > 0) launched.pidfd = PidFd(static_cast<int>(::syscall(SYS_pidfd_open, middle, 0)));
    int pair[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    Child child;
    child.channel = Fd(pair[0]);
    const Fd stage(pair[1]);
    wire::Message message{};
    message.kind = wire::MessageKind::forked;
    message.value = pid;
    EXPECT_GT(::send(stage.get(), &message, offsetof(wire::Message, failure), 0), 0);
    const Steps steps;
    status = await_ready(launched, std::move(child),
                         {.steps = steps, .forks = forks, .signal_fd = signal_fd, .hooks = {}});
  }
};

// What is adopted is killed by the undo: a container's process that has got hold of the stage must
// not choose it.
TEST(AwaitReady, AForkThatIsNoChildOfOursIsRefused) {
  int pipe[2] = {-1, -1};
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t middle = ::fork();
  ASSERT_GE(middle, 0);
  if (middle == 0) {
    const pid_t stranger = ::fork();
    if (stranger == 0) {
      ::alarm(20);
      ::pause();
      ::_exit(0);
    }
    ::_exit(::write(pipe[1], &stranger, sizeof stranger) == sizeof stranger ? 0 : 1);
  }
  pid_t stranger = 0;
  ASSERT_EQ(::read(pipe[0], &stranger, sizeof stranger), static_cast<ssize_t>(sizeof stranger));
  ASSERT_EQ(::waitpid(middle, nullptr, 0), middle);
  ::close(pipe[0]);
  ::close(pipe[1]);
  const Liar liar(stranger, true);
  EXPECT_EQ(::kill(stranger, SIGKILL), 0);
  ASSERT_FALSE(liar.status);
  EXPECT_THAT(liar.status.error().detail, HasSubstr("not its fork"));
  EXPECT_EQ(liar.launched.init.pid, 0);
  EXPECT_FALSE(liar.launched.pidfd);
}

pid_t waiting_child() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    for (;;) ::pause();
  }
  return child;
}

// The process that forked is stopped before its end: a signal to us ends the wait for it, and both.
TEST(AwaitReady, ASignalEndsTheWaitForTheProcessThatForked) {
  sigset_t term;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &term, nullptr), 0);
  const Fd signals(::signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
  const pid_t middle = waiting_child(), fork = waiting_child();
  ASSERT_GT(middle, 0);
  ASSERT_GT(fork, 0);
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  {
    const Liar liar(fork, true, middle, signals.get());
    ASSERT_FALSE(liar.status);
    EXPECT_THAT(liar.status.error().detail, HasSubstr("aborted by SIGTERM"));
    EXPECT_EQ(::waitpid(middle, nullptr, 0), -1) << "killed and collected";
    EXPECT_EQ(liar.launched.init.pid, fork) << "the undo ends it";
  }
  EXPECT_EQ(::waitpid(fork, nullptr, 0), -1);
  EXPECT_EQ(::sigprocmask(SIG_UNBLOCK, &term, nullptr), 0);
}

TEST(AwaitReady, AForkThatThePlanDoesNotHaveIsRefused) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const Liar liar(child, false);
  ASSERT_FALSE(liar.status);
  EXPECT_THAT(liar.status.error().detail, HasSubstr("forked"));
  EXPECT_EQ(::kill(child, SIGKILL), 0) << "it must live still";
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace minirun
