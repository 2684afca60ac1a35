#include "netns/pasta.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <functional>
#include <iterator>
#include <memory>
#include <set>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "netns/apply.h"

namespace minirun {

std::vector<std::string> plan_pasta(const std::string& program, const Network& network,
                                    const std::string& pid_file) {
  // Without --no-map-gw and with -T or -U the container would reach the host's loopback.
  std::vector<std::string> command = {program,  "--config-net", "--quiet", "--no-map-gw", "--pid",
                                      pid_file, "-T",           "none",    "-U",          "none"};
  bool tcp = false, udp = false;
  for (const PortMapping& port : network.ports) {
    (port.udp ? udp : tcp) = true;
    command.push_back(port.udp ? "-u" : "-t");
    command.push_back(fmt::format("{}{}:{}", port.host_ip.empty() ? "" : port.host_ip + "/",
                                  port.host_port, port.container_port));
  }
  // Its default forwards every port that is bound.
  if (!tcp) command.insert(command.end(), {"-t", "none"});
  if (!udp) command.insert(command.end(), {"-u", "none"});
  if (network.mtu) command.insert(command.end(), {"--mtu", std::to_string(*network.mtu)});
  if (network.ipv6 == false) command.push_back("--ipv4-only");
  return command;
}

Status start_pasta(std::vector<std::string> command, pid_t pid) {
  command.push_back(std::to_string(pid));
  // Warnings come first, and each line comes with another when no syslog can be reached.
  TRY(run_tool({.arguments = std::move(command),
                .input = {},
                .object = "network",
                .last_line_tells = true}));
  return {};
}

namespace {

/// pasta ends at once; what does not is stopped, or hangs.
constexpr int patience_ms = 2000;

bool ends(const PidFd& process) {
  pollfd wait{process.get(), POLLIN, 0};
  return ::poll(&wait, 1, patience_ms) == 1;
}

/// Ends `pid` if it is a pasta whose command line is `ours`, and waits for that; true when it was
/// one, or may have been: without a command line it is ending by itself. Looked at behind the
/// descriptor, since the number may be another's by now.
Result<bool> end_process(pid_t pid, const std::function<bool(std::string_view)>& ours) {
  const PidFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return false;
  const Result<std::string> name = read_file(AT_FDCWD, fmt::format("/proc/{}/comm", pid), 64);
  if (!name || !(name->starts_with("pasta") || name->starts_with("passt"))) return false;
  const Result<std::string> words = read_file(AT_FDCWD, fmt::format("/proc/{}/cmdline", pid));
  const bool ending = !words || words->empty();
  if (!ending && !ours(*words)) return false;
  for (const int signal : {SIGTERM, SIGKILL}) {
    // 0 only asks whether it is a process of this user: nobody else's is waited for.
    if (::syscall(SYS_pidfd_send_signal, pidfd.get(), ending ? 0 : signal, nullptr, 0) != 0) {
      if (ending && errno == EPERM) return false;
      if (errno != ESRCH) return os_error(fmt::format("pasta, process {}", pid), "kill");
    }
    if (ends(pidfd)) break;
  }
  return true;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

/// Ends the pasta whose starter was killed before its number was in the file: the one with a --pid
/// file in `folder`.
Status end_without_pid(const struct stat& folder) {
  const auto ours = [&folder](std::string_view words) {
    const std::vector<std::string_view> list = split(words, '\0');
    const auto option = std::ranges::find(list, "--pid");
    if (option == list.end() || std::next(option) == list.end()) return false;
    std::string path(*std::next(option));
    path.resize(path.rfind('/') + 1);
    struct stat other{};
    return ::stat(path.c_str(), &other) == 0 && other.st_dev == folder.st_dev &&
           other.st_ino == folder.st_ino;
  };
  // It forks and ends to be a daemon: a child may be younger than the list that its parent is in,
  // also when the signal came within fork(2). So whoever is found is a reason to look again.
  std::set<pid_t> found;
  for (std::size_t before = 1; before != found.size();) {
    before = found.size();
    const std::unique_ptr<DIR, CloseDirectory> directory(::opendir("/proc"));
    if (!directory) return os_error("/proc");
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone
    while (const dirent* entry = ::readdir(directory.get()))
      if (const auto number = leading_number(entry->d_name)) {
        const auto pid = static_cast<pid_t>(*number);
        const Result<bool> one = end_process(pid, ours);
        if (!one) return std::unexpected(one.error());
        if (*one) found.insert(pid);
      }
  }
  return {};
}

}  // namespace

Status end_pasta(int directory, const std::string& pid_file) {
  const Result<std::string> text = read_file(directory, pid_file, 64);
  if (!text && text.error().errnum != ENOENT) return std::unexpected(text.error());
  pid_t pid = 0;
  if (text && std::from_chars(text->data(), text->data() + text->size(), pid).ec == std::errc() &&
      pid > 1) {
    const Result<bool> ended = end_process(pid, [](std::string_view) { return true; });
    return ended ? Status() : std::unexpected(ended.error());
  }
  const std::string folder = pid_file.substr(0, pid_file.rfind('/'));
  struct stat facts{};
  // Root has no pasta, and who has no network no folder.
  if (::getauxval(AT_EUID) == 0 || ::fstatat(directory, folder.c_str(), &facts, 0) != 0) return {};
  return end_without_pid(facts);
}

}  // namespace minirun
