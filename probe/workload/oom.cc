// Owns: the oom workload: memory of one kind in steps of 1 MiB until the kernel kills or a cap is
// reached.
// Method: a small parent forks the eater (oom_score_adj 1000, so that it is the one that is
// chosen), which writes after each step what it holds and when into a shared page that survives
// it. `anon` touches anonymous memory, `tmpfs` writes a memory file (shmem), `pagecache` reads
// files whose pages it dropped before, `kernel` fills page tables by reading one page in every
// 2 MiB (the data is the shared zero page), `processes` forks eaters of 4 MiB each, `cow` holds
// 60 % of the cap, forks, and lets the child write to it.
// Known errors: what the program touched is less than what its cgroup was charged: page tables, the
// parent and the kernel's own memory come on top (about 0.5 MiB). memory.peak of the cgroup is the
// measure; the cgroup's counters are read by minirun from outside. With memory.oom.group the parent
// dies too and there is no document.
// Reference: Documentation/admin-guide/cgroup-v2.rst, "Memory".
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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

constexpr std::uint64_t mib = 1 << 20;
constexpr std::size_t max_steps = 4096;

/// Shared with the eater.
struct Progress {
  std::atomic<std::uint64_t> bytes;
  std::atomic<std::uint32_t> steps;
  std::atomic<std::uint32_t> done;
  std::atomic<std::uint32_t> child_killed;  // a child of the eater was chosen, not the eater
  std::uint64_t begin;
  int errnum;
  char failed[32];
  double at_ms[max_steps], reached_mib[max_steps];

  void step(std::uint64_t now_bytes) {
    bytes.store(now_bytes);
    const std::uint32_t index = steps.load();
    if (index < max_steps) {
      at_ms[index] = static_cast<double>(now_ns() - begin) / 1e6;
      reached_mib[index] = static_cast<double>(now_bytes) / static_cast<double>(mib);
      steps.store(index + 1);
    }
  }
  void fail(const char* call) {
    errnum = errno;
    std::strncpy(failed, call, sizeof failed - 1);
  }
};

void touch(char* memory, std::uint64_t bytes) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (std::uint64_t at = 0; at < bytes; at += page)
    static_cast<volatile char*>(memory)[at] = static_cast<char>(at >> 12 | 1);
}

char* reserve(std::uint64_t bytes, int protection, Progress& progress) {
  void* memory =
      ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    progress.fail("mmap");
    return nullptr;
  }
  ::madvise(memory, bytes, MADV_NOHUGEPAGE);  // a step must be a step
  return static_cast<char*>(memory);
}

void eat_anon(std::uint64_t cap, const Options&, Progress& progress) {
  char* memory = reserve(cap, PROT_READ | PROT_WRITE, progress);
  if (memory == nullptr) return;
  for (std::uint64_t at = 0; at < cap; at += mib) {
    touch(memory + at, mib);
    progress.step(at + mib);
  }
}

void eat_tmpfs(std::uint64_t cap, const Options&, Progress& progress) {
  const int fd = ::memfd_create("minirun-probe-oom", MFD_CLOEXEC);
  if (fd < 0) return progress.fail("memfd_create");
  static char chunk[mib];
  std::memset(chunk, 7, sizeof chunk);
  for (std::uint64_t at = 0; at < cap; at += mib) {
    for (std::size_t done = 0; done < sizeof chunk;) {
      const ssize_t size = ::write(fd, chunk + done, sizeof chunk - done);
      if (size < 0) return progress.fail("write to a memory file");
      done += static_cast<std::size_t>(size);
    }
    progress.step(at + mib);
  }
}

void eat_kernel(std::uint64_t cap, const Options&, Progress& progress) {
  // A page table of 4 KiB maps 2 MiB: 512 bytes of address space for each byte of it.
  const std::uint64_t span = cap * 512;
  const char* memory = reserve(span, PROT_READ, progress);
  if (memory == nullptr) return;
  char sum = 0;
  for (std::uint64_t at = 0, tables = 0; at < span; at += 2 * mib, ++tables) {
    sum = static_cast<char>(sum + static_cast<const volatile char*>(memory)[at]);
    if (tables % 256 == 255) progress.step((tables + 1) * 4096);
  }
  keep(sum);
}

void eat_processes(std::uint64_t cap, const Options&, Progress& progress) {
  constexpr std::uint64_t each = 4 * mib;
  for (std::uint64_t at = 0; at < cap; at += each) {
    const pid_t child = ::fork();
    if (child < 0) return progress.fail("fork");
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      char* memory = reserve(each, PROT_READ | PROT_WRITE, progress);
      if (memory == nullptr) ::_exit(1);
      touch(memory, each);
      progress.step(progress.bytes.load() + each);
      for (;;) ::pause();
    }
    // Until it holds its share, or was killed for it.
    while (progress.bytes.load() < at + each) {
      int status = 0;
      if (::waitpid(-1, &status, WNOHANG) > 0) {
        // A sibling was killed in our place: this is the end that the parent should see.
        progress.child_killed.store(WIFSIGNALED(status) ? 1 : 0);
        ::kill(::getpid(), WIFSIGNALED(status) ? WTERMSIG(status) : SIGKILL);
      }
      sleep_ns(100'000);
    }
  }
}

void eat_cow(std::uint64_t cap, const Options&, Progress& progress) {
  // A third of the cap, which minirun sets to twice the limit: two thirds of the limit are held,
  // and as much again is asked for by the writes of the child.
  const std::uint64_t bytes = cap / 3 / mib * mib;
  char* memory = reserve(bytes, PROT_READ | PROT_WRITE, progress);
  if (memory == nullptr) return;
  touch(memory, bytes);
  progress.step(bytes);
  const pid_t child = ::fork();
  if (child < 0) return progress.fail("fork");
  if (child == 0) {
    for (std::uint64_t at = 0; at < bytes; at += mib) {
      touch(memory + at, mib);
      progress.step(bytes + at + mib);
    }
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFSIGNALED(status)) return;
  progress.child_killed.store(1);
  ::kill(::getpid(), WTERMSIG(status));
}

/// Reads files below `path` until `cap` bytes went through the page cache.
void read_tree(const char* path, int depth, std::uint64_t cap, Progress& progress,
               std::uint64_t& total) {
  DIR* directory = ::opendir(path);
  if (directory == nullptr) return;
  static char chunk[mib];
  while (const dirent* entry = ::readdir(directory)) {
    if (total >= cap || entry->d_name[0] == '.') continue;
    char name[4096];
    if (std::snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= 4096) continue;
    if (entry->d_type == DT_DIR && depth > 0) read_tree(name, depth - 1, cap, progress, total);
    if (entry->d_type != DT_REG) continue;
    const int fd = ::open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    struct stat info{};
    if (::fstat(fd, &info) == 0 && info.st_size >= 128 * 1024) {
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      for (ssize_t got = 0; total < cap && (got = ::read(fd, chunk, sizeof chunk)) > 0;) {
        total += static_cast<std::uint64_t>(got);
        progress.step(total);
      }
    }
    ::close(fd);
  }
  ::closedir(directory);
}

void eat_pagecache(std::uint64_t cap, const Options& options, Progress& progress) {
  std::uint64_t total = 0;
  if (options.directory[0] != '\0')
    read_tree(options.directory, 4, cap, progress, total);
  else
    for (const char* path : {"/usr/lib", "/usr/bin", "/lib", "/bin"})
      read_tree(path, 3, cap, progress, total);
  if (total < cap) {
    errno = ENODATA;
    progress.fail("not enough files below /usr to read");
  }
}

struct Kind {
  const char* name;
  void (*eat)(std::uint64_t, const Options&, Progress&);
};

void describe_end(Report& report, const Kind& kind, int status, const Progress& progress,
                  double seconds) {
  char name[64];
  auto named = [&](const char* what) {
    std::snprintf(name, sizeof name, "oom.%s.%s", kind.name, what);
    return name;
  };
  if (progress.errnum != 0 && progress.steps.load() == 0) {
    char text[128];
    std::snprintf(text, sizeof text, "%s: %s", progress.failed, std::strerror(progress.errnum));
    report.unsupported(named("reached"), text);
    return;
  }
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  report.value({named("killed"), "bool", "none", "", "the eater ended by SIGKILL"}, killed ? 1 : 0);
  if (killed)
    report.value({named("victim_child"), "bool", "none", "",
                  "the kernel chose a child of the eater, which then ended too"},
                 progress.child_killed.load());
  report.value({named("reached"), "bytes", "none", "", "held by the program after its last step"},
               static_cast<double>(progress.bytes.load()));
  report.value({named("seconds"), "s", "none", "", "from the first step to the end"}, seconds);
  report.series(named("steps"), "ms", "MiB", progress.at_ms, progress.reached_mib,
                progress.steps.load());
  Samples pace(max_steps);
  for (std::uint32_t i = 1; i < progress.steps.load(); ++i) {
    const double grown = progress.reached_mib[i] - progress.reached_mib[i - 1];
    if (grown > 0) pace.add((progress.at_ms[i] - progress.at_ms[i - 1]) / grown * 1000);
  }
  if (pace.size() > 0)
    report.result({named("pace"), "us/MiB", "lower", "", "time of a step of 1 MiB"}, pace);
  if (progress.errnum != 0) {
    char text[160];
    std::snprintf(text, sizeof text, "%s stopped at %llu bytes: %s: %s", kind.name,
                  static_cast<unsigned long long>(progress.bytes.load()), progress.failed,
                  std::strerror(progress.errnum));
    report.warning(text);
  }
}

void run_kind(const Kind& kind, const Options& options, Report& report, std::uint64_t cap) {
  auto& progress = *static_cast<Progress*>(map_memory(sizeof(Progress), true));
  std::memset(static_cast<void*>(&progress), 0, sizeof progress);
  progress.begin = now_ns();
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) {
    // Raising needs no right (proc(5)); should it fail, the eater is still the largest.
    const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
      (void)!::write(fd, "1000", 4);
      ::close(fd);
    }
    kind.eat(cap, options, progress);
    progress.done.store(1);
    ::_exit(0);
  }
  // A limit that slows down (memory.high) may make the rest take for ever.
  const std::uint64_t budget =
      (options.milliseconds != 0 ? options.milliseconds : 60'000U) * 1'000'000U;
  int status = 0;
  bool late = false;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (!late && now_ns() - progress.begin > budget) {
      late = true;
      ::kill(child, SIGTERM);
    }
    sleep_ns(500'000);
  }
  const double seconds = static_cast<double>(now_ns() - progress.begin) / 1e9;
  if (late) report.warning("the time ran out before the cap was reached: it was slowed down");
  describe_end(report, kind, status, progress, seconds);
  ::munmap(&progress, sizeof progress);
}

}  // namespace

bool run_oom(const Options& options, Report& report) {
  static constexpr Kind kinds[] = {{"anon", eat_anon},           {"tmpfs", eat_tmpfs},
                                   {"pagecache", eat_pagecache}, {"kernel", eat_kernel},
                                   {"processes", eat_processes}, {"cow", eat_cow}};
  const std::uint64_t cap =
      std::max(options.cap_bytes != 0 ? options.cap_bytes : 128 * mib, 4 * mib) / mib * mib;
  bool any = false;
  for (const Kind& kind : kinds)
    if (chosen(options, kind.name)) {
      any = true;
      run_kind(kind, options, report, cap);
    }
  return any;
}

}  // namespace minirun::probe
