#include "rootfs/covers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace minirun {

std::string normal_path(std::string_view path) {
  std::string result;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") result.append("/").append(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return result;
}

std::optional<std::string> refused_destination(const Mount& mount) {
  const std::string path = normal_path(mount.destination);
  const bool bind = mount.options.bind || mount.options.recursive_bind;
  if (path == "/proc" && mount.type != "proc" && !(bind && mount.source == "/proc"))
    return fmt::format("\"{}\" takes a proc file system only", path);
  if (!path.starts_with("/proc/")) return std::nullopt;
  static constexpr std::array allowed = {"/proc/cpuinfo",
                                         "/proc/diskstats",
                                         "/proc/meminfo",
                                         "/proc/stat",
                                         "/proc/swaps",
                                         "/proc/uptime",
                                         "/proc/loadavg",
                                         "/proc/slabinfo",
                                         "/proc/sys/kernel/ns_last_pid",
                                         "/proc/sys/crypto/fips_enabled"};
  if (std::ranges::find(allowed, path) != allowed.end()) return std::nullopt;
  // Of the host's own, these say nothing about a process: engines bind them read-only.
  static constexpr std::array same = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                      "/proc/sysrq-trigger"};
  if (bind && mount.source == path && std::ranges::find(same, path) != same.end())
    return std::nullopt;
  return fmt::format("\"{}\" is inside /proc, where a mount could mislead the runtime", path);
}

const Cover* Covers::of(const std::string& path) const {
  for (std::size_t i = covers_.size(); i-- > 0;) {
    const std::string& over = covers_[i].destination;
    if (path.starts_with(over) && (path.size() == over.size() || path[over.size()] == '/'))
      return &covers_[i];
  }
  return nullptr;
}

Known Covers::known(const std::string& written) const {
  const std::string path = normal_path(written);
  const Cover* cover = of(path);
  if (cover == nullptr || cover->mount == Slot::none || path.size() == cover->destination.size())
    return {};
  std::string rest = path.substr(cover->destination.size() + 1);
  const bool process = rest.starts_with("self") || rest.starts_with("thread-self") ||
                       is_digit(rest[0]) || rest.find("..") != std::string::npos;
  return process ? Known{} : Known{cover->mount, std::move(rest)};
}

}  // namespace minirun
