#include "runtime/conversation.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "cgroups/stats.h"
#include "runtime/abort_signal.h"
#include "runtime/exec_error.h"
#include "runtime/fault.h"
#include "runtime/process_info.h"
#include "stage/freestanding/interpreter.h"

namespace minirun {

Launched::~Launched() {
  (void)end();  // who wants to know calls end() itself
}

Status Launched::end() {
  devices.reset();  // back to the host, before their namespace ends
  if (init.pid > 0 && pidfd) {
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    siginfo_t info{};
    (void)TEMP_FAILURE_RETRY(
        ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info, WEXITED));
    init.pid = 0;
  }
  const Status removed = cgroup ? cgroup->remove() : Status();
  rdt.reset();
  return removed;
}

void Launched::keep() {
  init.pid = 0;
  if (cgroup) cgroup->keep();
  if (rdt) rdt->keep();
  if (devices) devices->keep();
}

namespace {

/// Waits until the channel is readable. Errors: EINTR when a signal asks us to stop.
Status wait_readable(int channel, int signal_fd) {
  if (signal_fd < 0) return {};
  for (;;) {
    std::array<pollfd, 2> polls{{{channel, POLLIN, 0}, {signal_fd, POLLIN, 0}}};
    if (::poll(polls.data(), polls.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return os_error("poll");
    }
    if (polls[0].revents != 0) return {};
    if (const auto signal = take_abort(signal_fd))
      return os_error(EINTR, "start", "aborted by " + *signal);
  }
}

}  // namespace

Result<std::optional<StageMessage>> receive(int channel, int signal_fd, bool* unread) {
  TRY(wait_readable(channel, signal_fd));
  StageMessage result;
  // A timing packet is larger than a message: both begin with the kind.
  static std::array<char, sizeof(wire::Message) + 4096 * sizeof(std::uint32_t)> buffer;
  iovec vector{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr packet{};
  packet.msg_iov = &vector;
  packet.msg_iovlen = 1;
  packet.msg_control = control.data();
  packet.msg_controllen = control.size();
  ssize_t size = TEMP_FAILURE_RETRY(::recvmsg(channel, &packet, MSG_CMSG_CLOEXEC));
  if (size < 0 && errno == ECONNRESET) {
    // The other end was closed with data of ours in its queue. That is told once, and before what
    // it has sent.
    if (unread != nullptr) *unread = true;
    size = TEMP_FAILURE_RETRY(::recvmsg(channel, &packet, MSG_CMSG_CLOEXEC));
  }
  if (size < 0) return os_error("stage", "receive");
  if (const cmsghdr* header = CMSG_FIRSTHDR(&packet);
      header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    result.fd = Fd(fd);
  }
  if (size == 0) return std::nullopt;
  const auto bytes = static_cast<std::size_t>(size);
  if (bytes < offsetof(wire::Message, failure))
    return plain_error("stage", "sent a message that is too short");
  std::memcpy(&result.message, buffer.data(), std::min(bytes, sizeof result.message));
  if (result.message.kind == wire::MessageKind::timing) {
    result.timings.resize((bytes - offsetof(wire::Message, failure)) / sizeof(std::uint32_t));
    std::memcpy(result.timings.data(), buffer.data() + offsetof(wire::Message, failure),
                result.timings.size() * sizeof(std::uint32_t));
  }
  if (result.message.kind == wire::MessageKind::failure && bytes < sizeof(wire::Message))
    return plain_error("stage", "sent a failure that is too short");
  return result;
}

Error explain_death(pid_t pid, const Cgroup* cgroup) {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0)
    return Error{errno, "first process", "wait", {}};
  Error error{0, "first process", "", {}};
  if (info.si_code == CLD_EXITED)
    error.detail = fmt::format("ended with status {} before the program began", info.si_status);
  else
    error.detail =
        fmt::format("was killed by SIG{} before the program began", ::sigabbrev_np(info.si_status));
  if (cgroup != nullptr) {
    const Result<CgroupStats> stats = read_stats(cgroup->fd());
    if (stats && stats->memory) {
      const auto kills = stats->memory->events.find("oom_kill");
      if (kills != stats->memory->events.end() && kills->second > 0)
        error.detail += ": out of memory, memory.max is too small to start it";
    }
  }
  return error;
}

Status observe(Launched& launched) {
  const ProcessStat stat = TRY(read_process_stat(launched.init.pid));
  launched.init.start_time = stat.start_time;
  return {};
}

namespace {

/// The stage forked into a joined namespace: that child is the container's first process.
Status adopt(Launched& launched, pid_t pid, int signal_fd) {
  PidFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return os_error(fmt::format("process {}", pid));
  // A container's process that got hold of the stage could name any process of the host, which
  // our undo would kill: only our own child, and the stage's fork is one (CLONE_PARENT).
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info,
               WEXITED | WNOHANG | WNOWAIT) != 0)
    return os_error("stage", fmt::format("names process {}, which is not its fork", pid));
  // It ends by itself, unless somebody has stopped it: a signal to us must not wait for that.
  const Status ended = wait_readable(launched.pidfd.get(), signal_fd);
  // Of the two the undo knows only one.
  if (!ended) ::syscall(SYS_pidfd_send_signal, launched.pidfd.get(), SIGKILL, nullptr, 0);
  ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(launched.pidfd.get()), &info, WEXITED);
  launched.pidfd = std::move(pidfd);
  launched.init.pid = pid;
  TRY(ended);
  return observe(launched);
}

}  // namespace

Error failure_of(const Steps& child, const wire::Failure& failure, pid_t pid) {
  const Steps steps = with_fault(child, "child");
  Error error = describe_failure(steps, failure);
  if (failure.step < steps.size()) explain_exec(pid, steps[failure.step], error);
  return error;
}

namespace {

/// False: the child is gone, and what it said last may wait to be read.
Result<bool> send_word(const Fd& channel) {
  const char go = 1;
  if (TEMP_FAILURE_RETRY(::send(channel.get(), &go, sizeof go, MSG_NOSIGNAL)) == sizeof go)
    return true;
  if (errno == EPIPE || errno == ECONNRESET) return false;
  return os_error("stage", "send");
}

/// A filter whose listener nobody has would leave the program waiting for ever.
Status deliver(const Launched& launched, const Fd& listener) {
  if (!listener) return plain_error("stage", "sent no listener of its filter");
  if (!launched.on_listener) return plain_error("stage", "sent a listener that nobody asked for");
  return launched.on_listener(listener.get());
}

}  // namespace

Status await_ready(Launched& launched, Child child, const Conversation& talk) {
  bool ready = false, forked = false, waits_for_hooks = false;
  // A fork and what goes on after it speak on one channel: their words may come in either order.
  while (!ready || forked != talk.forks) {
    std::optional<StageMessage> packet = TRY(receive(child.channel.get(), talk.signal_fd));
    if (!packet)
      return std::unexpected(
          explain_death(launched.init.pid, launched.cgroup ? &*launched.cgroup : nullptr));
    switch (packet->message.kind) {
      case wire::MessageKind::failure:
        return std::unexpected(failure_of(talk.steps, packet->message.failure, launched.init.pid));
      case wire::MessageKind::ready:
        ready = true;
        break;
      case wire::MessageKind::hooks:
        waits_for_hooks = true;
        break;
      case wire::MessageKind::forked:
        if (!talk.forks || forked) return plain_error("stage", "forked where the plan does not");
        TRY(adopt(launched, packet->message.value, talk.signal_fd));
        forked = true;
        break;
      case wire::MessageKind::console:
        launched.console = std::move(packet->fd);
        break;
      case wire::MessageKind::seccomp:
        TRY(deliver(launched, packet->fd));
        break;
      case wire::MessageKind::timing:
        break;
    }
    // Only once it is known which process is the container's first.
    if (waits_for_hooks && forked == talk.forks) {
      waits_for_hooks = false;
      if (talk.hooks) TRY(talk.hooks(launched.init.pid));
      TRY(send_word(child.channel));
    }
  }
  launched.channel = std::move(child.channel);
  return {};
}

Status give_word(Launched& launched, const std::function<Error(const wire::Failure&)>& describe,
                 int signal_fd) {
  bool unread = !TRY(send_word(launched.channel));
  for (;;) {
    std::optional<StageMessage> packet = TRY(receive(launched.channel.get(), signal_fd, &unread));
    if (!packet && unread) {  // it died on the way to our word
      if (launched.init.pid == 0) return plain_error("first process", "ended before the program");
      return std::unexpected(
          explain_death(launched.init.pid, launched.cgroup ? &*launched.cgroup : nullptr));
    }
    if (!packet) {  // close-on-exec: the program runs
      // config-linux.md: what was moved is not moved back by the runtime.
      if (launched.devices) launched.devices->keep();
      return {};
    }
    if (packet->message.kind == wire::MessageKind::failure)
      return std::unexpected(describe(packet->message.failure));
    if (packet->message.kind == wire::MessageKind::timing)
      launched.step_nanoseconds = std::move(packet->timings);
    if (packet->message.kind == wire::MessageKind::seccomp) TRY(deliver(launched, packet->fd));
  }
}

Status give_word(Launched& launched, const Steps& child, int signal_fd) {
  return give_word(
      launched,
      [&](const wire::Failure& failure) { return failure_of(child, failure, launched.init.pid); },
      signal_fd);
}

}  // namespace minirun
