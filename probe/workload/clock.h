// Owns: time, CPU pinning and the small tools that every workload needs.
// Must not: report, or hide a failed call: a workload that cannot do its work ends with status 3.
#pragma once

#include <pthread.h>
#include <sys/types.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace minirun::probe {

/// CLOCK_MONOTONIC in nanoseconds.
inline std::uint64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

/// CPU time of this thread in nanoseconds.
std::uint64_t thread_cpu_ns();
/// CPU time of this process, all its threads, in nanoseconds.
std::uint64_t process_cpu_ns();

/// Median cost of one now_ns() in nanoseconds, and the smallest step that was seen above 0.
struct ClockCost {
  double read_ns, step_ns;
};
ClockCost clock_cost();

/// The CPUs that this process may use when it began; at most 1024.
int allowed_cpus();
/// Pins the calling thread to the `index`-th allowed CPU (modulo their number).
void pin_to(int index);
/// Undoes pin_to().
void unpin();
/// Remembers the allowed CPUs; called once, first.
void remember_cpus();
/// The number of the `index`-th allowed CPU.
int cpu_number(int index);

/// Writes "minirun-probe: CALL: ERROR" to standard error and ends with status 3.
[[noreturn]] void die(const char* call);

/// Anonymous memory, touched; shared with children when `shared`.
void* map_memory(std::size_t bytes, bool shared);

/// Keeps a value from being optimised away.
template <class T>
inline void keep(T const& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

void sleep_ns(std::uint64_t nanoseconds);
void sleep_until(std::uint64_t deadline_ns);

}  // namespace minirun::probe
