// Owns: rtnetlink messages and a socket for them: build, send, wait for the answer.
// Must not: know what a container is. libnl is not used: its archives pull the name service of
// glibc into a static program, and libnl-route opens /etc/libnl/classid before main.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// One request: the header, a fixed part such as ifinfomsg, and attributes, some of them nested.
class NetlinkMessage {
 public:
  NetlinkMessage(std::uint16_t type, std::uint16_t flags);

  template <class T>
  NetlinkMessage& put(const T& fixed) {
    append(&fixed, sizeof fixed);
    return *this;
  }
  NetlinkMessage& attribute(std::uint16_t type, const void* data, std::size_t size);
  NetlinkMessage& attribute(std::uint16_t type, std::string_view text);  ///< with its NUL
  template <class T>
    requires std::is_arithmetic_v<T>
  NetlinkMessage& number(std::uint16_t type, T value) {
    return attribute(type, &value, sizeof value);
  }
  /// What `inside` adds becomes the content of an attribute.
  NetlinkMessage& nest(std::uint16_t type, const std::function<void()>& inside);

  /// The bytes to send, with the lengths filled in.
  [[nodiscard]] std::span<const char> finish(std::uint32_t sequence);

 private:
  void append(const void* data, std::size_t size);
  std::vector<char> bytes_;
};

/// An attribute of an answer, or nothing (empty span).
[[nodiscard]] std::span<const char> find_attribute(std::span<const char> attributes,
                                                   std::uint16_t type);
template <class T>
[[nodiscard]] T read_number(std::span<const char> bytes, T otherwise = {}) {
  if (bytes.size() >= sizeof(T)) std::memcpy(&otherwise, bytes.data(), sizeof(T));
  return otherwise;
}
[[nodiscard]] std::string read_text(std::span<const char> bytes);

/// A socket of NETLINK_ROUTE in the network namespace in which it was opened.
class Netlink {
 public:
  [[nodiscard]] static Result<Netlink> open();

  /// Sends and waits for the acknowledgement. Error: `object`, the kernel's errno and its words.
  [[nodiscard]] Status request(NetlinkMessage message, const std::string& object);
  /// Sends and collects the answers without their nlmsghdr.
  [[nodiscard]] Result<std::vector<std::vector<char>>> ask(NetlinkMessage message,
                                                           const std::string& object);

 private:
  [[nodiscard]] Result<std::vector<std::vector<char>>> exchange(NetlinkMessage& message,
                                                                const std::string& object);
  Fd fd_;
  std::uint32_t sequence_ = 0;
};

/// Back into the network namespace of ours that setns(2) left. A refusal is tried once more; after
/// the second the process ends: going on would change a container's network in place of the host's.
void return_to_network(const Fd& own);

/// The number and some properties of an interface. Error ENODEV: there is none.
struct Link {
  int index = 0;
  std::string name, kind, alias;
  std::uint32_t mtu = 0;
  bool up = false;
};
[[nodiscard]] Result<Link> find_link(Netlink& netlink, const std::string& name);
/// Removes an interface; one that is not there is no error.
[[nodiscard]] Status remove_link(Netlink& netlink, const std::string& name);

}  // namespace minirun
