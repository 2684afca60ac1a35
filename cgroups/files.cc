// Every path here is one of ours: constant file names, and components that plan.cc checked.
// Must not: retry with a weaker openat2 (Linux 5.6 is far below what clone3 into a cgroup needs).
#include "cgroups/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace minirun {

int open_beneath(int dir, const char* path, int flags) noexcept {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return static_cast<int>(::syscall(SYS_openat2, dir, path, &how, sizeof how));
}

Result<std::string> read_all(int fd, std::string_view name) {
  std::string text;
  std::array<char, 4096> chunk{};
  for (;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error(std::string(name));
    if (n == 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

Result<std::string> read_beneath(int dir, const char* name) {
  const Fd fd(open_beneath(dir, name, O_RDONLY));
  if (!fd) return os_error(name);
  return read_all(fd.get(), name);
}

Status write_beneath(int dir, const char* name, std::string_view value) {
  const Fd fd(open_beneath(dir, name, O_WRONLY));
  if (!fd) return os_error(name);
  if (TEMP_FAILURE_RETRY(::write(fd.get(), value.data(), value.size())) < 0) return os_error(name);
  return {};
}

}  // namespace minirun
