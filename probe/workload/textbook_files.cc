// Owns: the page cache: hit against miss, write-back against fsync against O_DIRECT, sequential
// against random; and looking up a path.
// Method: 4 KiB operations on a file of 16 MiB. A miss is made by dropping the file from the page
// cache before (POSIX_FADV_DONTNEED); random reads with POSIX_FADV_RANDOM, so that nothing is read
// ahead. Lookups: stat(2) of a path of four directories in the root, which is an overlay in most
// containers and a plain directory on most hosts.
// Known errors: a virtual disk may answer from the memory of its host, and may not obey fsync.
// Reference: fio(1) with bs=4k, iodepth=1, psync.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "probe/workload/files.h"
#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

constexpr std::size_t block = 4096, size = 16 << 20;

class Blocks {
 public:
  explicit Blocks(std::size_t bytes) : count_(bytes / block) {}
  off_t random() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<off_t>((state_ >> 33) % count_ * block);
  }
  off_t next() { return static_cast<off_t>(at_++ % count_ * block); }

 private:
  std::uint64_t state_ = 42;
  std::size_t count_, at_ = 0;
};

/// One operation per sample until the time is over; `body` false ends it.
template <class Body>
bool each(Report& report, const Metric& metric, std::uint64_t length, Body body) {
  Samples samples(8192);
  const std::uint64_t end = now_ns() + length * 1'000'000U;
  do {
    const std::uint64_t begin = now_ns();
    if (!body()) {
      unsupported_errno(report, metric.name, "read or write");
      return false;
    }
    samples.add(static_cast<double>(now_ns() - begin));
  } while ((now_ns() < end || samples.size() < 5) && !samples.full());
  report.result(metric, samples);
  return true;
}

void reads(Report& report, std::uint64_t length, const ScratchFile& file, char* buffer) {
  Blocks blocks(size);
  auto read_at = [&](int fd, off_t at) { return ::pread(fd, buffer, block, at) == block; };
  each(report, {"textbook.files.read_hit", "ns", "lower", "", "4 KiB from the page cache"}, length,
       [&] { return read_at(file.fd(), blocks.next()); });
  if (!file.on_disk()) {
    for (const char* name : {"textbook.files.read_sequential", "textbook.files.read_miss",
                             "textbook.files.read_direct"})
      report.unsupported(name, "files are in memory here (tmpfs, or an overlay on one)");
    return;
  }
  file.drop();
  ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
  Blocks in_order(size);
  each(
      report,
      {"textbook.files.read_sequential", "ns", "lower", "", "4 KiB with read-ahead, cold at first"},
      length, [&] { return read_at(file.fd(), in_order.next()); });
  file.drop();
  ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_RANDOM);
  int left = 0;
  each(report, {"textbook.files.read_miss", "ns", "lower", "", "4 KiB at random, by the disk"},
       length, [&] {
         const off_t at = blocks.random();
         if (left-- == 0) {  // the cache must not fill up; one call of many pays for it
           left = 200;
           file.drop();
         }
         ::posix_fadvise(file.fd(), at, block, POSIX_FADV_DONTNEED);
         return read_at(file.fd(), at);
       });
  const int direct = file.reopen(O_RDONLY | O_DIRECT);
  if (direct < 0)
    return unsupported_errno(report, "textbook.files.read_direct", "open with O_DIRECT");
  each(report, {"textbook.files.read_direct", "ns", "lower", "", "4 KiB at random, O_DIRECT"},
       length, [&] { return read_at(direct, blocks.random()); });
  ::close(direct);
}

void writes(Report& report, std::uint64_t length, const ScratchFile& file, char* buffer) {
  Blocks blocks(size);
  auto write_at = [&](int fd) { return ::pwrite(fd, buffer, block, blocks.random()) == block; };
  each(report, {"textbook.files.write_back", "ns", "lower", "", "4 KiB into the page cache"},
       length, [&] { return write_at(file.fd()); });
  if (!file.on_disk()) {
    for (const char* name : {"textbook.files.write_fsync", "textbook.files.write_direct"})
      report.unsupported(name, "files are in memory here (tmpfs, or an overlay on one)");
    return;
  }
  each(report, {"textbook.files.write_fsync", "ns", "lower", "", "4 KiB and fdatasync"}, length,
       [&] { return write_at(file.fd()) && ::fdatasync(file.fd()) == 0; });
  const int direct = file.reopen(O_WRONLY | O_DIRECT);
  if (direct < 0)
    return unsupported_errno(report, "textbook.files.write_direct", "open with O_DIRECT");
  each(report, {"textbook.files.write_direct", "ns", "lower", "", "4 KiB at random, O_DIRECT"},
       length, [&] { return write_at(direct); });
  ::close(direct);
}

/// stat(2) of a path of four directories. In a container it goes through the overlay of the root,
/// on a host through a plain file system: that is the difference that this row shows.
void lookups(Report& report, std::uint64_t length) {
  const char* deep = nullptr;
  struct stat info{};
  for (const char* path : {"/usr/share/zoneinfo/Etc", "/usr/share/doc", "/usr/lib", "/"})
    if (deep == nullptr && ::stat(path, &info) == 0) deep = path;
  struct statfs system{};
  const bool overlay = ::statfs("/", &system) == 0 &&
                       static_cast<unsigned long>(system.f_type) == OVERLAYFS_SUPER_MAGIC;
  measure(report,
          {"textbook.files.lookup", "ns", "lower", "",
           overlay ? "stat through the overlay of the root, cached" : "stat, cached"},
          length, [&] { keep(::stat(deep, &info)); });
  report.counter("textbook.files.root_is_overlay", overlay ? 1 : 0);
}

}  // namespace

void textbook_files(Report& report, std::uint64_t length, const Options& options) {
  lookups(report, length);
  const ScratchFile file(options, size);
  if (!file.good()) return report.unsupported("textbook.files", file.why());
  char* buffer = static_cast<char*>(std::aligned_alloc(block, block));
  if (buffer == nullptr) die("aligned_alloc");
  std::memset(buffer, 5, block);
  reads(report, length, file, buffer);
  writes(report, length, file, buffer);
  std::free(buffer);
}

}  // namespace minirun::probe
