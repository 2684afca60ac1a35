#include "netns/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"
#include "spec/network_text.h"

namespace minirun {
namespace {

constexpr const char* loopback_lines =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

void add_line(std::string& text, const std::string& address,
              const std::vector<std::string>& names) {
  std::string line;
  for (const std::string& name : names)
    if (is_host_name(name)) line += (line.empty() ? "" : " ") + name;
  if (!line.empty()) text += fmt::format("{}\t{}\n", address, line);
}

void add_own(std::string& text, const std::map<std::string, std::string>& hosts) {
  for (const auto& [name, address] : hosts) add_line(text, address, {name});
}

}  // namespace

std::string hosts_text(const NetworkEntry& entry, const std::string& id) {
  std::string text = loopback_lines;
  const auto subnet = Subnet::parse(entry.subnet);
  const auto subnet6 = Subnet::parse(entry.subnet6);
  const auto add = [&](std::uint32_t index, const std::vector<std::string>& names) {
    if (subnet) add_line(text, subnet->at(index).text(), names);
    if (subnet6) add_line(text, subnet6->at(index).text(), names);
  };
  const auto own = entry.leases.find(id);
  if (own != entry.leases.end()) {
    add_own(text, own->second.hosts);
    add(own->second.index, own->second.names);  // first: the own name is the own address
  }
  add(1, {"host.minirun.internal", "host.containers.internal"});
  for (const auto& [other, lease] : entry.leases)
    if (other != id) add(lease.index, lease.names);
  return text;
}

std::string hosts_text(const std::map<std::string, std::string>& hosts, const std::string& address,
                       const std::vector<std::string>& names) {
  std::string text = loopback_lines;
  add_own(text, hosts);
  if (!address.empty()) add_line(text, address, names);
  return text;
}

std::string resolv_text(const std::vector<std::string>& dns, const std::string& of_host) {
  std::string text;
  for (const std::string& server : dns) text += fmt::format("nameserver {}\n", server);
  if (!dns.empty()) return text;
  bool left_out = false, any = false;
  for (std::size_t at = 0, end; at < of_host.size(); at = end + 1) {
    end = std::min(of_host.find('\n', at), of_host.size());
    const std::string line = of_host.substr(at, end - at);
    const std::size_t space = line.find_first_of(" \t");
    const std::string word = line.substr(0, space);
    if (word == "search" || word == "options" || word == "domain") text += line + "\n";
    if (word != "nameserver" || space == line.npos) continue;
    const std::size_t from = line.find_first_not_of(" \t", space);
    if (from == line.npos) continue;
    const std::string server = line.substr(from, line.find_first_of(" \t\r", from) - from);
    const auto address = Address::parse(server.substr(0, server.find('%')));
    // A link-local one names an interface that only the host has.
    const bool usable = address && !address->loopback() && server.find('%') == server.npos;
    if (usable) text += fmt::format("nameserver {}\n", server);
    any = any || usable;
    left_out = left_out || !usable;
  }
  if (!any && left_out)
    text = "# the host's name servers are on loopback addresses: say \"dns\"\n" + text;
  return text;
}

std::string read_host_resolv() {
  std::string text = read_file(AT_FDCWD, "/etc/resolv.conf").value_or(std::string());
  // systemd-resolved(8): its stub listens on 127.0.0.53, the real servers are beside it.
  if (text.find("nameserver 127.0.0.53") == text.npos) return text;
  return read_file(AT_FDCWD, "/run/systemd/resolve/resolv.conf").value_or(text);
}

Status make_network_files(int container_fd, const std::string& hosts, const std::string& hostname,
                          const std::string& resolv) {
  // With any umask: the container's users may be others than the owner.
  if (::mkdirat(container_fd, "network", 0755) != 0 ||
      ::fchmodat(container_fd, "network", 0755, 0) != 0)
    return os_error("network", "make the directory of the network files");
  const DirFd directory(
      ::openat(container_fd, "network", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return os_error("network");
  const std::string name_line = hostname.empty() ? std::string() : hostname + "\n";
  for (auto [name, text] : {std::pair{"hosts", &hosts}, std::pair{"hostname", &name_line},
                            std::pair{"resolv.conf", &resolv}}) {
    TRY(write_new_file(directory.get(), name, *text, 0644));
    if (::fchmodat(directory.get(), name, 0644, 0) != 0) return os_error(name);
  }
  return {};
}

Status rewrite_network_file(int root_fd, const std::string& id, const char* name,
                            const std::string& text) {
  const std::string path = fmt::format("{}/network/{}", id, name);
  const Fd file(::openat(root_fd, path.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return errno == ENOENT ? Status() : os_error(path);  // it is just being removed
  // Longer first and cut then: a reader in between sees old lines behind new ones, never none.
  if (::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::ftruncate(file.get(), static_cast<off_t>(text.size())) != 0)
    return os_error(path);
  return {};
}

Status rewrite_hosts(int root_fd, const NetworkEntry& entry) {
  for (const auto& [id, lease] : entry.leases)
    TRY(rewrite_network_file(root_fd, id, "hosts", hosts_text(entry, id)));
  return {};
}

}  // namespace minirun
