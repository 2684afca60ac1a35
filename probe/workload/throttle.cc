// Owns: the throttle workload: threads that burn, and the holes in their time.
// Method: each thread reads CLOCK_MONOTONIC in a loop; two readings that are further apart than
// 1 ms are a stall. CPU time comes from CLOCK_THREAD_CPUTIME_ID, so effective cores do not depend
// on the stalls. `bursts` works 70 ms of CPU time every 200 ms, `requests` serves requests of 4 ms
// of CPU time that arrive at random, 100 in a second, the same in each run; both measure from the
// planned arrival (open loop, so that a stall delays all that queue behind it and none is omitted).
// Known errors: a stall is also what another program, an interrupt or a hypervisor took; at the end
// a thread may stand in a stall that is counted only up to its end. Below 1 ms nothing is seen.
// Reference: Documentation/scheduler/sched-bwc.rst; G. Tene, "How not to measure latency", 2013.
#include <pthread.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "probe/workload/clock.h"
#include "probe/workload/workload.h"

namespace minirun::probe {
namespace {

constexpr double stall_ns = 1e6;
constexpr std::size_t max_gaps = 20000;

struct Burner {
  pthread_t thread{};
  std::atomic<bool>* go = nullptr;
  int index = 0;
  std::uint64_t begin = 0, end = 0, length = 0;  // of the clock
  std::uint64_t cpu_ns = 0, turns = 0;
  double *gap_at = nullptr, *gap = nullptr;
  std::size_t gaps = 0, lost = 0;
};

void* burn(void* argument) {
  auto& self = *static_cast<Burner*>(argument);
  pin_to(self.index);
  while (!self.go->load(std::memory_order_acquire)) sleep_ns(100'000);
  const std::uint64_t cpu = thread_cpu_ns();
  self.begin = now_ns();
  std::uint64_t last = self.begin;
  // From its own begin: under a small quota the threads may take longer to start than to run.
  const std::uint64_t deadline = self.begin + self.length;
  while (last < deadline) {
    const std::uint64_t now = now_ns();
    const auto gap = static_cast<double>(now - last);
    if (gap >= stall_ns) {
      if (self.gaps < max_gaps) {
        self.gap_at[self.gaps] = static_cast<double>(last - self.begin) / 1e6;
        self.gap[self.gaps++] = gap / 1e6;
      } else {
        ++self.lost;
      }
    }
    last = now;
    ++self.turns;
  }
  self.end = last;
  self.cpu_ns = thread_cpu_ns() - cpu;
  return nullptr;
}

struct Totals {
  double cores = 0, stalled = 0, turns_per_second = 0, seconds = 0;
};

Totals totals(const Burner* burners, int count) {
  Totals sum;
  double wall = 0, turns = 0;
  for (int i = 0; i < count; ++i) {
    const Burner& burner = burners[i];
    const auto time = static_cast<double>(burner.end - burner.begin);
    wall += time / count;
    sum.cores += static_cast<double>(burner.cpu_ns) / time;
    for (std::size_t k = 0; k < burner.gaps; ++k) sum.stalled += burner.gap[k] * 1e6 / time / count;
    turns += static_cast<double>(burner.turns);
  }
  sum.turns_per_second = turns / wall * 1e9;
  sum.seconds = wall / 1e9;
  return sum;
}

void report_number(Report& report, int count, const char* what, double value) {
  char name[64];
  std::snprintf(name, sizeof name, "throttle.%dt.%s", count, what);
  report.value({name, "1", "none", "", "cpu.stat of its own cgroup while the threads burned"},
               value);
}

void report_burn(Report& report, Burner* burners, int count) {
  Samples gaps(max_gaps * static_cast<std::size_t>(count));
  std::size_t lost = 0;
  for (int i = 0; i < count; ++i) {
    for (std::size_t k = 0; k < burners[i].gaps; ++k) gaps.add(burners[i].gap[k]);
    lost += burners[i].lost;
  }
  const Totals sum = totals(burners, count);
  char name[64];
  auto named = [&](const char* what) {
    std::snprintf(name, sizeof name, "throttle.%dt.%s", count, what);
    return name;
  };
  constexpr const char* pinning = "one thread on each CPU in turn";
  report.value({named("effective_cores"), "cores", "higher", pinning, "CPU time by wall time"},
               sum.cores);
  report.value({named("stalled_share"), "ratio", "lower", pinning,
                "time in gaps of 1 ms and more, as the threads saw it"},
               sum.stalled);
  report.value({named("turns"), "1/s", "higher", pinning, "turns of the loop, all threads"},
               sum.turns_per_second);
  report.value({named("seconds"), "s", "none", pinning, "wall time of a thread, on average"},
               sum.seconds);
  report.value({named("threads"), "1", "none", pinning, "how many burned"}, count);
  report.series(named("gaps"), "ms", "ms", burners[0].gap_at, burners[0].gap,
                burners[0].gaps < 1000 ? burners[0].gaps : 1000);
  if (gaps.size() > 0)
    report.result({named("gap"), "ms", "lower", pinning, "gaps of 1 ms and more on the clock"},
                  gaps);
  report.counter(named("gap_count"), gaps.size() + lost);
}

/// Three numbers of cpu.stat of our own cgroup.
struct Throttling {
  double periods = 0, throttled = 0, usec = 0;
};

bool read_throttling(Throttling& result) {
  char text[4096];
  if (!read_own_cgroup("cpu.stat", text, sizeof text)) return false;
  bool found = true;
  auto take = [&](const char* key, double& value) {
    const char* at = std::strstr(text, key);
    if (at == nullptr)
      found = false;
    else
      value = std::strtod(at + std::strlen(key), nullptr);
  };
  take("nr_periods ", result.periods);
  take("nr_throttled ", result.throttled);
  take("throttled_usec ", result.usec);
  return found;
}

/// What the kernel counted while the threads burned, without the start and the end of the program.
void report_throttling(Report& report, int count, const Throttling& before,
                       const Throttling& after) {
  const Throttling burned{after.periods - before.periods, after.throttled - before.throttled,
                          after.usec - before.usec};
  report_number(report, count, "burn.periods", burned.periods);
  report_number(report, count, "burn.throttled", burned.throttled);
  report_number(report, count, "burn.throttled_usec", burned.usec);
}

void run_burn(Report& report, int count, std::uint64_t milliseconds) {
  auto* burners =
      static_cast<Burner*>(std::calloc(static_cast<std::size_t>(count), sizeof(Burner)));
  if (burners == nullptr) die("calloc");
  std::atomic<bool> go{false};
  // Mapped, not touched beyond need: the burners' memory must not be what a limit hits.
  for (int i = 0; i < count; ++i) {
    burners[i].go = &go;
    burners[i].index = i;
    burners[i].gap_at = static_cast<double*>(std::malloc(max_gaps * sizeof(double)));
    burners[i].gap = static_cast<double*>(std::malloc(max_gaps * sizeof(double)));
    if (burners[i].gap_at == nullptr || burners[i].gap == nullptr) die("malloc");
  }
  for (int i = 0; i < count; ++i) {
    burners[i].length = milliseconds * 1'000'000U;
    if (::pthread_create(&burners[i].thread, nullptr, burn, &burners[i]) != 0)
      die("pthread_create");
  }
  Throttling before, after;
  const bool counted = read_throttling(before);
  go.store(true, std::memory_order_release);
  for (int i = 0; i < count; ++i) ::pthread_join(burners[i].thread, nullptr);
  if (counted && read_throttling(after)) report_throttling(report, count, before, after);
  report_burn(report, burners, count);
  for (int i = 0; i < count; ++i) {
    std::free(burners[i].gap_at);
    std::free(burners[i].gap);
  }
  std::free(burners);
}

/// `work_ns` of CPU time of this thread.
void work(std::uint64_t work_ns) {
  const std::uint64_t end = thread_cpu_ns() + work_ns;
  while (thread_cpu_ns() < end) {
  }
}

/// Jobs of `work_ns` of CPU time.
struct Load {
  std::uint64_t work_ns, every_ns;
  bool random;  ///< exponential times between arrivals (a Poisson process), else regular
};

/// The time from the planned arrival to the end of each job. The arrivals are the same in each run.
void run_arrivals(Report& report, const Metric& metric, const Load& load,
                  std::uint64_t milliseconds) {
  const std::uint64_t count = milliseconds * 1'000'000U / load.every_ns;
  Samples samples(count + 1);
  pin_to(0);
  const std::uint64_t begin = now_ns() + 1'000'000U;
  // A service that cannot keep up would never end: it stops at three times the planned length.
  const std::uint64_t give_up = begin + 3 * milliseconds * 1'000'000U;
  std::uint64_t served = 0, arrival = begin, state = 42;
  for (; served < count && now_ns() < give_up; ++served) {
    if (now_ns() < arrival) sleep_until(arrival);
    work(load.work_ns);
    samples.add(static_cast<double>(now_ns() - arrival) / 1e6);
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const double uniform = (static_cast<double>(state >> 11) + 1) / 9007199254740993.0;
    arrival +=
        load.random
            ? static_cast<std::uint64_t>(-std::log(uniform) * static_cast<double>(load.every_ns))
            : load.every_ns;
  }
  unpin();
  if (served == 0)
    report.unsupported(metric.name, "no request was served in time: there was no CPU time for it");
  else
    report.result(metric, samples);
  if (served < count)
    report.warning("the load is more than the limit allows: the queue grew until it was given up");
}

}  // namespace

bool run_throttle(const Options& options, Report& report) {
  const std::uint64_t length =
      options.milliseconds != 0 ? options.milliseconds : (options.quick ? 1000 : 4000);
  if (chosen(options, "burn")) {
    const int cpus = allowed_cpus();
    run_burn(report, options.threads > 0 ? options.threads : 1, length);
    if (options.threads == 0 && cpus > 1) run_burn(report, cpus < 64 ? cpus : 64, length);
  }
  if (chosen(options, "bursts"))
    run_arrivals(report,
                 {"throttle.bursts.latency", "ms", "lower", "first allowed CPU",
                  "70 ms of CPU time every 200 ms: 0.35 cores on average"},
                 {70'000'000, 200'000'000, false}, length);
  if (chosen(options, "requests"))
    run_arrivals(report,
                 {"throttle.requests.latency", "ms", "lower", "first allowed CPU",
                  "4 ms of CPU time, arrivals at random with 10 ms between them on average"},
                 {4'000'000, 10'000'000, true}, length);
  return true;
}

}  // namespace minirun::probe
