// Owns: page faults: minor, of a page shared by fork, of huge pages, and from the disk.
// Method: each sample touches the pages of a fresh mapping of 4 MiB and is given by page (by huge
// page). Copy-on-write: the child of a fork writes to each page of its parent's. Major: one page of
// a file is dropped from the page cache (POSIX_FADV_DONTNEED) and read through a mapping with
// MADV_RANDOM; that it was a major fault is checked with getrusage(2). Known errors: zeroing the
// page is part of a minor fault. A virtual disk may answer from the host's memory: then the major
// fault is too fast for a disk.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "probe/workload/files.h"
#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

constexpr std::size_t page = 4096, area = 4 << 20, huge = 2 << 20;

void minor(Report& report, std::uint64_t length) {
  Samples samples(4096);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  do {
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) return unsupported_errno(report, "textbook.faults.minor", "mmap");
    ::madvise(memory, area, MADV_NOHUGEPAGE);
    const std::uint64_t begin = now_ns();
    for (std::size_t at = 0; at < area; at += page) static_cast<volatile char*>(memory)[at] = 1;
    samples.add(static_cast<double>(now_ns() - begin) / (area / page));
    ::munmap(memory, area);
  } while (now_ns() < end && !samples.full());
  report.result({"textbook.faults.minor", "ns", "lower", "", "first write to an anonymous page"},
                samples);
}

/// The child times its own writes and leaves the result in shared memory.
void copy_on_write(Report& report, std::uint64_t length) {
  const char* name = "textbook.faults.copy_on_write";
  auto* memory = static_cast<char*>(map_memory(area, false));
  ::madvise(memory, area, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < area; at += page) static_cast<volatile char*>(memory)[at] = 1;
  auto& result = *static_cast<double*>(map_memory(4096, true));
  Samples samples(4096);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  do {
    const pid_t child = ::fork();
    if (child < 0) return unsupported_errno(report, name, "fork");
    if (child == 0) {
      const std::uint64_t begin = now_ns();
      for (std::size_t at = 0; at < area; at += page) static_cast<volatile char*>(memory)[at] = 2;
      result = static_cast<double>(now_ns() - begin) / (area / page);
      ::_exit(0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) return report.unsupported(name, "the child did not come to its end");
    samples.add(result);
  } while (now_ns() < end && !samples.full());
  report.result({name, "ns", "lower", "", "first write to a page shared by fork: copied"}, samples);
  ::munmap(memory, area);
  ::munmap(&result, 4096);
}

void huge_pages(Report& report, std::uint64_t length) {
  Samples samples(4096);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  rusage before{}, after{};
  ::getrusage(RUSAGE_THREAD, &before);
  std::size_t touched = 0;
  do {
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, area + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) return unsupported_errno(report, "textbook.faults.huge", "mmap");
    auto* aligned = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(memory) + huge - 1) /
                                            huge * huge);
    ::madvise(aligned, area, MADV_HUGEPAGE);
    const std::uint64_t begin = now_ns();
    for (std::size_t at = 0; at < area; at += page) static_cast<volatile char*>(aligned)[at] = 1;
    samples.add(static_cast<double>(now_ns() - begin) / (area / huge));
    touched += area / page;
    ::munmap(memory, area + huge);
  } while (now_ns() < end && !samples.full());
  ::getrusage(RUSAGE_THREAD, &after);
  if (static_cast<std::size_t>(after.ru_minflt - before.ru_minflt) * 8 > touched)
    report.unsupported("textbook.faults.huge", "no transparent huge pages are given here");
  else
    report.result({"textbook.faults.huge", "ns", "lower", "", "2 MiB at once, with its zeroing"},
                  samples);
}

void major(Report& report, std::uint64_t length, const Options& options) {
  const char* name = "textbook.faults.major";
  ScratchFile file(options, 16 << 20);
  if (!file.good()) return report.unsupported(name, file.why());
  if (!file.on_disk()) return report.unsupported(name, "files are in memory here (tmpfs)");
  Samples samples(4096);
  rusage before{}, after{};
  ::getrusage(RUSAGE_THREAD, &before);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  std::uint64_t state = 1;
  do {
    file.drop();
    auto* memory =
        static_cast<char*>(::mmap(nullptr, file.bytes(), PROT_READ, MAP_SHARED, file.fd(), 0));
    if (memory == MAP_FAILED) return unsupported_errno(report, name, "mmap");
    ::madvise(memory, file.bytes(), MADV_RANDOM);
    for (int i = 0; i < 16; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      const std::size_t at = (state >> 33) % (file.bytes() / page) * page;
      const std::uint64_t begin = now_ns();
      keep(static_cast<volatile char*>(memory)[at]);
      samples.add(static_cast<double>(now_ns() - begin));
    }
    ::munmap(memory, file.bytes());
  } while (now_ns() < end && !samples.full());
  ::getrusage(RUSAGE_THREAD, &after);
  if (static_cast<std::size_t>(after.ru_majflt - before.ru_majflt) * 2 < samples.size())
    report.unsupported(name, "the page cache cannot be emptied here: no major faults happened");
  else
    report.result({name, "ns", "lower", "", "one page through a mapping, by the disk"}, samples);
}

}  // namespace

void textbook_faults(Report& report, std::uint64_t length, const Options& options) {
  minor(report, length);
  copy_on_write(report, length);
  huge_pages(report, length);
  major(report, length, options);
}

}  // namespace minirun::probe
