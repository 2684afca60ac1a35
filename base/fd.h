// Owns: file descriptors as values. A descriptor has one owner; its kind is part of its type, so
// that swapped arguments do not compile.
// Must not: open anything by itself (see base/sys.h) or report errors of close(2).
#pragma once

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace minirun {

/// Set at the very end of a process, whose descriptors the kernel closes without a call for each.
inline bool process_ends = false;

/// A move-only file descriptor. Empty is -1. `Tag` makes kinds distinct types.
template <class Tag>
class BasicFd {
 public:
  BasicFd() = default;
  explicit BasicFd(int fd) : fd_(fd) {}
  BasicFd(BasicFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  BasicFd& operator=(BasicFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  BasicFd(const BasicFd&) = delete;
  BasicFd& operator=(const BasicFd&) = delete;
  ~BasicFd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() {
    if (fd_ < 0) return;
    const int fd = std::exchange(fd_, -1);
    if (!process_ends) ::close(fd);
  }
  /// Gives up ownership; the caller must close it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

using Fd = BasicFd<struct FdTag>;              ///< a file, socket or anything without its own kind
using DirFd = BasicFd<struct DirFdTag>;        ///< a directory, often O_PATH
using MountFd = BasicFd<struct MountFdTag>;    ///< a detached mount (fsmount, open_tree)
using PidFd = BasicFd<struct PidFdTag>;        ///< pidfd_open(2), CLONE_PIDFD
using CgroupFd = BasicFd<struct CgroupFdTag>;  ///< a directory of cgroup2

/// Closes descriptors (-1: none), neighbours with one call.
inline void close_together(std::vector<int> fds) {
  std::ranges::sort(fds);
  for (auto at = fds.begin(); at != fds.end();) {
    const int first = *at;
    int last = first;
    for (++at; at != fds.end() && *at == last + 1; ++at) last = *at;
    if (first < 0 ||
        ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(last), 0) == 0)
      continue;
    for (int fd = first; fd <= last; ++fd) ::close(fd);  // somebody's filter refuses the other
  }
}

}  // namespace minirun
