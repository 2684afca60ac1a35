#include "probe/workload/files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace minirun::probe {

bool ScratchFile::try_directory(const char* directory) {
  int fd = ::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {  // 9p, some network file systems
    char path[512];
    std::snprintf(path, sizeof path, "%s/minirun-probe.%d", directory, ::getpid());
    fd = ::open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) ::unlink(path);
  }
  if (fd < 0) {
    std::snprintf(why_, sizeof why_, "no file in %s: %s", directory, std::strerror(errno));
    return false;
  }
  struct statfs info{};
  const bool known = ::fstatfs(fd, &info) == 0;
  const auto type = static_cast<unsigned long>(info.f_type);
  const bool disk =
      known && type != TMPFS_MAGIC && type != RAMFS_MAGIC && type != OVERLAYFS_SUPER_MAGIC;
  if (fd_ >= 0 && !disk) {  // nothing better than what we have
    ::close(fd);
    return false;
  }
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  disk_ = disk;
  directory_ = directory;
  return disk;
}

ScratchFile::ScratchFile(const Options& options, std::size_t bytes) : bytes_(bytes) {
  if (options.directory[0] != '\0') {
    try_directory(options.directory);
  } else {
    for (const char* directory : {"/var/tmp", "/tmp", "."})
      if (try_directory(directory)) break;
  }
  if (fd_ < 0) return;
  static char chunk[1 << 16];
  for (std::size_t i = 0; i < sizeof chunk; ++i) chunk[i] = static_cast<char>(i * 7);
  for (std::size_t at = 0; at < bytes_; at += sizeof chunk)
    if (::pwrite(fd_, chunk, sizeof chunk, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(sizeof chunk)) {
      std::snprintf(why_, sizeof why_, "cannot fill a file in %s: %s", directory_,
                    std::strerror(errno));
      ::close(fd_);
      fd_ = -1;
      return;
    }
  ::fdatasync(fd_);
}

ScratchFile::~ScratchFile() {
  if (fd_ >= 0) ::close(fd_);
}

void ScratchFile::drop() const {
  ::fdatasync(fd_);
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
}

int ScratchFile::reopen(int flags) const {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd_);
  return ::open(path, flags | O_CLOEXEC);
}

}  // namespace minirun::probe
