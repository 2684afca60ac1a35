#include "runtime/process_info.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/file.h"

namespace minirun {

Result<ProcessStat> parse_process_stat(std::string_view text) {
  const std::size_t end = text.rfind(')');
  if (end == std::string_view::npos || end + 3 > text.size())
    return plain_error("stat", "has no name in parentheses");
  ProcessStat stat;
  stat.state = text[end + 2];
  std::string_view rest = text.substr(end + 2);
  for (int field = 3; !rest.empty(); ++field) {
    const std::size_t space = std::min(rest.find(' '), rest.size());
    const std::string_view word = rest.substr(0, space);
    auto number = [&word](std::uint64_t& value) {
      return std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc();
    };
    if (field == 22) {
      if (!number(stat.start_time)) return plain_error("stat", "field 22 is no number");
      return stat;
    }
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  return plain_error("stat", "has fewer than 22 fields");
}

Result<ProcessStat> read_process_stat(pid_t pid) {
  return parse_process_stat(TRY(read_file(AT_FDCWD, fmt::format("/proc/{}/stat", pid))));
}

Result<OwnStatus> read_own_status() {
  const std::string text = TRY(read_file(AT_FDCWD, "/proc/self/status"));
  OwnStatus status;
  for (const auto& [key, mask] :
       {std::pair{"\nSigIgn:\t", &status.ignored_signals},
        std::pair{"\nCapPrm:\t", &status.permitted}, std::pair{"\nCapBnd:\t", &status.bounding}}) {
    const std::size_t at = text.find(key);
    if (at == std::string::npos ||
        std::from_chars(text.data() + at + std::strlen(key), text.data() + text.size(), *mask, 16)
                .ec != std::errc())
      return plain_error("/proc/self/status",
                         fmt::format("has no {}", std::string_view(key + 1, 6)));
  }
  return status;
}

Result<std::string> read_boot_id() {
  std::string id = TRY(read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

Result<PidFd> open_init(const Init& init) {
  PidFd fd(static_cast<int>(::syscall(SYS_pidfd_open, init.pid, 0)));
  if (!fd) return os_error(fmt::format("process {}", init.pid));
  const Result<ProcessStat> stat = read_process_stat(init.pid);
  if (!stat || stat->start_time != init.start_time || stat->state == 'Z' || stat->state == 'X')
    return os_error(ESRCH, fmt::format("process {}", init.pid));
  return fd;
}

bool heads_pid_namespace(pid_t pid) {
  const Result<std::string> text = read_file(AT_FDCWD, fmt::format("/proc/{}/status", pid));
  if (!text) return false;
  // "NSpid:\t4711\t1": its number in each namespace from ours on (proc(5), Linux 4.1).
  constexpr std::string_view key = "\nNSpid:\t";
  const std::size_t at = text->find(key);
  if (at == std::string::npos) return false;
  const std::size_t begin = at + key.size();
  return text->substr(begin, text->find('\n', begin) - begin).ends_with("\t1");
}

Executes what_executes(pid_t pid) {
  std::array<char, 64> target{};
  const std::string path = fmt::format("/proc/{}/exe", pid);
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  const std::string_view name(target.data(), size < 0 ? 0 : static_cast<std::size_t>(size));
  if (size < 0 && errno == ENOENT) return Executes::nothing;
  // A memory file has no name in any directory; a file of an image with this one has.
  struct stat info{};
  return name.starts_with("/memfd:minirun-stage") && ::stat(path.c_str(), &info) == 0 &&
                 info.st_nlink == 0
             ? Executes::stage
             : Executes::program;
}

}  // namespace minirun
