// The payload: succeeds only as process 1 of a pid namespace, so that a contender that made no
// container is seen. No library: what it costs is the same few microseconds for all.
#include <sys/syscall.h>

static long call(long number, long argument) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(argument) : "rcx", "r11", "memory");
  return result;
}

void _start(void) {
  call(SYS_exit_group, call(SYS_getpid, 0) == 1 ? 0 : 99);
}
