#include "netns/netdevices.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

namespace minirun {
namespace {

/// A request of rtnetlink(7), grown attribute by attribute.
class Request {
 public:
  template <class Body>
  Request(std::uint16_t type, std::uint16_t flags, const Body& body) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    append(&header, sizeof header);
    append(&body, sizeof body);
  }

  Request& add(std::uint16_t type, const void* data, std::size_t size) {
    rtattr attribute{};
    attribute.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(size));
    attribute.rta_type = type;
    append(&attribute, sizeof attribute);
    append(data, size);
    return *this;
  }
  Request& add(std::uint16_t type, const std::string& text) {
    return add(type, text.c_str(), text.size() + 1);
  }

  [[nodiscard]] std::string bytes() const {
    std::string out = bytes_;
    const auto size = static_cast<std::uint32_t>(out.size());
    std::memcpy(out.data(), &size, sizeof size);  // nlmsg_len is the first field
    return out;
  }

 private:
  void append(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
    bytes_.resize((bytes_.size() + 3) / 4 * 4, '\0');
  }
  std::string bytes_;
};

using Attributes = std::map<std::uint16_t, std::string>;

Attributes attributes_of(std::string_view bytes) {
  Attributes found;
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, bytes.data(), sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > bytes.size()) break;
    found[attribute.rta_type] =
        bytes.substr(sizeof attribute, attribute.rta_len - sizeof attribute);
    bytes.remove_prefix(std::min<std::size_t>((attribute.rta_len + 3U) / 4 * 4, bytes.size()));
  }
  return found;
}

/// A socket that stays in the network namespace in which it was opened.
class Netlink {
 public:
  static Result<Netlink> open() {
    Netlink link;
    link.fd_ = Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!link.fd_) return os_error("rtnetlink");
    return link;
  }

  /// Sends, and gives each message of the answer to `each`. Errors: the errno of the kernel.
  Status ask(const Request& request,
             const std::function<void(const nlmsghdr&, std::string_view)>& each) {
    const std::string bytes = request.bytes();
    if (TEMP_FAILURE_RETRY(::send(fd_.get(), bytes.data(), bytes.size(), 0)) < 0)
      return os_error("rtnetlink", "send");
    alignas(nlmsghdr) std::array<char, 32768> buffer;
    for (;;) {
      const ssize_t size = TEMP_FAILURE_RETRY(::recv(fd_.get(), buffer.data(), buffer.size(), 0));
      if (size < 0) return os_error("rtnetlink", "receive");
      std::string_view rest(buffer.data(), static_cast<std::size_t>(size));
      while (rest.size() >= sizeof(nlmsghdr)) {
        nlmsghdr header{};
        std::memcpy(&header, rest.data(), sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size())
          return plain_error("rtnetlink", "sent a message that is cut off");
        const std::string_view body = rest.substr(sizeof header, header.nlmsg_len - sizeof header);
        if (header.nlmsg_type == NLMSG_DONE) return {};
        if (header.nlmsg_type == NLMSG_ERROR) return result_of(body);
        each(header, body);
        rest.remove_prefix(std::min<std::size_t>((header.nlmsg_len + 3U) / 4 * 4, rest.size()));
      }
    }
  }
  Status change(const Request& request) {
    return ask(request, [](const nlmsghdr&, std::string_view) {});
  }

 private:
  static Status result_of(std::string_view body) {
    std::int32_t error = 0;
    if (body.size() >= sizeof error) std::memcpy(&error, body.data(), sizeof error);
    return error == 0 ? Status() : os_error(-error, "rtnetlink");
  }
  Fd fd_;
};

struct Link {
  int index = 0;
  bool up = false;
};

/// By name; all of them by dumping.
Result<std::map<std::string, Link>> links_of(Netlink& netlink) {
  std::map<std::string, Link> links;
  TRY(netlink.ask(Request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{}), [&links](const nlmsghdr&,
                                                                          std::string_view body) {
    ifinfomsg info{};
    if (body.size() < sizeof info) return;
    std::memcpy(&info, body.data(), sizeof info);
    const Attributes found = attributes_of(body.substr(sizeof info));
    const auto name = found.find(IFLA_IFNAME);
    if (name != found.end())
      links[name->second.c_str()] = {info.ifi_index, (info.ifi_flags & IFF_UP) != 0};
  }));
  return links;
}

struct Address {
  ifaddrmsg header{};
  Attributes attributes;
};

/// The permanent addresses of global scope, which the move takes away.
Result<std::vector<Address>> addresses_of(Netlink& netlink, int index) {
  std::vector<Address> addresses;
  TRY(netlink.ask(
      Request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{}), [&](const nlmsghdr&, std::string_view body) {
        Address address;
        if (body.size() < sizeof address.header) return;
        std::memcpy(&address.header, body.data(), sizeof address.header);
        address.attributes = attributes_of(body.substr(sizeof address.header));
        std::uint32_t flags = address.header.ifa_flags;
        if (const auto at = address.attributes.find(IFA_FLAGS);
            at != address.attributes.end() && at->second.size() == sizeof flags)
          std::memcpy(&flags, at->second.data(), sizeof flags);
        if (static_cast<int>(address.header.ifa_index) == index &&
            address.header.ifa_scope == RT_SCOPE_UNIVERSE && (flags & IFA_F_PERMANENT) != 0)
          addresses.push_back(std::move(address));
      }));
  return addresses;
}

Status add_address(Netlink& netlink, Address address, const std::string& name, int index) {
  address.header.ifa_index = static_cast<std::uint32_t>(index);
  address.header.ifa_flags = 0;
  Request request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, address.header);
  for (const std::uint16_t type : {IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST})
    if (const auto at = address.attributes.find(type); at != address.attributes.end())
      request.add(type, at->second.data(), at->second.size());
  // "eth0:1" of old tools goes with the new name.
  if (address.header.ifa_family == AF_INET) request.add(IFA_LABEL, name);
  return netlink.change(request);
}

struct Direction {
  Netlink& from;
  Netlink& to;
  int to_namespace;
};

/// A device that arrived.
struct Arrival {
  std::string name;
  int index = 0;
  bool was_up = false;
  std::vector<Address> addresses;  ///< that it had
};

Result<Arrival> relocate(const Direction& way, const std::string& name,
                         const std::string& new_name) {
  const std::map<std::string, Link> here = TRY(links_of(way.from));
  const auto device = here.find(name);
  if (device == here.end()) return os_error(ENODEV, "device", name);
  const std::map<std::string, Link> before = TRY(links_of(way.to));
  if (before.contains(new_name))
    return os_error(EEXIST, "device", fmt::format("the name {} is taken there", new_name));
  Arrival arrival;
  arrival.was_up = device->second.up;
  arrival.addresses = TRY(addresses_of(way.from, device->second.index));
  ifinfomsg which{};
  which.ifi_index = device->second.index;
  TRY(way.from.change(Request(RTM_NEWLINK, NLM_F_ACK, which)
                          .add(IFLA_NET_NS_FD, &way.to_namespace, sizeof way.to_namespace)
                          .add(IFLA_IFNAME, new_name)));
  const std::map<std::string, Link> after = TRY(links_of(way.to));
  for (const auto& [there, link] : after) {
    if (before.contains(there)) continue;
    arrival.name = there;
    arrival.index = link.index;
    return arrival;
  }
  return os_error(ENODEV, "device", fmt::format("{} did not arrive", name));
}

/// Gives it its addresses back, and the state.
Status furnish(Netlink& netlink, const Arrival& arrival, bool up) {
  for (const Address& address : arrival.addresses)
    TRY(add_address(netlink, address, arrival.name, arrival.index));
  ifinfomsg state{};
  state.ifi_index = arrival.index;
  state.ifi_flags = up ? static_cast<unsigned>(IFF_UP) : 0U;
  state.ifi_change = IFF_UP;
  return netlink.change(Request(RTM_NEWLINK, NLM_F_ACK, state));
}

/// A socket in the namespace `fd`; this process is back in its own at the end.
Result<Netlink> open_in_namespace(const Fd& fd, const Fd& own) {
  if (::setns(fd.get(), CLONE_NEWNET) != 0) return os_error("setns", "network namespace");
  Result<Netlink> netlink = Netlink::open();
  if (::setns(own.get(), CLONE_NEWNET) != 0) return os_error("setns", "network namespace");
  return netlink;
}

Error named(Error error, const std::string& name) {
  if (error.object == "rtnetlink" && error.errnum == EINVAL)
    error.detail = "the kernel keeps this device in its network namespace";
  else if (error.object == "rtnetlink" && error.errnum == EPERM)
    error.detail = "moving a device needs CAP_NET_ADMIN on the host";
  error.object = "linux.netDevices." + name;
  return error;
}

}  // namespace

Result<Fd> open_own_netns() {
  Fd fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) return os_error("/proc/self/ns/net");
  return fd;
}

Result<Fd> open_netns_of(int pid) {
  const std::string path = fmt::format("/proc/{}/ns/net", pid);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return os_error(path);
  return fd;
}

MovedDevices::MovedDevices(MovedDevices&& other) noexcept
    : host_(std::move(other.host_)),
      container_(std::move(other.container_)),
      moved_(std::exchange(other.moved_, {})) {}

MovedDevices& MovedDevices::operator=(MovedDevices&& other) noexcept {
  std::swap(host_, other.host_);
  std::swap(container_, other.container_);
  std::swap(moved_, other.moved_);
  return *this;
}

MovedDevices::~MovedDevices() {
  if (moved_.empty()) return;
  Result<Netlink> out = Netlink::open();
  Result<Netlink> in = open_in_namespace(container_, host_);
  if (!out || !in) return;
  for (auto device = moved_.rbegin(); device != moved_.rend(); ++device)
    if (const Result<Arrival> back =
            relocate({*in, *out, host_.get()}, device->name, device->host_name))
      (void)furnish(*out, *back, device->was_up);
}

Result<MovedDevices> MovedDevices::move(const std::map<std::string, std::string>& devices, Fd host,
                                        Fd container) {
  MovedDevices moved(std::move(host), std::move(container));
  Netlink out = TRY(Netlink::open());
  Netlink in = TRY(open_in_namespace(moved.container_, moved.host_));
  for (const auto& [name, inside] : devices) {
    Result<Arrival> there = relocate({out, in, moved.container_.get()}, name, inside);
    if (!there) return std::unexpected(named(std::move(there.error()), name));
    moved.moved_.push_back({name, there->name, there->was_up});
    if (Status up = furnish(in, *there, true); !up)
      return std::unexpected(named(std::move(up.error()), name));
  }
  return moved;
}

}  // namespace minirun
