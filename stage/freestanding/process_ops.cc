// Owns: the operations on the process itself: namespaces, identity, limits, labels, filters.
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

namespace minirun::wire {
namespace {

using raw::call;

bool done(Context& context, Call which, long result) noexcept {
  return result < 0 ? context.fail(which, result) : true;
}

bool become_root(Context& context) noexcept {
  const long result = call(__NR_setresgid, 0, 0, 0);
  if (result < 0) return context.fail(Call::setresgid, result);
  return done(context, Call::setresuid, call(__NR_setresuid, 0, 0, 0));
}

/// The process that goes on is a sibling, so that the parent can wait for it.
bool fork_into(Context& context) noexcept {
  const long child = call(__NR_clone, CLONE_PARENT | 17L /* SIGCHLD */, 0, 0, 0, 0);
  if (child < 0) return context.fail(Call::clone, child);
  if (child == 0) return true;
  Message message = {};
  message.kind = MessageKind::forked;
  message.value = static_cast<std::int32_t>(child);
  send_message(context.channel, message, offsetof(Message, failure), -1);
  call(__NR_exit_group, 0);
  return false;
}

/// A session keyring of our own: the caller's may hold secrets (SEC-36).
bool keyring(Context& context, const Step& step) noexcept {
  const long serial = call(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, context.text(step.s[0]));
  if (serial == -ENOSYS) return true;  // a kernel without keys has nothing to leak
  if (serial < 0) return context.fail(Call::keyctl, serial);
  constexpr unsigned possessor_and_user = 0x3f1f0000U;
  return done(context, Call::keyctl, call(__NR_keyctl, KEYCTL_SETPERM, serial, possessor_and_user));
}

bool loopback(Context& context) noexcept {
  const long socket = call(__NR_socket, 2 /* AF_INET */, 2 | 02000000 /* SOCK_DGRAM, CLOEXEC */, 0);
  if (socket < 0) return context.fail(Call::socket, socket);
  // struct ifreq of netdevice(7); linux/if.h would pull libc in
  struct {
    char name[16] = "lo";
    short flags = 0x1 | 0x40;  // IFF_UP, IFF_RUNNING
    char rest[22] = {};
  } request;
  const long result = call(__NR_ioctl, socket, 0x8914 /* SIOCSIFFLAGS */, &request);
  drop(static_cast<int>(socket));
  return done(context, Call::ioctl, result);
}

bool set_rlimit(Context& context, const Step& step) noexcept {
  const std::int64_t limit[2] = {step.n[1], step.n[2]};  // struct rlimit64
  return done(context, Call::setrlimit, call(__NR_prlimit64, 0, step.n[0], limit, 0));
}

bool lsm_label(Context& context, const Step& step) noexcept {
  const long file = open_in(context.slot(step.n[0]), context.text(step.s[0]), O_WRONLY, 0,
                            RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  if (file < 0) return context.fail(Call::openat2, file);
  const char* label = context.text(step.s[1]);
  return done(context, Call::write, call(__NR_write, file, label, length(label)));
}

// The spec leaves a missing working directory open; runc and crun make it. CVE-2024-21626: what
// getcwd(2) says must be inside the root.
bool working_directory(Context& context, const Step& step) noexcept {
  const char* path = context.text(step.s[0]);
  const long directory = open_target(context, context.slot(step.n[0]), path,
                                     step.n[1] != 0 ? create_directory : create_nothing, 0755, 0);
  if (directory < 0) return false;
  long result = call(__NR_fchdir, directory);
  if (result < 0) return context.fail(Call::fchdir, result);
  char where[4096];
  result = call(__NR_getcwd, where, sizeof where);
  if (result < 0) return context.fail(Call::getcwd, result);
  if (where[0] != '/') return context.fail(Call::getcwd, -EXDEV);
  return true;
}

bool bounding(Context& context, const Step& step) noexcept {
  const auto keep = static_cast<std::uint64_t>(step.n[0]);
  const auto have = static_cast<std::uint64_t>(step.n[1]);
  for (int capability = 0; capability < 64; ++capability) {
    if (((have & ~keep) >> capability & 1U) == 0) continue;
    const long result = call(__NR_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
    // capabilities(7): EINVAL is "no such capability", and they are numbered without a gap; the
    // first 38 are older than any kernel that minirun runs on.
    if (result == -EINVAL && capability > 37) return true;
    if (result < 0) return context.fail(Call::prctl, result);
  }
  return true;
}

bool ids(Context& context, const Step& step) noexcept {
  long result = call(__NR_setresgid, step.n[1], step.n[1], step.n[1]);
  if (result < 0) return context.fail(Call::setresgid, result);
  if (step.n[0] != 0) {
    result = call(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);  // execve clears it again
    if (result < 0) return context.fail(Call::prctl, result);
  }
  return done(context, Call::setresuid, call(__NR_setresuid, step.n[0], step.n[0], step.n[0]));
}

bool set_capabilities(Context& context, const Step& step) noexcept {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = static_cast<std::uint32_t>(step.n[0] >> (32 * half));
    data[half].permitted = static_cast<std::uint32_t>(step.n[1] >> (32 * half));
    data[half].inheritable = static_cast<std::uint32_t>(step.n[2] >> (32 * half));
  }
  return done(context, Call::capset, call(__NR_capset, &header, data));
}

bool ambient(Context& context, const Step& step) noexcept {
  long result = call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  const auto set = static_cast<std::uint64_t>(step.n[0]);
  for (int capability = 0; result >= 0 && capability < 64; ++capability)
    if ((set >> capability & 1U) != 0)
      result = call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  return done(context, Call::prctl, result);
}

struct FilterProgram {
  unsigned short length;
  const void* filter;
};

bool load_filter(Context& context, const Step& step) noexcept {
  const FilterProgram program = {static_cast<unsigned short>(step.n[1]), context.text(step.s[0])};
  const long result = call(__NR_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, step.n[0], &program);
  if (result < 0) return context.fail(Call::seccomp, result);
  if (step.n[2] == 0) return true;
  Message message = {};
  message.kind = MessageKind::seccomp;
  return done(
      context, Call::sendmsg,
      send_message(context.channel, message, offsetof(Message, failure), static_cast<int>(result)));
}

// ---- HOME

/// Finds the sixth field of the line whose third is `uid` in one passwd(5) line.
bool home_in_line(const char* line, std::size_t size, std::uint64_t uid, const char** home,
                  std::size_t* home_size) noexcept {
  std::size_t start[7] = {}, end[7] = {};
  int field = 0;
  for (std::size_t i = 0; i <= size && field < 7; ++i) {
    if (i == size || line[i] == ':') {
      end[field++] = i;
      if (field < 7) start[field] = i + 1;
    }
  }
  if (field < 6 || start[2] == end[2] || end[2] - start[2] > 10) return false;
  std::uint64_t value = 0;
  for (std::size_t i = start[2]; i < end[2]; ++i) {
    if (line[i] < '0' || line[i] > '9') return false;
    value = value * 10 + static_cast<std::uint64_t>(line[i] - '0');
  }
  if (value != uid || start[5] >= end[5]) return false;
  *home = line + start[5];
  *home_size = end[5] - start[5];
  return true;
}

/// Looks `uid` up; bounded in time and size, since an image may have a FIFO or a device there
/// (SEC-51: runc and crun hang). Writes "HOME=..." into `result`.
void find_home(int root, std::uint64_t uid, char* result, std::size_t capacity) noexcept {
  copy(result, "HOME=/", 7);
  const long file = open_in(root, "etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
                            RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (file < 0) return;
  struct statx info = {};
  // A size of 0 is a file of procfs: reading kmsg would take the host's messages away.
  if (call(__NR_statx, file, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &info) < 0 ||
      (info.stx_mode & 0170000) != 0100000 || info.stx_size == 0) {
    drop(static_cast<int>(file));
    return;
  }
  char buffer[4096];
  std::size_t held = 0;
  bool skipping = false;
  for (int reads = 0; reads < 256; ++reads) {  // at most 1 MiB
    const long size = call(__NR_read, file, buffer + held, sizeof buffer - held);
    if (size < 0) break;
    held += static_cast<std::size_t>(size);
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= held; ++i) {
      const bool end = i == held;
      if (end && size != 0) break;
      if (!end && buffer[i] != '\n') continue;
      const char* home = nullptr;
      std::size_t home_size = 0;
      if (!skipping && home_in_line(buffer + begin, i - begin, uid, &home, &home_size) &&
          home_size + 6 < capacity) {
        copy(result + 5, home, home_size);
        result[5 + home_size] = '\0';
        drop(static_cast<int>(file));
        return;
      }
      skipping = false;
      begin = i + 1;
      if (end) break;
    }
    if (size == 0) break;
    if (begin > held) begin = held;
    if (begin == 0 && held == sizeof buffer) {  // a line that does not fit is no line of ours
      skipping = true;
      held = 0;
      continue;
    }
    held -= begin;
    for (std::size_t i = 0; i < held; ++i) buffer[i] = buffer[begin + i];
  }
  drop(static_cast<int>(file));
}

bool home(Context& context, const Step& step) noexcept {
  static char text[1024];
  find_home(context.slot(step.n[0]), static_cast<std::uint64_t>(step.n[1]), text, sizeof text);
  char** environment = context.list(step.s[0]);
  while (*environment != nullptr) ++environment;
  *environment = text;  // the encoder left one empty cell more
  return true;
}

}  // namespace

bool process_operation(Context& context, const Step& step) noexcept {
  switch (step.op) {
    case Op::set_namespace:
      return done(context, Call::setns, call(__NR_setns, context.slot(step.n[0]), step.n[1]));
    case Op::unshare:
      return done(context, Call::unshare, call(__NR_unshare, step.n[0]));
    case Op::become_root:
      return become_root(context);
    case Op::fork_into:
      return fork_into(context);
    case Op::new_session: {
      const long result = call(__NR_setsid);
      // EPERM: already a leader, as pid 1 of a new pid namespace is not but a re-run may be
      if (result < 0 && result != -EPERM) return context.fail(Call::setsid, result);
      return step.n[0] == 0 ||
             done(context, Call::ioctl, call(__NR_ioctl, 0, 0x540E /* TIOCSCTTY */, 0));
    }
    case Op::keyring:
      return keyring(context, step);
    case Op::hostname: {
      const char* name = context.text(step.s[0]);
      return done(context, Call::sethostname, call(__NR_sethostname, name, length(name)));
    }
    case Op::domainname: {
      const char* name = context.text(step.s[0]);
      return done(context, Call::setdomainname, call(__NR_setdomainname, name, length(name)));
    }
    case Op::loopback:
      return loopback(context);
    case Op::death_signal:
      return done(context, Call::prctl, call(__NR_prctl, PR_SET_PDEATHSIG, step.n[0], 0, 0, 0));
    case Op::rlimit:
      return set_rlimit(context, step);
    case Op::umask_:
      call(__NR_umask, step.n[0]);
      return true;
    case Op::scheduler:
      return done(context, Call::sched_setattr,
                  call(__NR_sched_setattr, 0, context.text(step.s[0]), 0));
    case Op::io_priority:
      return done(context, Call::ioprio_set, call(__NR_ioprio_set, 1, 0, step.n[0]));
    case Op::affinity:
      return done(context, Call::sched_setaffinity,
                  call(__NR_sched_setaffinity, 0, step.n[0], context.text(step.s[0])));
    case Op::memory_policy:
      return done(context, Call::set_mempolicy,
                  call(__NR_set_mempolicy, step.n[0], context.text(step.s[0]), step.n[1]));
    case Op::personality:
      return done(context, Call::personality, call(__NR_personality, step.n[0]));
    case Op::lsm_label:
      return lsm_label(context, step);
    case Op::dumpable:
      return done(context, Call::prctl, call(__NR_prctl, PR_SET_DUMPABLE, step.n[0], 0, 0, 0));
    case Op::working_directory:
      return working_directory(context, step);
    case Op::home:
      return home(context, step);
    case Op::bounding:
      return bounding(context, step);
    case Op::groups:
      return done(context, Call::setgroups,
                  call(__NR_setgroups, step.n[0], context.text(step.s[0])));
    case Op::ids:
      return ids(context, step);
    case Op::capset:
      return set_capabilities(context, step);
    case Op::ambient:
      return ambient(context, step);
    case Op::no_new_privs:
      return done(context, Call::prctl, call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case Op::seccomp:
      return load_filter(context, step);
    default:
      return context.fail(Call::program, -EINVAL);
  }
}

}  // namespace minirun::wire
