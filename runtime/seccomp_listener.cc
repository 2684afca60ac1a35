#include "runtime/seccomp_listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace minirun {
namespace {

constexpr const char* field = "linux.seccomp.listenerPath";

/// sun_path holds 107 bytes: a longer path is named below its open directory.
Result<Fd> connect_to(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return os_error(field, "socket");
  const timeval limit{10, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = path;
  Fd directory;
  if (name.size() >= sizeof address.sun_path) {
    const std::size_t slash = path.rfind('/');
    directory = Fd(::open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return os_error(field, path);
    name = fmt::format("/proc/self/fd/{}/{}", directory.get(), path.substr(slash + 1));
    if (name.size() >= sizeof address.sun_path) return os_error(ENAMETOOLONG, field, path);
  }
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  if (TEMP_FAILURE_RETRY(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                                   sizeof address)) != 0)
    return os_error(field, fmt::format("connect to {}", path));
  return socket;
}

}  // namespace

std::string container_process_state(const ProcessState& state, const std::string& metadata) {
  nlohmann::ordered_json json = {{"ociVersion", state.oci_version},
                                 {"fds", {"seccompFd"}},
                                 {"pid", state.pid},
                                 {"state",
                                  {{"ociVersion", state.oci_version},
                                   {"id", state.id},
                                   {"status", state.status},
                                   {"pid", state.init_pid},
                                   {"bundle", state.bundle}}}};
  if (!metadata.empty()) json["metadata"] = metadata;
  if (!state.annotations.empty()) json["state"]["annotations"] = state.annotations;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Status send_listener(const std::string& path, const std::string& payload, int listener) {
  const Fd socket = TRY(connect_to(path));
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
  std::memcpy(CMSG_DATA(header), &listener, sizeof listener);
  ssize_t sent = TEMP_FAILURE_RETRY(::sendmsg(socket.get(), &message, MSG_NOSIGNAL));
  // The descriptor goes with the first call; the rest of a long state follows.
  for (std::size_t done = 0; sent > 0 && (done += static_cast<std::size_t>(sent)) < payload.size();)
    sent = TEMP_FAILURE_RETRY(
        ::send(socket.get(), payload.data() + done, payload.size() - done, MSG_NOSIGNAL));
  if (sent < 0) return os_error(field, fmt::format("send to {}", path));
  return {};
}

}  // namespace minirun
