// Owns: the entry of the stage, the first program of every container: at most 25 kB, no library,
// executed from a sealed memory file, so that what a container finds behind /proc/PID/exe is never
// a file of the host (CVE-2019-5736). It inherits descriptors and a program, and interprets it.
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
extern char stage_program[];  // at program_address
}

// The linker gives this section a segment of its own, of which the parent sets place and size in
// the file: the kernel maps the program with the stage.
asm(".pushsection .program, \"aw\", %nobits\n"
    ".balign 4096\n.globl stage_program\nstage_program: .skip 4096\n.popsection\n");

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
  // argv: name, number of the channel
  const auto* const* argv = reinterpret_cast<const char* const*>(stack + 1);
  if (stack[0] < 2) end(125);
  Context context;
  context.channel = number(argv[1]);
  context.slots = slots;
  context.base = stage_program;
  context.program = reinterpret_cast<const Program*>(context.base);
  const auto* fds = reinterpret_cast<const int*>(context.base + context.program->fds);
  const int count = static_cast<int>(context.program->fd_count);
  for (int i = 0; i < max_slots; ++i) slots[i] = i < count ? fds[i] : -1;
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
