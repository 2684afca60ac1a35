#include "netns/netdevices.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "netns/netlink.h"

namespace minirun {
namespace {

/// What the errors are of, until they get the name of their field.
constexpr const char* object = "rtnetlink";

/// By name; all of them by dumping.
Result<std::map<std::string, Link>> links_of(Netlink& netlink) {
  NetlinkMessage message(RTM_GETLINK, NLM_F_DUMP);
  message.put(ifinfomsg{});
  std::map<std::string, Link> links;
  const auto answers = TRY(netlink.ask(std::move(message), object));
  for (const std::vector<char>& answer : answers) {
    if (answer.size() < sizeof(ifinfomsg)) continue;
    const auto info = read_number<ifinfomsg>(answer);
    const auto attributes = std::span(answer).subspan(sizeof info);
    Link link;
    link.index = info.ifi_index;
    link.name = read_text(find_attribute(attributes, IFLA_IFNAME));
    link.up = (info.ifi_flags & IFF_UP) != 0;
    links[link.name] = link;
  }
  return links;
}

struct LinkAddress {
  ifaddrmsg header{};
  std::vector<char> attributes;
};

/// The permanent addresses of global scope, which the move takes away.
Result<std::vector<LinkAddress>> addresses_of(Netlink& netlink, int index) {
  NetlinkMessage message(RTM_GETADDR, NLM_F_DUMP);
  message.put(ifaddrmsg{});
  std::vector<LinkAddress> addresses;
  const auto answers = TRY(netlink.ask(std::move(message), object));
  for (const std::vector<char>& answer : answers) {
    if (answer.size() < sizeof(ifaddrmsg)) continue;
    LinkAddress address{read_number<ifaddrmsg>(answer),
                        {answer.begin() + sizeof(ifaddrmsg), answer.end()}};
    const auto flags = read_number<std::uint32_t>(find_attribute(address.attributes, IFA_FLAGS),
                                                  address.header.ifa_flags);
    if (static_cast<int>(address.header.ifa_index) == index &&
        address.header.ifa_scope == RT_SCOPE_UNIVERSE && (flags & IFA_F_PERMANENT) != 0)
      addresses.push_back(std::move(address));
  }
  return addresses;
}

Status add_address(Netlink& netlink, LinkAddress address, const std::string& name, int index) {
  address.header.ifa_index = static_cast<std::uint32_t>(index);
  address.header.ifa_flags = 0;
  NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  message.put(address.header);
  for (const std::uint16_t type : {IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST})
    if (const auto found = find_attribute(address.attributes, type); !found.empty())
      message.attribute(type, found.data(), found.size());
  // "eth0:1" of old tools goes with the new name.
  if (address.header.ifa_family == AF_INET) message.attribute(IFA_LABEL, name);
  return netlink.request(std::move(message), object);
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
  std::vector<LinkAddress> addresses;  ///< that it had
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
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.put(which)
      .number(IFLA_NET_NS_FD, way.to_namespace)
      .attribute(IFLA_IFNAME, std::string_view(new_name));
  TRY(way.from.request(std::move(message), object));
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
  for (const LinkAddress& address : arrival.addresses)
    TRY(add_address(netlink, address, arrival.name, arrival.index));
  ifinfomsg state{};
  state.ifi_index = arrival.index;
  state.ifi_flags = up ? static_cast<unsigned>(IFF_UP) : 0U;
  state.ifi_change = IFF_UP;
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.put(state);
  return netlink.request(std::move(message), object);
}

/// A socket in the namespace `fd`; this process is back in its own at the end.
Result<Netlink> open_in_namespace(const Fd& fd, const Fd& own) {
  if (::setns(fd.get(), CLONE_NEWNET) != 0) return os_error("setns", "network namespace");
  Result<Netlink> netlink = Netlink::open();
  return_to_network(own);
  return netlink;
}

Error named(Error error, const std::string& name) {
  if (error.object == object && error.errnum == EINVAL)
    error.detail = "the kernel keeps this device in its network namespace";
  else if (error.object == object && error.errnum == EPERM)
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
