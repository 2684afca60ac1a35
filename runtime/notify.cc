#include "runtime/notify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "runtime/abort_signal.h"
#include "runtime/sockets.h"

namespace minirun {
namespace {

// sd_notify(3): what a service says about itself alone.
constexpr std::string_view passed[] = {
    "READY=",    "RELOADING=",      "STOPPING=",           "STATUS=", "ERRNO=", "WATCHDOG=",
    "BUSERROR=", "MONOTONIC_USEC=", "EXTEND_TIMEOUT_USEC="};

}  // namespace

std::optional<std::string> callers_notify_socket() {
  const char* path = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  if (path == nullptr || (*path != '/' && *path != '@')) return std::nullopt;
  return path;
}

std::string filter_notification(std::string_view datagram, bool& ready) {
  std::string text;
  for (std::size_t at = 0; at < datagram.size();) {
    const std::size_t end = std::min(datagram.find('\n', at), datagram.size());
    const std::string_view line = datagram.substr(at, end - at);
    at = end + 1;
    if (std::ranges::none_of(passed, [line](std::string_view p) { return line.starts_with(p); }))
      continue;
    if (line == "READY=1") ready = true;
    text.append(line).append("\n");
  }
  return text;
}

Result<NotifyProxy> NotifyProxy::open(int directory, std::string manager) {
  NotifyProxy proxy;
  proxy.manager_ = std::move(manager);
  proxy.socket_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const Fd folder(::openat(directory, "notify", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!proxy.socket_ || !folder) return os_error("NOTIFY_SOCKET");
  const std::string name(notify_name);
  ::unlinkat(folder.get(), name.c_str(), 0);
  const sockaddr_un address = socket_address(folder.get(), notify_name);
  if (::bind(proxy.socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
          0 ||
      // Any user of the container may report; nobody else reaches this directory.
      ::fchmodat(folder.get(), name.c_str(), 0777, 0) != 0)
    return os_error("NOTIFY_SOCKET", "bind");
  return proxy;
}

Status NotifyProxy::send(std::string_view text) const {
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (manager_.size() >= sizeof address.sun_path)
    return os_error(ENAMETOOLONG, "NOTIFY_SOCKET", manager_);
  std::memcpy(address.sun_path, manager_.data(), manager_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + manager_.size());
  if (!socket ||
      TEMP_FAILURE_RETRY(::sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL,
                                  reinterpret_cast<const sockaddr*>(&address), size)) < 0)
    return os_error("NOTIFY_SOCKET", manager_);
  return {};
}

Status NotifyProxy::pump(pid_t main_pid) {
  std::array<char, 4096> buffer{};
  for (;;) {
    // Without room for control data: descriptors that a container sends are dropped.
    const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0) return {};
    bool ready = false;
    const std::string text =
        filter_notification({buffer.data(), static_cast<std::size_t>(size)}, ready);
    if (text.empty()) continue;
    // In one datagram: the manager may stop listening to us after READY=1.
    TRY(send(ready && !ready_ ? fmt::format("MAINPID={}\n{}", main_pid, text) : text));
    ready_ = ready_ || ready;
  }
}

Status NotifyProxy::wait_ready(pid_t main_pid, int pidfd, int signal_fd) {
  while (!ready_) {
    std::array<pollfd, 3> polls{
        {{socket_.get(), POLLIN, 0}, {pidfd, POLLIN, 0}, {signal_fd, POLLIN, 0}}};
    if (::poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) return os_error("poll");
    TRY(pump(main_pid));
    if (polls[1].revents != 0) return {};  // it ended: nothing more will come
    if (polls[2].revents == 0) continue;
    if (const auto signal = take_abort(signal_fd))
      return os_error(
          EINTR, "NOTIFY_SOCKET",
          fmt::format("the wait for READY=1 was ended by {}; the container runs", *signal));
  }
  return {};
}

}  // namespace minirun
