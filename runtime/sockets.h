// Owns: unix sockets by path, however long it is, and descriptors sent over them.
// Must not: know what a socket is for.
#pragma once

#include <sys/un.h>

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// `name` in the open directory, as a path that fits however deep the directory is. `name` has at
/// most 80 bytes. The address is good while `directory` is open.
[[nodiscard]] sockaddr_un socket_address(int directory, std::string_view name);

/// A connected stream socket. `object` names the option for errors. Waits at most ten seconds, here
/// and in what is sent, for one that does not listen.
[[nodiscard]] Result<Fd> connect_socket(const std::string& path, const std::string& object);

/// The bytes of `payload` with one descriptor, in one message where it is short (what engines
/// receive a terminal by, and agents the listener of a filter).
[[nodiscard]] Status send_descriptor(int socket, std::string_view payload, int fd,
                                     const std::string& object);

}  // namespace minirun
