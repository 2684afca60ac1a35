// Owns: the entry of the stage, the first program of every container: at most 25 kB, no library,
// executed from a sealed memory file, so that what a container finds behind /proc/PID/exe is never
// a file of the host (CVE-2019-5736). It receives descriptors and a program, and interprets it.
#include <linux/errno.h>
#include <linux/mman.h>

#include "stage/freestanding/interpreter.h"
#include "stage/freestanding/raw.h"

extern "C" {
// The compiler may call these for copies of structures.
void* memcpy(void* to, const void* from, std::size_t size) {
  auto* t = static_cast<char*>(to);
  const auto* f = static_cast<const char*>(from);
  while (size-- != 0) *t++ = *f++;
  return to;
}
void* memset(void* to, int byte, std::size_t size) {
  auto* t = static_cast<char*>(to);
  while (size-- != 0) *t++ = static_cast<char>(byte);
  return to;
}
[[noreturn]] void stage_main(const long* stack);
}

namespace minirun::wire {
namespace {

using raw::call;

// A slot table and the timings: too large for a stack frame that we want small.
int slots[max_slots];
std::uint32_t timings[4096];

int number(const char* text) noexcept {
  int value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) value = value * 10 + (*text - '0');
  return value;
}

struct Vector {
  void* base;
  std::size_t size;
};
struct SocketMessage {
  void* name;
  std::uint32_t name_length;
  Vector* vector;
  std::size_t vector_length;
  void* control;
  std::size_t control_length;
  std::int32_t flags;
};

/// Receives one packet of descriptors into slots[at...]; the number of them, or -errno.
long receive_fds(int channel, int at) noexcept {
  char byte;
  Vector vector = {&byte, 1};
  alignas(8) static char control[16 + sizeof(int) * (fds_per_message + 2)];
  SocketMessage packet = {nullptr, 0, &vector, 1, control, sizeof control, 0};
  const long result = call(__NR_recvmsg, channel, &packet, 0x40000000 /* MSG_CMSG_CLOEXEC */);
  if (result < 0) return result;
  if (result == 0 || packet.control_length < 16) return -EPIPE;
  const std::size_t size = *reinterpret_cast<std::size_t*>(control) - 16;
  const auto count = static_cast<long>(size / sizeof(int));
  if (at + count > max_slots) return -EMFILE;
  __builtin_memcpy(slots + at, control + 16, size);
  return count;
}

[[noreturn]] void end(int status) noexcept {
  call(__NR_exit_group, status);
  __builtin_trap();  // the filter of the container refuses even that
}

[[noreturn]] void report(Context& context) noexcept {
  Message message = {};
  message.kind = MessageKind::failure;
  message.failure = context.failure;
  const long sent = send_message(context.channel, message, sizeof message, -1);
  // A filter may refuse or kill this; then there is less to say about the failure. The parent ends
  // us, or its end of the channel does.
  char byte;
  if (sent == 0 && context.linger) call(__NR_read, context.channel, &byte, 1);
  end(125);
}

}  // namespace
}  // namespace minirun::wire

void stage_main(const long* stack) {
  using namespace minirun::wire;
  // argv: name, number of the channel, size of the program, its offset in the memory file
  const auto* const* argv = reinterpret_cast<const char* const*>(stack + 1);
  Context context;
  if (stack[0] < 4) end(125);
  context.channel = number(argv[1]);
  context.slots = slots;
  for (int& slot : slots) slot = -1;
  const long first = receive_fds(context.channel, 0);
  context.failure.step = ~0U;
  if (first < 1) {
    context.fail(Call::recvmsg, first < 0 ? first : -EPIPE);
    report(context);
  }
  // The first descriptor is the memory file that holds this very program and its steps.
  const long base = call(__NR_mmap, 0, number(argv[2]), PROT_READ | PROT_WRITE, MAP_PRIVATE,
                         slots[0], number(argv[3]));
  if (base < 0 && base > -4096) {
    context.fail(Call::mmap, base);
    report(context);
  }
  context.base = reinterpret_cast<char*>(base);
  context.program = reinterpret_cast<const Program*>(base);
  for (long have = first; have < static_cast<long>(context.program->fd_count);) {
    const long more = receive_fds(context.channel, static_cast<int>(have));
    if (more < 1) {
      context.fail(Call::recvmsg, more < 0 ? more : -EPIPE);
      report(context);
    }
    have += more;
  }
  if (context.program->timing != 0 &&
      context.program->step_count <= sizeof timings / sizeof timings[0])
    context.timings = timings;
  call(__NR_umask, 0);
  relocate(context);
  run(context);
  report(context);
}

#if defined(__x86_64__)
asm(".globl _start\n.type _start, @function\n_start:\n"
    "  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call stage_main\n  hlt\n");
#elif defined(__aarch64__)
asm(".globl _start\n.type _start, %function\n_start:\n"
    "  mov x29, #0\n  mov x0, sp\n  bl stage_main\n  brk #0\n");
#endif
