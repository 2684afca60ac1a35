#include "runtime/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

extern "C" {
extern const char minirun_stage_begin[];
extern const char minirun_stage_end[];
}

namespace minirun {

Result<Stage> make_stage(const Steps& child, int fd_count, bool timing) {
  Stage stage;
  const std::string program = TRY(encode(child, fd_count, timing));
#ifndef MFD_EXEC
  constexpr unsigned MFD_EXEC = 0x10;
#endif
  stage.file = Fd(::memfd_create("minirun-stage", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (!stage.file && errno == EINVAL)  // before Linux 6.3 the flag is unknown and implied
    stage.file = Fd(::memfd_create("minirun-stage", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!stage.file) return os_error("memfd_create", "vm.memfd_noexec may forbid it");
  const auto size = static_cast<std::size_t>(minirun_stage_end - minirun_stage_begin);
  static constexpr std::size_t page = 4096;
  static const std::array<char, page> padding{};
  stage.program_offset = (size + page - 1) / page * page;
  stage.program_size = program.size();
  iovec parts[3] = {{const_cast<char*>(minirun_stage_begin), size},
                    {const_cast<char*>(padding.data()), stage.program_offset - size},
                    {const_cast<char*>(program.data()), program.size()}};
  const auto total = static_cast<ssize_t>(stage.program_offset + program.size());
  if (TEMP_FAILURE_RETRY(::writev(stage.file.get(), parts, 3)) != total)
    return os_error("stage", "write");
  // Sealed: whoever gets hold of it through /proc/PID/exe can change nothing (CVE-2019-5736).
  if (::fcntl(stage.file.get(), F_ADD_SEALS,
              F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    return os_error("stage", "seal");
  return stage;
}

namespace {

struct StageEntry {
  const Stage& stage;
  int channel;
  int inherited;  ///< the same for the stage, which argv names
  int parents_end;
  bool wait_for_maps;
  const char* const* argv;
};

/// What the child does between the clone and the stage: no allocation, no return. It may run in
/// the parent's memory (CLONE_VM), so it writes to nothing but its own stack.
[[noreturn]] void enter_stage(const StageEntry* entry) noexcept {
  long result = 0;
  wire::Call call = wire::Call::execve;
  if (entry->wait_for_maps) {
    // Without this a dead parent would be no end of file, and the wait for ever.
    raw::call(__NR_close, entry->parents_end);
    char byte = 0;
    long size;
    do {
      size = raw::call(__NR_read, entry->channel, &byte, 1);
    } while (size == -EINTR);
    if (size != 1) raw::call(__NR_exit_group, 125);
    // An execve keeps the capabilities of the new user namespace only for its root.
    result = raw::call(__NR_setresgid, 0, 0, 0);
    if (result == 0) result = raw::call(__NR_setresuid, 0, 0, 0);
    call = wire::Call::setresuid;
  }
  if (result == 0) {
    const char* const environment[] = {nullptr};
    call = wire::Call::execve;
    result = entry->inherited == entry->channel
                 ? raw::call(__NR_fcntl, entry->channel, F_SETFD, 0)
                 : raw::call(__NR_dup3, entry->channel, entry->inherited, 0);
    if (result >= 0)
      result = raw::call(__NR_execveat, entry->stage.file.get(), "", entry->argv, environment,
                         AT_EMPTY_PATH);
  }
  wire::Message message{};
  message.kind = wire::MessageKind::failure;
  message.failure.step = ~0U;
  message.failure.call = static_cast<std::uint32_t>(call);
  message.failure.errnum = static_cast<std::int32_t>(-result);
  wire::send_message(entry->channel, message, sizeof message, -1);
  for (;;) raw::call(__NR_exit_group, 125);
}

/// clone3(2) whose child starts in enter_stage on a stack of its own: with CLONE_VM | CLONE_VFORK
/// no page table is copied for a child that executes at once.
long clone_to_stage(clone_args& arguments, const StageEntry& entry) noexcept {
  alignas(16) std::array<char, 16384> stack;  // the parent stands still until the child is gone
  arguments.stack = reinterpret_cast<__u64>(stack.data());
  arguments.stack_size = stack.size();
#if defined(__x86_64__)
  long result = __NR_clone3;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "mov %[entry], %%rdi\n\t"
      "xor %%ebp, %%ebp\n\t"  // the entry may have been there

      "call *%[function]\n\t"
      "hlt\n"
      "1:"
      : "+a"(result)
      : "D"(&arguments), "S"(sizeof arguments), [entry] "r"(&entry), [function] "r"(&enter_stage)
      : "rcx", "r11", "memory");
  return result;
#else
  register long x8 asm("x8") = __NR_clone3;
  register long x0 asm("x0") = reinterpret_cast<long>(&arguments);
  register long x1 asm("x1") = sizeof arguments;
  asm volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x0, %[entry]\n\t"
      "mov x29, xzr\n\t"
      "blr %[function]\n\t"
      "brk #0\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), [entry] "r"(&entry), [function] "r"(&enter_stage)
      : "memory", "x30");
  return x0;
#endif
}

}  // namespace

Result<Child> spawn_stage(const Stage& stage, std::uint64_t flags, int cgroup, bool wait_for_maps,
                          int preserve_fds) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return os_error("socketpair");
  Child child;
  child.channel = Fd(pair[0]);
  const Fd other(pair[1]);
  // Below all that the stage opens, which then closes what is above in one call.
  const int lowest = STDERR_FILENO + 1 + preserve_fds;
  const int inherited = stage.file.get() > lowest && other.get() > lowest ? lowest : other.get();
  const std::string channel = std::to_string(inherited);
  const std::string size = std::to_string(stage.program_size);
  const std::string offset = std::to_string(stage.program_offset);
  const char* const argv[] = {"minirun-stage", channel.c_str(), size.c_str(), offset.c_str(),
                              nullptr};
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = static_cast<__u64>(flags) | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<__u64>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<__u64>(cgroup);
  }
  const StageEntry entry{stage, other.get(), inherited, child.channel.get(), wait_for_maps, argv};
  // A child that first waits for us cannot have us wait for it.
  if (!wait_for_maps) arguments.flags |= CLONE_VM | CLONE_VFORK;
  const long pid = wait_for_maps ? raw::call(__NR_clone3, &arguments, sizeof arguments)
                                 : clone_to_stage(arguments, entry);
  if (pid == 0) enter_stage(&entry);
  if (pid < 0) return os_error(static_cast<int>(-pid), "clone3");
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = PidFd(pidfd);
  return child;
}

Status send_slots(const Child& child, const Stage& stage, const std::vector<int>& slots,
                  int count) {
  std::vector<int> fds = {stage.file.get()};
  fds.insert(fds.end(), slots.begin() + 1, slots.begin() + count);
  for (std::size_t at = 0; at < fds.size(); at += wire::fds_per_message) {
    const std::size_t part = std::min<std::size_t>(fds.size() - at, wire::fds_per_message);
    char byte = 0;
    iovec vector{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * wire::fds_per_message)> control{};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * part);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * part);
    std::memcpy(CMSG_DATA(header), fds.data() + at, sizeof(int) * part);
    if (TEMP_FAILURE_RETRY(::sendmsg(child.channel.get(), &message, MSG_NOSIGNAL)) < 0)
      return os_error("stage", "send descriptors");
  }
  return {};
}

}  // namespace minirun
