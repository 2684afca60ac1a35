#include "probe/workload/clock.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace minirun::probe {
namespace {

cpu_set_t allowed;

std::uint64_t read_clock(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

std::uint64_t thread_cpu_ns() {
  return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

std::uint64_t process_cpu_ns() {
  return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

ClockCost clock_cost() {
  constexpr int rounds = 501, reads = 64;
  static double costs[rounds];
  double step = 1e9;
  for (double& cost : costs) {
    const std::uint64_t begin = now_ns();
    std::uint64_t last = begin;
    for (int i = 0; i < reads; ++i) {
      const std::uint64_t now = now_ns();
      if (now > last) step = std::min(step, static_cast<double>(now - last));
      last = now;
    }
    cost = static_cast<double>(last - begin) / reads;
  }
  std::sort(costs, costs + rounds);
  return {costs[rounds / 2], step};
}

void remember_cpus() {
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) die("sched_getaffinity");
}

int allowed_cpus() {
  return CPU_COUNT(&allowed);
}

int cpu_number(int index) {
  index %= std::max(1, allowed_cpus());
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(static_cast<unsigned>(cpu), &allowed) && index-- == 0) return cpu;
  return 0;
}

void pin_to(int index) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(cpu_number(index)), &one);
  if (::sched_setaffinity(0, sizeof one, &one) != 0) die("sched_setaffinity");
}

void unpin() {
  if (::sched_setaffinity(0, sizeof allowed, &allowed) != 0) die("sched_setaffinity");
}

void die(const char* call) {
  const int error = errno;
  ::dprintf(STDERR_FILENO, "minirun-probe: %s: %s\n", call, std::strerror(error));
  ::_exit(3);
}

void* map_memory(std::size_t bytes, bool shared) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return memory;
}

void sleep_until(std::uint64_t deadline_ns) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(deadline_ns / 1'000'000'000U);
  time.tv_nsec = static_cast<long>(deadline_ns % 1'000'000'000U);
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) {
  }
}

void sleep_ns(std::uint64_t nanoseconds) {
  sleep_until(now_ns() + nanoseconds);
}

}  // namespace minirun::probe
