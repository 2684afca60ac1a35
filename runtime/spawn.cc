#include "runtime/spawn.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

namespace {

/// The headers of the stage's file, changed so that the segment for its program is `size` bytes
/// from `offset`.
Result<std::string> with_program(std::string_view stage, std::size_t offset, std::size_t size) {
  Elf64_Ehdr header;
  std::memcpy(&header, stage.data(), sizeof header);
  std::string headers(stage.substr(0, header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr)));
  for (std::size_t at = header.e_phoff; at < headers.size(); at += sizeof(Elf64_Phdr)) {
    Elf64_Phdr segment;
    std::memcpy(&segment, headers.data() + at, sizeof segment);
    if (segment.p_vaddr != wire::program_address) continue;
    segment.p_offset = offset;
    segment.p_filesz = segment.p_memsz = size;
    std::memcpy(headers.data() + at, &segment, sizeof segment);
    return headers;
  }
  return plain_error("stage", "has no segment for its program");
}

}  // namespace

Result<Fd> make_stage(const Steps& child, std::span<const int> slots, bool timing) {
  const std::string program = TRY(encode(child, slots, timing));
#ifndef MFD_EXEC
  constexpr unsigned MFD_EXEC = 0x10;
#endif
  Fd file(::memfd_create("minirun-stage", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (!file && errno == EINVAL)  // before Linux 6.3 the flag is unknown and implied
    file = Fd(::memfd_create("minirun-stage", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return os_error("memfd_create", "vm.memfd_noexec may forbid it");
  const std::string_view stage(minirun_stage_begin, minirun_stage_end);
  static constexpr std::size_t page = 4096;
  static const std::array<char, page> padding{};
  const std::size_t offset = (stage.size() + page - 1) / page * page;
  std::string headers = TRY(with_program(stage, offset, program.size()));
  const std::array<iovec, 4> parts{
      {{headers.data(), headers.size()},
       {const_cast<char*>(stage.data() + headers.size()), stage.size() - headers.size()},
       {const_cast<char*>(padding.data()), offset - stage.size()},
       {const_cast<char*>(program.data()), program.size()}}};
  if (TEMP_FAILURE_RETRY(::writev(file.get(), parts.data(), parts.size())) !=
      static_cast<ssize_t>(offset + program.size()))
    return os_error("stage", "write");
  // Sealed: whoever gets hold of it through /proc/PID/exe can change nothing (CVE-2019-5736).
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
      0)
    return os_error("stage", "seal");
  return file;
}

namespace {

struct StageEntry {
  int stage;
  std::span<const int> slots;
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
  for (const int slot : entry->slots) {
    if (slot < 0 || result < 0) continue;
    result = raw::call(__NR_fcntl, slot, F_SETFD, 0);
    call = wire::Call::fcntl;
  }
  // No word can be there yet for a child without a parent: with CLONE_VFORK the parent waits.
  if (result == 0) {
    result = raw::call(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
    call = wire::Call::prctl;
  }
  if (result == 0) {
    const char* const environment[] = {nullptr};
    call = wire::Call::execve;
    result = entry->inherited == entry->channel
                 ? raw::call(__NR_fcntl, entry->channel, F_SETFD, 0)
                 : raw::call(__NR_dup3, entry->channel, entry->inherited, 0);
    if (result >= 0)
      result = raw::call(__NR_execveat, entry->stage, "", entry->argv, environment, AT_EMPTY_PATH);
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
      "mov %[function], %%rax\n\t"
      "xor %%ebp, %%ebp\n\t"  // one of the two may have been there
      "call *%%rax\n\t"
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

Result<Child> spawn_stage(const Fd& stage, std::span<const int> slots,
                          const SpawnOptions& options) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return os_error("socketpair");
  Child child;
  Fd other(pair[0]);  // the lower one: a neighbour of what is spent
  child.channel = Fd(pair[1]);
  // Below all that the stage opens, which then closes what is above in one call.
  const int lowest = STDERR_FILENO + 1 + options.preserve_fds;
  const bool free = stage.get() > lowest && other.get() > lowest &&
                    std::ranges::none_of(slots, [&](int slot) { return slot == lowest; });
  const int inherited = free ? lowest : other.get();
  const std::string channel = std::to_string(inherited);
  const char* const argv[] = {"minirun-stage", channel.c_str(), nullptr};
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = options.flags | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<__u64>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (options.cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<__u64>(options.cgroup);
  }
  const StageEntry entry{.stage = stage.get(),
                         .slots = slots,
                         .channel = other.get(),
                         .inherited = inherited,
                         .parents_end = child.channel.get(),
                         .wait_for_maps = options.wait_for_maps,
                         .argv = argv};
  // A child that first waits for us cannot have us wait for it.
  if (!options.wait_for_maps) arguments.flags |= CLONE_VM | CLONE_VFORK;
  const long pid = options.wait_for_maps ? raw::call(__NR_clone3, &arguments, sizeof arguments)
                                         : clone_to_stage(arguments, entry);
  if (pid == 0) enter_stage(&entry);
  if (pid < 0) return os_error(static_cast<int>(-pid), "clone3");
  std::vector<int> spent = options.spent;
  spent.push_back(other.release());
  close_together(std::move(spent));
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = PidFd(pidfd);
  return child;
}

}  // namespace minirun
