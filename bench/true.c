// The payload: succeeds only as process 1 of a pid namespace, so that a contender that made no
// container is seen. No library: what it costs is the same few microseconds for all.
// With -DPAUSE it never ends. With -DEMPTY it is the price of an execve alone, with -DEMPTY_LIBC
// that of a static C program: the part of every contender that is not its own (in a VM the C
// library's 68 CPUID instructions are most of it, each leaves to the hypervisor).
#ifdef EMPTY_LIBC
int main(void) {
  return 0;
}
#else
#include <sys/syscall.h>

static long call(long number, long argument) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(argument) : "rcx", "r11", "memory");
  return result;
}

void _start(void) {
#ifdef PAUSE
  for (;;) call(SYS_pause, 0);
#elif defined EMPTY
  call(SYS_exit_group, 0);
#else
  call(SYS_exit_group, call(SYS_getpid, 0) == 1 ? 0 : 99);
#endif
}
#endif
