#include "netns/facts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "base/file.h"

namespace minirun {

std::string find_program(const std::string& name) {
  for (const char* directory : {"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/"}) {
    std::string path = directory + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return {};
}

namespace {

bool switched_on(const std::string& path) {
  const Result<std::string> text = read_file(AT_FDCWD, "/proc/sys/net/" + path, 64);
  return text && text->starts_with('1');
}

std::string device_name(std::uint32_t index) {
  std::array<char, IF_NAMESIZE> name{};
  return ::if_indextoname(index, name.data()) != nullptr ? name.data()
                                                         : fmt::format("interface {}", index);
}

Status read_routes(Netlink& netlink, NetworkFacts& facts) {
  NetlinkMessage message(RTM_GETROUTE, NLM_F_DUMP);
  message.put(rtmsg{});
  std::uint32_t best = 0, uplink = 0;
  for (const std::vector<char>& answer : TRY(netlink.ask(std::move(message), "routes"))) {
    if (answer.size() < sizeof(rtmsg)) continue;
    const auto route = read_number<rtmsg>(answer);
    const auto attributes = std::span<const char>(answer).subspan(sizeof(rtmsg));
    const auto device = read_number<std::uint32_t>(find_attribute(attributes, RTA_OIF));
    if (route.rtm_family != AF_INET && route.rtm_family != AF_INET6) continue;
    if (route.rtm_type != RTN_UNICAST && route.rtm_type != RTN_LOCAL) continue;
    if (route.rtm_dst_len == 0) {
      const auto metric = read_number<std::uint32_t>(find_attribute(attributes, RTA_PRIORITY));
      if (route.rtm_family == AF_INET && device != 0 && (uplink == 0 || metric < best)) {
        uplink = device;
        best = metric;
      }
      continue;
    }
    const auto bytes = find_attribute(attributes, RTA_DST);
    Subnet subnet;
    subnet.base.v6 = route.rtm_family == AF_INET6;
    subnet.prefix = route.rtm_dst_len;
    std::memcpy(subnet.base.bytes.data(), bytes.data(), std::min(bytes.size(), subnet.base.size()));
    if (subnet.base.loopback()) continue;
    facts.routes.push_back({subnet, device_name(device)});
  }
  if (uplink == 0) return {};
  facts.uplink = device_name(uplink);
  facts.uplink_forwarding = switched_on(fmt::format("ipv4/conf/{}/forwarding", facts.uplink));
  if (const Result<Link> link = find_link(netlink, facts.uplink)) facts.uplink_mtu = link->mtu;
  return {};
}

/// 0: free; else the errno of bind(2) for one address.
int try_bind(const Address& address, const PortMapping& port) {
  const Fd fd(::socket(address.v6 ? AF_INET6 : AF_INET,
                       (port.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!fd) return 0;  // a kernel without the family has nobody on the port
  const int on = 1;
  // A connection that is just ending is nobody's port; a listener still is (tcp(7)).
  if (!port.udp) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 six{};
  sockaddr_in four{};
  if (address.v6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port.host_port);
    std::memcpy(&six.sin6_addr, address.bytes.data(), 16);
  } else {
    four.sin_family = AF_INET;
    four.sin_port = htons(port.host_port);
    std::memcpy(&four.sin_addr, address.bytes.data(), 4);
  }
  const void* place = address.v6 ? static_cast<const void*>(&six) : &four;
  const socklen_t size = address.v6 ? sizeof six : sizeof four;
  if (::bind(fd.get(), static_cast<const sockaddr*>(place), size) != 0) return errno;
  // With SO_REUSEADDR bind(2) succeeds beside a bound socket that does not listen.
  return port.udp || ::listen(fd.get(), 1) == 0 ? 0 : errno;
}

/// Why the port cannot be had; empty: it can.
std::string busy(const PortMapping& port, bool ipv6) {
  std::vector<Address> addresses;
  if (const auto host = Address::parse(port.host_ip)) {
    addresses.push_back(*host);
  } else {
    addresses.push_back(*Address::parse("0.0.0.0"));
    if (ipv6) addresses.push_back(*Address::parse("::"));
  }
  for (const Address& address : addresses) {
    const int error = try_bind(address, port);
    if (error == 0 || error == EACCES) continue;
    if (error == EADDRNOTAVAIL)
      return fmt::format("cannot be published on {}: it is no address of this host",
                         address.text());
    if (error != EADDRINUSE) return fmt::format("cannot be had: {}", errno_name(error));
    const std::string holder = port_holder(port);
    return holder.empty() ? "is in use on this host" : "is in use by " + holder;
  }
  return {};
}

}  // namespace

Result<NetworkFacts> discover_network(const Network& network, bool known) {
  NetworkFacts facts;
  facts.root = ::getauxval(AT_EUID) == 0;
  facts.nft = find_program("nft");
  facts.ipv6 = ::access("/proc/sys/net/ipv6", F_OK) == 0 &&
               !switched_on("ipv6/conf/all/disable_ipv6") &&
               !switched_on("ipv6/conf/default/disable_ipv6");
  Netlink netlink = TRY(Netlink::open());
  Result<Link> bridge = find_link(netlink, network.name);
  if (bridge) facts.bridge = std::move(*bridge);
  // ERANGE, EINVAL: not a name that an interface can have; the planner says so.
  else if (bridge.error().errnum != ENODEV && bridge.error().errnum != ERANGE &&
           bridge.error().errnum != EINVAL)
    return std::unexpected(bridge.error());
  if (!known || !facts.bridge) {
    facts.forwarding4 = switched_on("ipv4/ip_forward");
    facts.forwarding6 = switched_on("ipv6/conf/all/forwarding");
    TRY(read_routes(netlink, facts));
  }
  for (const PortMapping& port : network.ports)
    if (std::string why = busy(port, facts.ipv6); !why.empty())
      facts.busy_ports[fmt::format("{}:{}:{}", port.host_ip, port.host_port, port.udp)] =
          std::move(why);
  return facts;
}

namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, CloseDir>;

/// The inodes of the sockets that hold the port (proc_net(5): local address, state, inode).
std::vector<std::string> socket_inodes(const PortMapping& port) {
  std::vector<std::string> inodes;
  for (const char* family : {"", "6"}) {
    const Fd file(::open(fmt::format("/proc/net/{}{}", port.udp ? "udp" : "tcp", family).c_str(),
                         O_RDONLY | O_CLOEXEC));
    std::string text;
    std::array<char, 16384> buffer{};
    for (ssize_t size; file && (size = ::read(file.get(), buffer.data(), buffer.size())) > 0;)
      text.append(buffer.data(), static_cast<std::size_t>(size));
    const std::string wanted = fmt::format(":{:04X}", port.host_port);
    for (std::size_t at = 0, end; at < text.size(); at = end + 1) {
      end = std::min(text.find('\n', at), text.size());
      std::vector<std::string> words;
      for (std::size_t from = at; from < end;) {
        from = text.find_first_not_of(' ', from);
        if (from >= end) break;
        const std::size_t to = std::min(text.find(' ', from), end);
        words.push_back(text.substr(from, to - from));
        from = to;
      }
      const bool listens = port.udp || (words.size() > 3 && words[3] == "0A");
      if (words.size() > 9 && words[1].ends_with(wanted) && listens) inodes.push_back(words[9]);
    }
  }
  return inodes;
}

bool holds(const std::string& process, const std::vector<std::string>& inodes) {
  const std::string path = "/proc/" + process + "/fd";
  const Directory dir(::opendir(path.c_str()));
  if (!dir) return false;
  while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe)
    std::array<char, 64> target{};
    const ssize_t size =
        ::readlinkat(::dirfd(dir.get()), entry->d_name, target.data(), target.size());
    if (size <= 0) continue;
    const std::string_view link(target.data(), static_cast<std::size_t>(size));
    for (const std::string& inode : inodes)
      if (link == fmt::format("socket:[{}]", inode)) return true;
  }
  return false;
}

}  // namespace

std::string port_holder(const PortMapping& port) {
  const std::vector<std::string> inodes = socket_inodes(port);
  const Directory dir(inodes.empty() ? nullptr : ::opendir("/proc"));
  if (!dir) return {};
  while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string name = entry->d_name;
    if (name.find_first_not_of("0123456789") != name.npos || !holds(name, inodes)) continue;
    std::string command =
        read_file(AT_FDCWD, "/proc/" + name + "/comm", 64).value_or(std::string());
    std::erase_if(command, [](char c) { return c < ' ' || c == 0x7f; });
    return fmt::format("{} (pid {})", command, name);
  }
  return {};
}

}  // namespace minirun
