#include "runtime/sockets.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace minirun {

sockaddr_un socket_address(int directory, std::string_view name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory, name);
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

Result<Fd> connect_socket(const std::string& path, const std::string& object) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return os_error(object, "socket");
  const timeval limit{10, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  DirFd directory;
  if (path.size() < sizeof address.sun_path) {
    std::memcpy(address.sun_path, path.data(), path.size());
  } else {
    const std::size_t slash = path.rfind('/');
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.size() > 80) return os_error(ENAMETOOLONG, object, path);
    Result<DirFd> opened = open_directory(slash == std::string::npos ? "." : path.substr(0, slash));
    if (!opened) return std::unexpected(std::move(opened).error().in(object));
    directory = std::move(*opened);
    address = socket_address(directory.get(), name);
  }
  if (TEMP_FAILURE_RETRY(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                                   sizeof address)) != 0)
    return os_error(object, fmt::format("connect to {}", path));
  return socket;
}

Status send_descriptor(int socket, std::string_view payload, int fd, const std::string& object) {
  iovec vector{const_cast<char*>(payload.data()), payload.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ssize_t sent = TEMP_FAILURE_RETRY(::sendmsg(socket, &message, MSG_NOSIGNAL));
  // The descriptor goes with the first call; the rest of a long payload follows.
  for (std::size_t done = 0; sent > 0 && (done += static_cast<std::size_t>(sent)) < payload.size();)
    sent = TEMP_FAILURE_RETRY(
        ::send(socket, payload.data() + done, payload.size() - done, MSG_NOSIGNAL));
  if (sent < 0) return os_error(object, "send");
  return {};
}

}  // namespace minirun
