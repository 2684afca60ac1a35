// Owns: the program of bench/network. Says at which moment of CLOCK_MONOTONIC it began, which
// inside of a container without a time namespace is the clock of whoever started it.
#include <stdio.h>
#include <time.h>

int main(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 1;
  return printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec) > 0 ? 0 : 1;
}
