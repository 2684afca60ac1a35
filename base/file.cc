#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace minirun {

Result<DirFd> open_directory(const std::string& path) {
  DirFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return os_error(path);
  return fd;
}

Result<std::string> read_file(int directory, const std::string& name, std::size_t limit) {
  const Fd fd(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return os_error(name);
  std::string text;
  std::size_t held = 0;
  for (;;) {
    if (text.size() - held < 4096) text.resize(text.size() + 8192);
    const ssize_t size = ::read(fd.get(), text.data() + held, text.size() - held);
    if (size < 0) {
      if (errno == EINTR) continue;
      return os_error(name);
    }
    held += static_cast<std::size_t>(size);
    if (held > limit) return os_error(EFBIG, name);
    // Less than there was room for is the end: so it is for regular files and for the files of
    // procfs that are read here, which are made in one piece.
    if (held < text.size()) break;
  }
  text.resize(held);
  return text;
}

Result<std::string> read_pieces(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return os_error(path);
  std::string text;
  std::array<char, 16384> piece{};
  for (;;) {
    const ssize_t size = TEMP_FAILURE_RETRY(::read(file.get(), piece.data(), piece.size()));
    if (size < 0) return os_error(path);
    if (size == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
}

Status write_all(int fd, std::string_view text, const std::string& object) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0) {
      if (errno == EINTR) continue;
      return os_error(object);
    }
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  return {};
}

Status write_new_file(int directory, const std::string& name, std::string_view text, mode_t mode) {
  const Fd fd(::openat(directory, name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return os_error(name);
  if (Status written = write_all(fd.get(), text, name); !written) {
    ::unlinkat(directory, name.c_str(), 0);
    return written;
  }
  return {};
}

Status replace_file(int directory, const std::string& name, std::string_view text, mode_t mode) {
  const std::size_t slash = name.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : name.substr(0, slash + 1);
  const std::string base = slash == std::string::npos ? name : name.substr(slash + 1);
  const std::string temporary = folder + "." + base + "." + std::to_string(::getpid());
  Status written = write_new_file(directory, temporary, text, mode);
  if (!written && written.error().errnum == EEXIST) {
    // A rest of a process that had our pid and was killed.
    ::unlinkat(directory, temporary.c_str(), 0);
    written = write_new_file(directory, temporary, text, mode);
  }
  if (!written) return os_error(written.error().errnum, name);
  if (::renameat(directory, temporary.c_str(), directory, name.c_str()) != 0) {
    const int error = errno;
    ::unlinkat(directory, temporary.c_str(), 0);
    return os_error(error, name);
  }
  return {};
}

namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

Status remove_content(int directory, const std::string& name, dev_t device, int depth) {
  if (depth > 256) return os_error(ELOOP, name);
  const int fd = ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return os_error(name);
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd));
  if (!dir) {
    ::close(fd);
    return os_error(name);
  }
  while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string child = entry->d_name;
    if (child == "." || child == "..") continue;
    if (::unlinkat(fd, child.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) return os_error(child);
    struct stat info{};
    if (::fstatat(fd, child.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return os_error(child);
    if (!S_ISDIR(info.st_mode)) return os_error(EPERM, child);
    if (info.st_dev != device) return os_error(EXDEV, child, "something is mounted there");
    TRY(remove_content(fd, child, device, depth + 1));
    if (::unlinkat(fd, child.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return os_error(child);
  }
  return {};
}

}  // namespace

Status remove_tree(int directory, const std::string& name) {
  struct stat info{};
  if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return os_error(name);
  }
  if (!S_ISDIR(info.st_mode)) {
    if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) return os_error(name);
    return {};
  }
  TRY(remove_content(directory, name, info.st_dev, 0));
  if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return os_error(name);
  return {};
}

}  // namespace minirun
