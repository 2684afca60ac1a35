// Owns: the scratch file of the workloads that need a disk.
// Must not: leave it behind: it has no name (O_TMPFILE), or is unlinked at once.
#pragma once

#include <cstddef>

#include "probe/workload/workload.h"

namespace minirun::probe {

class ScratchFile {
 public:
  /// In options.directory, or the first of /var/tmp, /tmp and the working directory that takes
  /// files; one on a disk goes before one in memory. `bytes` are written and synced.
  ScratchFile(const Options& options, std::size_t bytes);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  [[nodiscard]] bool good() const { return fd_ >= 0; }
  [[nodiscard]] const char* why() const { return why_; }
  [[nodiscard]] const char* directory() const { return directory_; }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// Neither tmpfs nor ramfs, nor an overlay (whose upper layer may be one).
  [[nodiscard]] bool on_disk() const { return disk_; }
  /// Takes its pages out of the page cache.
  void drop() const;
  /// Opens it again with other flags; -1 and errno.
  [[nodiscard]] int reopen(int flags) const;

 private:
  bool try_directory(const char* directory);
  int fd_ = -1;
  std::size_t bytes_;
  bool disk_ = false;
  char why_[160] = "";
  const char* directory_ = "";
};

}  // namespace minirun::probe
