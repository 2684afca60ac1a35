// Owns: the ctxswitch workload: two threads or processes that hand a token to each other.
// Method: ping and pong wait for each other by futex, pipe, eventfd or signal; a round trip is two
// handovers. A sample is a batch of round trips of about 1 ms, given as nanoseconds for one
// handover. On one CPU each handover is one context switch, which the kernel's voluntary count of
// the same thread confirms; on two it is a wake-up of another CPU. With a working set both walk
// over their own memory after each handover, one cache line at a time; what the same walk costs
// alone is taken off, so that what is left is the switch and the refilling of the caches.
// Known errors: the system calls of the primitive are part of a handover (100 to 500 ns natively);
// a batch that a throttle or a hypervisor hits is in p99 and max, and the median does not see it.
// Reference: C. Li, C. Ding, K. Shen, "Quantifying the cost of context switch", 2007; lmbench
// lat_ctx (McVoy and Staelin, 1996).
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "probe/workload/clock.h"
#include "probe/workload/workload.h"

namespace minirun::probe {
namespace {

enum class Primitive { futex, pipe, eventfd, signal };

/// The state that both sides see.
struct Shared {
  std::atomic<std::uint32_t> turn;  // futex: whose it is
  std::atomic<std::uint32_t> stop;
  std::atomic<pid_t> tid[2];
};

class Channel {
 public:
  Channel(Primitive primitive, Shared& shared) : primitive_(primitive), shared_(shared) {
    if (primitive == Primitive::pipe)
      for (auto& pair : pipes_)
        if (::pipe2(pair, O_CLOEXEC) != 0) die("pipe2");
    if (primitive == Primitive::eventfd)
      for (int& fd : events_)
        if ((fd = ::eventfd(0, EFD_CLOEXEC)) < 0) die("eventfd");
    ::sigemptyset(&signal_);
    ::sigaddset(&signal_, SIGUSR1);
  }
  ~Channel() {
    if (primitive_ == Primitive::pipe)
      for (auto& pair : pipes_) {
        ::close(pair[0]);
        ::close(pair[1]);
      }
    if (primitive_ == Primitive::eventfd)
      for (const int fd : events_) ::close(fd);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Wakes `side`.
  void give(int side) {
    const std::uint64_t one = 1;
    switch (primitive_) {
      case Primitive::futex:
        shared_.turn.store(static_cast<std::uint32_t>(side));
        ::syscall(SYS_futex, &shared_.turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
        return;
      case Primitive::pipe:
        if (::write(pipes_[side][1], &one, 1) != 1) die("write");
        return;
      case Primitive::eventfd:
        if (::write(events_[side], &one, 8) != 8) die("write");
        return;
      case Primitive::signal:
        if (::syscall(SYS_tkill, shared_.tid[side].load(), SIGUSR1) != 0) die("tkill");
        return;
    }
  }

  /// Waits until `side` is woken.
  void take(int side) {
    std::uint64_t value = 0;
    switch (primitive_) {
      case Primitive::futex: {
        const auto mine = static_cast<std::uint32_t>(side);
        while (shared_.turn.load() != mine)
          ::syscall(SYS_futex, &shared_.turn, FUTEX_WAIT, 1 - mine, nullptr, nullptr, 0);
        return;
      }
      case Primitive::pipe:
        if (::read(pipes_[side][0], &value, 1) != 1) die("read");
        return;
      case Primitive::eventfd:
        if (::read(events_[side], &value, 8) != 8) die("read");
        return;
      case Primitive::signal:
        while (::sigwaitinfo(&signal_, nullptr) < 0)
          if (errno != EINTR) die("sigwaitinfo");
        return;
    }
  }

 private:
  Primitive primitive_;
  Shared& shared_;
  int pipes_[2][2] = {};
  int events_[2] = {};
  sigset_t signal_{};
};

struct WorkingSet {
  volatile char* memory = nullptr;
  std::size_t bytes = 0;
  void walk() const {
    for (std::size_t at = 0; at < bytes; at += 64) memory[at] = static_cast<char>(memory[at] + 1);
  }
};

struct Case {
  const char* name;
  Primitive primitive;
  bool process, two_cpus;
  std::size_t working_set = 0;
};

struct Pong {
  Channel* channel;
  Shared* shared;
  const Case* what;
  WorkingSet memory;
};

void* pong(void* argument) {
  auto& self = *static_cast<Pong*>(argument);
  pin_to(self.what->two_cpus ? 1 : 0);
  if (self.what->process)  // the memory that fork shared is copied here, not while it is measured
    self.memory.walk();
  self.shared->tid[1].store(static_cast<pid_t>(::syscall(SYS_gettid)));
  for (;;) {
    self.channel->take(1);
    if (self.shared->stop.load() != 0) return nullptr;
    self.memory.walk();
    self.channel->give(0);
  }
}

class Partner {
 public:
  explicit Partner(Pong& start) : process_(start.what->process) {
    if (process_) {
      pid_ = ::fork();
      if (pid_ < 0) die("fork");
      if (pid_ == 0) {
        pong(&start);
        ::_exit(0);
      }
    } else if (::pthread_create(&thread_, nullptr, pong, &start) != 0) {
      die("pthread_create");
    }
    while (start.shared->tid[1].load() == 0) sleep_ns(50'000);
  }
  void join() const {
    if (!process_) {
      ::pthread_join(thread_, nullptr);
      return;
    }
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

 private:
  bool process_;
  pid_t pid_ = 0;
  pthread_t thread_{};
};

/// Nanoseconds of one warm walk over the working set, alone.
double walk_alone(const WorkingSet& memory) {
  if (memory.bytes == 0) return 0;
  constexpr int rounds = 31;
  double costs[rounds];
  memory.walk();
  for (double& cost : costs) {
    const std::uint64_t begin = now_ns();
    memory.walk();
    cost = static_cast<double>(now_ns() - begin);
  }
  return summarize(costs).median;
}

std::uint64_t round_trips(Channel& channel, const WorkingSet& memory, std::uint64_t count) {
  const std::uint64_t begin = now_ns();
  for (std::uint64_t i = 0; i < count; ++i) {
    channel.give(1);
    channel.take(0);
    memory.walk();
  }
  return now_ns() - begin;
}

void report_case(Report& report, const Case& what, Samples& samples, std::uint64_t trips,
                 std::uint64_t wall_ns, const rusage& before, const rusage& after) {
  const char* pinning = what.two_cpus ? "first and second allowed CPU" : "first allowed CPU";
  report.result(
      {what.name, "ns", "lower", pinning,
       what.working_set > 0 ? "one handover with its cache refills; the walk alone is taken off"
                            : "one handover, half a round trip"},
      samples);
  if (what.working_set > 0) return;
  char name[96];
  std::snprintf(name, sizeof name, "%s.voluntary", what.name);
  const auto per_trip = [trips](long a, long b) {
    return static_cast<double>(b - a) / static_cast<double>(trips);
  };
  report.value({name, "1/trip", "none", pinning, "voluntary switches of ping, by the kernel"},
               per_trip(before.ru_nvcsw, after.ru_nvcsw));
  std::snprintf(name, sizeof name, "%s.involuntary", what.name);
  report.value({name, "1/trip", "none", pinning, "involuntary switches of ping, by the kernel"},
               per_trip(before.ru_nivcsw, after.ru_nivcsw));
  std::snprintf(name, sizeof name, "%s.rate", what.name);
  report.value({name, "1/s", "higher", pinning, "handovers in a second, with all stalls"},
               static_cast<double>(2 * trips) * 1e9 / static_cast<double>(wall_ns));
}

void run_case(Report& report, const Case& what, std::uint64_t milliseconds) {
  auto& shared = *static_cast<Shared*>(map_memory(4096, true));
  shared.tid[0].store(static_cast<pid_t>(::syscall(SYS_gettid)));
  Channel channel(what.primitive, shared);
  auto memory = [&what] {
    WorkingSet set{nullptr, what.working_set};
    if (set.bytes > 0) set.memory = static_cast<volatile char*>(map_memory(set.bytes, false));
    return set;
  };
  const WorkingSet mine = memory();
  Pong start{&channel, &shared, &what, memory()};
  pin_to(0);
  const double alone = walk_alone(mine);
  const Partner partner(start);
  round_trips(channel, mine, 20);
  const std::uint64_t trial = round_trips(channel, mine, 10) / 10 + 1;
  const std::uint64_t batch = std::clamp<std::uint64_t>(1'000'000U / trial, 1, 2000);
  Samples samples(8192);
  rusage before{}, after{};
  ::getrusage(RUSAGE_THREAD, &before);
  const std::uint64_t first = now_ns(), end = first + milliseconds * 1'000'000U;
  std::uint64_t trips = 0;
  do {
    const auto time = static_cast<double>(round_trips(channel, mine, batch));
    trips += batch;
    samples.add(time / static_cast<double>(batch) / 2 - alone);
  } while ((now_ns() < end || samples.size() < 5) && !samples.full());
  const std::uint64_t wall = now_ns() - first;
  ::getrusage(RUSAGE_THREAD, &after);
  shared.stop.store(1);
  channel.give(1);
  partner.join();
  unpin();
  report_case(report, what, samples, trips, wall, before, after);
  for (const WorkingSet& set : {mine, start.memory})
    if (set.bytes > 0) ::munmap(const_cast<char*>(set.memory), set.bytes);
  ::munmap(&shared, 4096);
}

/// A stream through a pipe that holds one page: the writer waits when it is full and the reader
/// when it is empty, so that a message of 4 KiB is two switches. This is what stress-ng --switch
/// does.
void run_stream(Report& report, std::uint64_t milliseconds) {
  const char* name = "ctxswitch.stream.process.one_cpu";
  constexpr std::size_t size = 4096;
  static char message[size];
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) die("pipe2");
  const bool fits = ::fcntl(ends[1], F_SETPIPE_SZ, size) == size;
  if (!fits) report.unsupported(name, "a pipe cannot be made as small as 4096 bytes here");
  pin_to(0);
  const pid_t reader = fits ? ::fork() : 0;
  if (reader < 0) die("fork");
  if (fits && reader == 0) {
    ::close(ends[1]);
    while (::read(ends[0], message, size) > 0) {
    }
    ::_exit(0);
  }
  Samples samples(8192);
  const std::uint64_t end = now_ns() + milliseconds * 1'000'000U;
  while (fits && (now_ns() < end || samples.size() < 5) && !samples.full()) {
    constexpr int batch = 200;
    const std::uint64_t begin = now_ns();
    for (int i = 0; i < batch; ++i)
      if (::write(ends[1], message, size) != size) die("write");
    samples.add(static_cast<double>(now_ns() - begin) / batch / 2);
  }
  ::close(ends[0]);
  ::close(ends[1]);
  while (fits && ::waitpid(reader, nullptr, 0) < 0 && errno == EINTR) {
  }
  unpin();
  if (fits)
    report.result({name, "ns", "lower", "first allowed CPU", "4 KiB through a full pipe, halved"},
                  samples);
}

std::atomic<bool> yielding;

void* yield_forever(void*) {
  pin_to(0);
  while (yielding.load(std::memory_order_relaxed)) ::sched_yield();
  return nullptr;
}

void run_yield(Report& report, std::uint64_t milliseconds) {
  yielding.store(true);
  pthread_t other{};
  pin_to(0);
  if (::pthread_create(&other, nullptr, yield_forever, nullptr) != 0) die("pthread_create");
  Samples samples(8192);
  const std::uint64_t end = now_ns() + milliseconds * 1'000'000U;
  do {
    constexpr int batch = 200;
    const std::uint64_t begin = now_ns();
    for (int i = 0; i < batch; ++i) ::sched_yield();
    samples.add(static_cast<double>(now_ns() - begin) / batch / 2);
  } while (now_ns() < end && !samples.full());
  yielding.store(false);
  ::pthread_join(other, nullptr);
  unpin();
  report.result({"ctxswitch.yield.thread.one_cpu", "ns", "lower", "first allowed CPU",
                 "sched_yield of two threads; the scheduler may let one go on, so it is a bound"},
                samples);
}

void run_working_sets(Report& report, std::uint64_t milliseconds, bool quick) {
  static constexpr std::size_t sizes_kib[] = {0, 16, 64, 256, 1024, 4096, 8192};
  constexpr std::size_t count = sizeof sizes_kib / sizeof *sizes_kib;
  for (std::size_t i = 0; i < count; ++i) {
    if (quick && sizes_kib[i] > 1024) break;
    char name[64];
    std::snprintf(name, sizeof name, "ctxswitch.workingset.%zuk", sizes_kib[i]);
    run_case(report, {name, Primitive::pipe, true, false, sizes_kib[i] * 1024}, milliseconds);
  }
}

}  // namespace

bool run_ctxswitch(const Options& options, Report& report) {
  const std::uint64_t length =
      options.milliseconds != 0 ? options.milliseconds : (options.quick ? 40 : 250);
  // Before the first thread, so that all inherit it: whoever waits takes it.
  sigset_t signal;
  ::sigemptyset(&signal);
  ::sigaddset(&signal, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &signal, nullptr);
  static constexpr Case cases[] = {
      {"ctxswitch.futex.thread.one_cpu", Primitive::futex, false, false},
      {"ctxswitch.futex.process.one_cpu", Primitive::futex, true, false},
      {"ctxswitch.pipe.thread.one_cpu", Primitive::pipe, false, false},
      {"ctxswitch.pipe.process.one_cpu", Primitive::pipe, true, false},
      {"ctxswitch.eventfd.thread.one_cpu", Primitive::eventfd, false, false},
      {"ctxswitch.eventfd.process.one_cpu", Primitive::eventfd, true, false},
      {"ctxswitch.signal.thread.one_cpu", Primitive::signal, false, false},
      {"ctxswitch.signal.process.one_cpu", Primitive::signal, true, false},
      {"ctxswitch.futex.thread.two_cpus", Primitive::futex, false, true},
      {"ctxswitch.futex.process.two_cpus", Primitive::futex, true, true},
      {"ctxswitch.pipe.thread.two_cpus", Primitive::pipe, false, true},
      {"ctxswitch.pipe.process.two_cpus", Primitive::pipe, true, true},
      {"ctxswitch.eventfd.thread.two_cpus", Primitive::eventfd, false, true},
      {"ctxswitch.eventfd.process.two_cpus", Primitive::eventfd, true, true},
      {"ctxswitch.signal.thread.two_cpus", Primitive::signal, false, true},
      {"ctxswitch.signal.process.two_cpus", Primitive::signal, true, true},
  };
  for (const Case& what : cases) {
    if (!chosen(options, what.name + std::strlen("ctxswitch."))) continue;
    if (what.two_cpus && allowed_cpus() < 2)
      report.unsupported(what.name, "only one CPU is allowed here");
    else
      run_case(report, what, length);
  }
  if (chosen(options, "stream")) run_stream(report, length);
  if (chosen(options, "yield")) run_yield(report, length);
  if (chosen(options, "workingset")) run_working_sets(report, length, options.quick);
  return true;
}

}  // namespace minirun::probe
