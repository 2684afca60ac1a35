// Owns: waiting for many descriptors: select, poll, epoll, io_uring.
// Method: N eventfds, of which the last is ready; one call that finds it, with no time to wait.
// io_uring: a poll request for each descriptor is pending; one more no-op is submitted and its
// completion waited for, so that the cost of a turn with N pending requests is seen.
// Known errors: ready at the end is the worst case of select and poll, and what they scale with;
// select ends at 1024 descriptors by its interface. io_uring is the kernel's own interface here
// (io_uring_setup and io_uring_enter, two rings in shared memory): a static program of one file
// needs no library for that.
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "probe/workload/textbook.h"

namespace minirun::probe {
namespace {

constexpr int most = 10000;
int fds[most];
pollfd polls[most];

/// The rings of io_uring_setup(2), as many entries as we need.
class Ring {
 public:
  explicit Ring(unsigned entries) {
    io_uring_params params{};
    params.flags = IORING_SETUP_CQSIZE;
    params.cq_entries = 4 * entries;
    fd_ = static_cast<int>(::syscall(SYS_io_uring_setup, entries, &params));
    if (fd_ < 0) return;
    size_ = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    const std::size_t completions = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
    if (completions > size_) size_ = completions;
    ring_ = static_cast<char*>(::mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_POPULATE, fd_, IORING_OFF_SQ_RING));
    void* entries_memory =
        ::mmap(nullptr, params.sq_entries * sizeof(io_uring_sqe), PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_POPULATE, fd_, IORING_OFF_SQES);
    if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0 || ring_ == MAP_FAILED ||
        entries_memory == MAP_FAILED) {
      ::close(fd_);
      fd_ = -1;
      return;
    }
    sqes_ = static_cast<io_uring_sqe*>(entries_memory);
    params_ = params;
  }
  ~Ring() {
    if (fd_ >= 0) ::close(fd_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  [[nodiscard]] bool good() const { return fd_ >= 0; }

  /// Submits one request; with `wait` until one completion is there, which is taken.
  bool submit(std::uint8_t operation, int fd, std::uint32_t events, bool wait) {
    std::atomic_ref<unsigned> tail(at(params_.sq_off.tail));
    const unsigned index = tail.load(std::memory_order_relaxed) & at(params_.sq_off.ring_mask);
    io_uring_sqe& entry = sqes_[index];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = operation;
    entry.fd = fd;
    entry.poll32_events = events;
    reinterpret_cast<unsigned*>(ring_ + params_.sq_off.array)[index] = index;
    tail.store(tail.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    if (::syscall(SYS_io_uring_enter, fd_, 1, wait ? 1 : 0, wait ? IORING_ENTER_GETEVENTS : 0,
                  nullptr, 0) < 0)
      return false;
    if (!wait) return true;
    std::atomic_ref<unsigned> head(at(params_.cq_off.head));
    head.store(head.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    return true;
  }

 private:
  unsigned& at(std::uint32_t offset) { return *reinterpret_cast<unsigned*>(ring_ + offset); }
  int fd_ = -1;
  std::size_t size_ = 0;
  char* ring_ = nullptr;
  io_uring_sqe* sqes_ = nullptr;
  io_uring_params params_{};
};

void io_uring(Report& report, int count, std::uint64_t length) {
  char name[64];
  std::snprintf(name, sizeof name, "textbook.polling.io_uring.%d", count);
  Ring ring(64);
  if (!ring.good()) return unsupported_errno(report, name, "io_uring_setup");
  for (int i = 0; i + 1 < count; ++i)
    if (!ring.submit(IORING_OP_POLL_ADD, fds[i], POLLIN, false))
      return unsupported_errno(report, name, "io_uring_enter");
  measure(report, {name, "ns", "lower", "", "poll the ready one while the others are pending"},
          length, [&] {
            if (!ring.submit(IORING_OP_POLL_ADD, fds[count - 1], POLLIN, true)) die("io_uring");
          });
}

void epoll(Report& report, int count, std::uint64_t length) {
  char name[64];
  std::snprintf(name, sizeof name, "textbook.polling.epoll.%d", count);
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return unsupported_errno(report, name, "epoll_create1");
  for (int i = 0; i < count; ++i) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event) != 0)
      return unsupported_errno(report, name, "epoll_ctl");
  }
  epoll_event events[8];
  measure(report, {name, "ns", "lower", "", "the last of so many is ready"}, length, [&] {
    if (::epoll_wait(set, events, 8, 0) != 1) die("epoll_wait");
  });
  ::close(set);
}

void poll_and_select(Report& report, int count, std::uint64_t length) {
  char name[64];
  std::snprintf(name, sizeof name, "textbook.polling.poll.%d", count);
  for (int i = 0; i < count; ++i) polls[i] = {fds[i], POLLIN, 0};
  measure(report, {name, "ns", "lower", "", "the last of so many is ready"}, length, [&] {
    if (::poll(polls, static_cast<nfds_t>(count), 0) != 1) die("poll");
  });
  std::snprintf(name, sizeof name, "textbook.polling.select.%d", count);
  if (fds[count - 1] >= FD_SETSIZE)
    return report.unsupported(name, "select knows descriptors below 1024 only");
  measure(report, {name, "ns", "lower", "", "the last of so many is ready"}, length, [&] {
    fd_set set;
    FD_ZERO(&set);
    for (int i = 0; i < count; ++i) FD_SET(fds[i], &set);
    timeval now{};
    if (::select(fds[count - 1] + 1, &set, nullptr, nullptr, &now) != 1) die("select");
  });
}

/// Opens the descriptors; how many it got.
int open_descriptors(int wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  for (int i = 0; i < wanted; ++i)
    if ((fds[i] = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) return i;
  return wanted;
}

}  // namespace

void textbook_polling(Report& report, std::uint64_t length, bool quick) {
  const int opened = open_descriptors(most);
  for (const int count : {10, 100, 1000, most}) {
    if (quick && count == 100) continue;
    if (count > opened) {
      char name[64], why[96];
      std::snprintf(name, sizeof name, "textbook.polling.%d", count);
      std::snprintf(why, sizeof why, "only %d descriptors can be opened here (RLIMIT_NOFILE)",
                    opened);
      report.unsupported(name, why);
      continue;
    }
    const std::uint64_t one = 1;
    if (::write(fds[count - 1], &one, sizeof one) != sizeof one) die("eventfd");
    poll_and_select(report, count, length);
    epoll(report, count, length);
    io_uring(report, count, length);
    std::uint64_t value = 0;
    if (::read(fds[count - 1], &value, sizeof value) != sizeof value) die("eventfd");
  }
  for (int i = 0; i < opened; ++i) ::close(fds[i]);
}

}  // namespace minirun::probe
