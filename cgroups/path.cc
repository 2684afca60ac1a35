// Owns: where the cgroup of a container is, from linux.cgroupsPath and the id.
// Must not: look whether it exists.
#include <fmt/format.h>

#include "base/text.h"
#include "cgroups/files.h"
#include "cgroups/planners.h"

namespace minirun {
namespace {

constexpr std::size_t kNameMax = 255;   // NAME_MAX
constexpr std::size_t kPathMax = 4095;  // PATH_MAX without its zero

std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? "" : std::string(path.substr(0, slash));
}

// Other users own at most a delegated subtree. Their own cgroup has processes, so that no
// controller can be enabled below it: beside it, then, as runc does.
std::string default_parent(const HostFacts& host) {
  const std::string below = host.euid == 0 ? "" : parent_of(host.cgroup.own_path);
  return below + "/minirun";
}

// A component that is refused, in words; empty when it is fine.
std::string bad_component(std::string_view name) {
  if (name == "..") return "contains \"..\"";
  if (name.size() > kNameMax)
    return fmt::format("has a component of {} bytes, at most {} are possible", name.size(),
                       kNameMax);
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return "contains a control character, which would make /proc/PID/cgroup unreadable";
  return "";
}

}  // namespace

std::string plan_path(const ContainerSpec& spec, const HostFacts& host, std::string_view id,
                      Findings& findings) {
  const bool by_id = spec.cgroups_path.empty();
  const std::string wanted = by_id ? std::string(id) : spec.cgroups_path;
  const auto refuse = [&](std::string why) {
    findings.push_back(
        {Finding::Level::error, by_id ? "" : "/linux/cgroupsPath",
         fmt::format("{} \"{}\" {}", by_id ? "container id" : "cgroup path", wanted, why)});
    return std::string();
  };
  std::string path = wanted.starts_with('/') ? "" : default_parent(host);
  std::size_t components = 0;
  for (std::string_view name : split(wanted, '/')) {
    if (name.empty() || name == ".") continue;
    if (std::string why = bad_component(name); !why.empty()) return refuse(std::move(why));
    path += '/';
    path += name;
    ++components;
  }
  if (components == 0) return refuse("names no cgroup of its own");
  if (by_id && components > 1) return refuse("contains a slash");
  if (path.size() > kPathMax) return refuse(fmt::format("is longer than {} bytes", kPathMax));
  if (!by_id && wanted.find(':') != std::string::npos && wanted.find('/') == std::string::npos)
    findings.push_back({Finding::Level::warning, "/linux/cgroupsPath",
                        fmt::format("\"{}\" looks like systemd's slice:prefix:name; it is taken "
                                    "as the cgroup {}",
                                    wanted, path)});
  return path;
}

}  // namespace minirun
