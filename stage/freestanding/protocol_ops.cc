// Owns: what the stage says to its parent and waits for, the terminal, and the exec.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

namespace minirun::wire {

using raw::call;

namespace {

struct Vector {
  void* base;
  std::size_t size;
};
struct SocketMessage {
  void* name = nullptr;
  std::uint32_t name_length = 0;
  Vector* vector = nullptr;
  std::size_t vector_length = 0;
  void* control = nullptr;
  std::size_t control_length = 0;
  std::int32_t flags = 0;
};
struct Control {
  std::size_t length;
  std::int32_t level;
  std::int32_t type;
  int fd;
};

}  // namespace

long send_message(int channel, const Message& message, std::size_t size, int fd) noexcept {
  Vector vector = {const_cast<Message*>(&message), size};
  Control control = {offsetof(Control, fd) + sizeof(int), 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */,
                     fd};
  SocketMessage packet;
  packet.vector = &vector;
  packet.vector_length = 1;
  if (fd >= 0) {
    packet.control = &control;
    packet.control_length = sizeof control;
  }
  const long result = call(__NR_sendmsg, channel, &packet, 0x4000 /* MSG_NOSIGNAL */);
  return result < 0 ? result : 0;
}

namespace {

/// Waits for the parent's word. Its end of file means that it died before it committed: this
/// process is then nobody's, and ends (crash safety, security reference 3.2).
void wait_go(const Context& context) noexcept {
  char go = 0;
  long size;
  do {
    size = call(__NR_read, context.channel, &go, sizeof go);
  } while (size == -EINTR);
  if (size <= 0) call(__NR_exit_group, 1);
}

bool barrier(Context& context, const Step& step) noexcept {
  if (step.n[0] != 0) {
    Message message = {};
    message.kind = static_cast<MessageKind>(step.n[0]);
    const long result = send_message(context.channel, message, offsetof(Message, failure), -1);
    if (result < 0) return context.fail(Call::sendmsg, result);
  }
  wait_go(context);
  constexpr unsigned peek_only = 0x2 | 0x40;  // MSG_PEEK, MSG_DONTWAIT
  char byte = 0;
  if (step.n[1] != 0 && call(__NR_recvfrom, context.channel, &byte, 1, peek_only, 0, 0) == 0)
    call(__NR_exit_group, 1);
  return true;
}

// `minirun start` connects; one wins and is told so with a packet, the others see the socket
// close when the program begins. A starter that dies before its word leaves the container created.
bool listen_start(Context& context, const Step& step) noexcept {
  call(__NR_close, context.channel);
  context.channel = -1;
  for (;;) {
    long peer;
    do {
      peer = call(__NR_accept4, context.slot(step.n[0]), 0, 0, 02000000 /* SOCK_CLOEXEC */);
    } while (peer == -EINTR || peer == -ECONNABORTED);
    if (peer < 0) return context.fail(Call::accept, peer);
    Message message = {};
    message.kind = MessageKind::ready;
    char go = 0;
    long size = -1;
    if (send_message(static_cast<int>(peer), message, offsetof(Message, failure), -1) == 0) {
      do {
        size = call(__NR_read, peer, &go, sizeof go);
      } while (size == -EINTR);
    }
    if (size > 0) {
      context.channel = static_cast<int>(peer);
      call(__NR_close, context.slot(step.n[0]));
      return true;
    }
    call(__NR_close, peer);
  }
}

/// The candidates in the order of PATH: the first that can be executed, or why none can.
long try_candidates(char** candidate, char** arguments, char** environment) noexcept {
  long verdict = -ENOENT;
  for (; *candidate != nullptr; ++candidate) {
    long result;
    if (arguments != nullptr) {
      result = call(__NR_execve, *candidate, arguments, environment);
    } else {
      result = call(__NR_faccessat2, AT_FDCWD, *candidate, 1 /* X_OK */, AT_EACCESS);
      struct statx info = {};
      if (result == 0 && call(__NR_statx, AT_FDCWD, *candidate, 0, STATX_TYPE, &info) == 0 &&
          (info.stx_mode & 0170000) == 0040000)
        result = -EACCES;
      if (result == 0) return 0;
    }
    if (result == -EACCES)
      verdict = result;  // execvp(3): remembered, the search goes on
    else if (result != -ENOENT && result != -ENOTDIR)
      return result;
  }
  return verdict;
}

bool reset_signals(const Step& step) noexcept {
  const auto ignored = static_cast<std::uint64_t>(step.n[0]);
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    std::uint64_t mask;
  } action = {};
  for (int signal = 1; signal <= 64; ++signal)
    if ((ignored >> (signal - 1) & 1U) != 0) call(__NR_rt_sigaction, signal, &action, 0, 8);
  const std::uint64_t none = 0;
  call(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
  return true;
}

/// F_SETFD of an open descriptor cannot fail.
void close_at_exec(int fd) noexcept {
  if (fd >= 0) call(__NR_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/// Closes all but the channel and one slot, now and (without n2) not at the exec: whoever can look
/// into /proc/PID/fd of a process that waits must find no directory of the host (CVE-2016-9962,
/// CVE-2024-21626). The channel may have a number that the caller wants preserved.
bool close_fds(Context& context, const Step& step) noexcept {
  const auto first = static_cast<int>(step.n[0]);
  // Where the caller has fewer descriptors than it wants preserved, one of ours may be among them.
  for (std::uint32_t i = 0; i < context.program->fd_count; ++i)
    if (context.slots[i] < first) close_at_exec(context.slots[i]);
  constexpr unsigned close_range_cloexec = 4;
  if (step.n[2] != 0) {
    if (context.channel < first) close_at_exec(context.channel);
    const long marked = call(__NR_close_range, first, ~0U, close_range_cloexec);
    return marked < 0 ? context.fail(Call::close_range, marked) : true;
  }
  int keep[2] = {context.channel, context.slot(step.n[1])};
  if (keep[0] > keep[1]) {
    const int lower = keep[1];
    keep[1] = keep[0];
    keep[0] = lower;
  }
  int from = first;
  long result = 0;
  for (const int fd : keep) {
    close_at_exec(fd);
    if (fd < from) continue;
    if (fd > from) result = call(__NR_close_range, from, fd - 1, 0);
    if (result < 0) return context.fail(Call::close_range, result);
    from = fd + 1;
  }
  result = call(__NR_close_range, from, ~0U, 0);
  return result < 0 ? context.fail(Call::close_range, result) : true;
}

void send_timings(const Context& context) noexcept {
  // The timings of this run, as one packet: kind, value = count, then the numbers.
  struct {
    MessageKind kind;
    std::int32_t count;
  } header = {MessageKind::timing, static_cast<std::int32_t>(context.program->step_count)};
  Vector vectors[2] = {{&header, sizeof header},
                       {context.timings, context.program->step_count * sizeof(std::uint32_t)}};
  SocketMessage packet;
  packet.vector = vectors;
  packet.vector_length = 2;
  call(__NR_sendmsg, context.channel, &packet, 0x4000 /* MSG_NOSIGNAL */);
}

bool execute(Context& context, const Step& step) noexcept {
  if (context.timings != nullptr) send_timings(context);
  context.linger = true;
  if (step.n[0] > 0)  // a program of minirun's own, from a sealed memory file
    return context.fail(Call::execve,
                        call(__NR_execveat, context.slot(step.n[0]), "", context.list(step.s[1]),
                             context.list(step.s[2]), AT_EMPTY_PATH));
  return context.fail(Call::execve, try_candidates(context.list(step.s[0]), context.list(step.s[1]),
                                                   context.list(step.s[2])));
}

// ---- terminal

struct WindowSize {
  unsigned short rows, columns, x, y;
};

/// A new terminal from the container's own devpts, by descriptor all the way (CVE-2025-52565).
bool console(Context& context, const Step& step) noexcept {
  const int root = context.slot(step.n[0]);
  const long master = open_in(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY, 0,
                              RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
  if (master < 0) return context.fail(Call::openat2, master);
  struct statx info = {};
  long result = call(__NR_statx, master, "", AT_EMPTY_PATH, STATX_TYPE, &info);
  if (result < 0) return context.fail(Call::fstat, result);
  if ((info.stx_mode & 0170000) != 0020000 || info.stx_rdev_major != 5 || info.stx_rdev_minor != 2)
    return context.fail(Call::openat2, -ENODEV);
  int unlocked = 0;
  result = call(__NR_ioctl, master, 0x40045431 /* TIOCSPTLCK */, &unlocked);
  if (result < 0) return context.fail(Call::ioctl, result);
  const long peer =
      call(__NR_ioctl, master, 0x5441 /* TIOCGPTPEER */, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (peer < 0) return context.fail(Call::ioctl, peer);
  if (step.n[2] > 0) {
    WindowSize size = {static_cast<unsigned short>(step.n[2]),
                       static_cast<unsigned short>(step.n[3]), 0, 0};
    call(__NR_ioctl, master, 0x5414 /* TIOCSWINSZ */, &size);
  }
  result = call(__NR_fchown, peer, step.n[1], -1);
  if (result < 0) return context.fail(Call::fchownat, result);
  if (step.n[4] != 0) {
    const long mount =
        call(__NR_open_tree, peer, "", 1U | static_cast<unsigned>(O_CLOEXEC) | AT_EMPTY_PATH);
    if (mount < 0) return context.fail(Call::open_tree, mount);
    const long target = open_target(context, root, "dev/console", create_file, 0600, 0);
    if (target < 0) return false;
    result = call(__NR_move_mount, mount, "", target, "", 0x4U | 0x40U);
    if (result < 0) return context.fail(Call::move_mount, result);
  }
  Message message = {};
  message.kind = MessageKind::console;
  result =
      send_message(context.channel, message, offsetof(Message, failure), static_cast<int>(master));
  if (result < 0) return context.fail(Call::sendmsg, result);
  if (step.n[5] == 0) {
    result = call(__NR_ioctl, peer, 0x540E /* TIOCSCTTY */, 0);
    if (result < 0) return context.fail(Call::ioctl, result);
  }
  for (int fd = 0; fd < 3; ++fd) {
    result = call(__NR_dup3, peer, fd, 0);
    if (result < 0) return context.fail(Call::dup3, result);
  }
  return true;
}

}  // namespace

bool protocol_operation(Context& context, const Step& step) noexcept {
  switch (step.op) {
    case Op::console:
      return console(context, step);
    case Op::barrier:
      return barrier(context, step);
    case Op::listen_start:
      return listen_start(context, step);
    case Op::check_executable: {
      const long result = try_candidates(context.list(step.s[0]), nullptr, nullptr);
      context.linger = result < 0;
      return result < 0 ? context.fail(Call::execve, result) : true;
    }
    case Op::close_fds:
      return close_fds(context, step);
    case Op::reset_signals:
      return reset_signals(step);
    case Op::execute:
      return execute(context, step);
    case Op::fail:
      return context.fail(Call::injected, -step.n[0]);
    case Op::die:
      call(__NR_kill, call(__NR_getpid), step.n[0]);
      // pid 1 of a namespace is immune to its own signals: end all the same
      call(__NR_exit_group, 137);
      return false;
    default:
      return context.fail(Call::program, -EINVAL);
  }
}

}  // namespace minirun::wire
