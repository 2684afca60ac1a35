// The start path of every container: nothing is read that the answer does not need. mountinfo is
// left as soon as it has told all, because it has thousands of lines on a full node.
#include "cgroups/discovery.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/fd.h"
#include "base/text.h"
#include "cgroups/files.h"

namespace minirun {
namespace {

// "\040" and its like: the kernel escapes space, tab, newline and backslash (seq_path).
std::string unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(i + 1) && is_octal(i + 2) &&
        is_octal(i + 3)) {
      const int code = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      out += static_cast<char>(code);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_token(std::string_view list, std::string_view token) {
  const auto parts = split(list, ',');
  return std::find(parts.begin(), parts.end(), token) != parts.end();
}

// 36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup2 source rw,nsdelegate
std::optional<CgroupMount> parse_mount_line(std::string_view line) {
  // Paths are escaped, so that " - " is the separator and nothing else.
  const std::size_t dash = line.find(" - cgroup");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto left = split(line.substr(0, dash), ' ');
  const auto right = split(line.substr(dash + 3), ' ');
  if (left.size() < 6 || right.size() < 3) return std::nullopt;
  if (right[0] != "cgroup" && right[0] != "cgroup2") return std::nullopt;
  CgroupMount mount;
  mount.v2 = right[0] == "cgroup2";
  mount.root = unescape(left[3]);
  mount.mount_point = unescape(left[4]);
  mount.writable = has_token(left[5], "rw") && has_token(right[2], "rw");
  for (std::string_view option : split(right[2], ',')) mount.super_options.emplace_back(option);
  return mount;
}

bool is_named(const CgroupMembership& membership) {
  return membership.controllers.size() == 1 && membership.controllers[0].starts_with("name=");
}

bool holds_controllers(const CgroupMembership& membership) {
  return membership.hierarchy != 0 && !membership.controllers.empty() && !is_named(membership);
}

bool shares_controller(const CgroupMount& mount, const CgroupMembership& membership) {
  return std::any_of(
      membership.controllers.begin(), membership.controllers.end(), [&](const std::string& name) {
        return std::find(mount.super_options.begin(), mount.super_options.end(), name) !=
               mount.super_options.end();
      });
}

// All that can be wanted is known: a writable cgroup2 mount of everything, and a place for every
// v1 hierarchy that holds a controller.
bool complete(const std::vector<CgroupMembership>& memberships,
              const std::vector<CgroupMount>& mounts) {
  const bool v2 = std::any_of(mounts.begin(), mounts.end(), [](const CgroupMount& mount) {
    return mount.v2 && mount.writable && mount.root == "/";
  });
  return v2 && std::all_of(memberships.begin(), memberships.end(), [&](const auto& membership) {
           return !holds_controllers(membership) ||
                  std::any_of(mounts.begin(), mounts.end(), [&](const CgroupMount& mount) {
                    return !mount.v2 && shares_controller(mount, membership);
                  });
         });
}

Result<std::vector<CgroupMount>> scan_mountinfo(const std::vector<CgroupMembership>& memberships,
                                                bool stop_early) {
  const Fd fd(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!fd) return os_error("/proc/self/mountinfo");
  std::vector<CgroupMount> mounts;
  std::string pending;
  std::array<char, 16384> chunk;  // the kernel hands out about a page per read
  for (;;) {
    const ssize_t n = TEMP_FAILURE_RETRY(::read(fd.get(), chunk.data(), chunk.size()));
    if (n < 0) return os_error("/proc/self/mountinfo");
    if (n == 0) return mounts;
    pending.append(chunk.data(), static_cast<std::size_t>(n));
    const std::size_t end = pending.rfind('\n');
    if (end == std::string::npos) continue;
    for (CgroupMount& mount : parse_mountinfo(std::string_view(pending).substr(0, end)))
      mounts.push_back(std::move(mount));
    pending.erase(0, end + 1);
    if (stop_early && complete(memberships, mounts)) return mounts;
  }
}

// A file of procfs or cgroupfs in one read where it is shorter than the buffer: single_open()
// files are never handed out in pieces that fit.
Result<std::string> read_short(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return os_error(path);
  std::array<char, 4096> buffer;
  const ssize_t n = TEMP_FAILURE_RETRY(::read(fd.get(), buffer.data(), buffer.size()));
  if (n < 0) return os_error(path);
  std::string text(buffer.data(), static_cast<std::size_t>(n));
  if (static_cast<std::size_t>(n) == buffer.size()) text += TRY(read_all(fd.get(), path));
  return text;
}

bool lacks_usual_controller(const CgroupFacts& facts) {
  constexpr std::array<std::string_view, 5> kUsual{"cpu", "cpuset", "memory", "io", "pids"};
  return std::any_of(kUsual.begin(), kUsual.end(), [&](std::string_view name) {
    return std::find(facts.controllers.begin(), facts.controllers.end(), name) ==
           facts.controllers.end();
  });
}

// Why a controller may be missing costs system calls, so it is asked only where one is missing.
void learn_why(CgroupFacts& facts) {
  // Only the root of the hierarchy has no cgroup.type.
  facts.hierarchy_root = ::access((facts.mount_point + "/cgroup.type").c_str(), F_OK) != 0;
  if (const auto table = read_short("/proc/cgroups"))
    facts.disabled = parse_disabled_controllers(*table);
}

constexpr const char* kUsualPlace = "/sys/fs/cgroup";

/// Whether all of cgroup2 is mounted at `path`, for writing, as systemd and everybody else does.
bool is_whole_hierarchy(const char* path) {
  struct statfs fs{};
  struct stat info{};
  if (::statfs(path, &fs) != 0 || fs.f_type != CGROUP2_SUPER_MAGIC || (fs.f_flags & ST_RDONLY) != 0)
    return false;
  // The inode of a cgroup is its number, and only that of the hierarchy's root is 1.
  return ::stat(path, &info) == 0 && info.st_ino == 1;
}

/// False: there is no such file.
bool read_controllers(CgroupFacts& facts) {
  const auto text = read_short(facts.mount_point + "/cgroup.controllers");
  if (!text) return false;
  for (std::string_view name : split_words(*text)) facts.controllers.emplace_back(name);
  return true;
}

bool adopt(CgroupFacts& facts, const std::vector<CgroupMount>& mounts, std::string_view own) {
  for (const CgroupMount& mount : rank_cgroup2_mounts(mounts)) {
    // A mount can be hidden by one above it; then the next one may still be visible.
    facts.mount_point = mount.mount_point;
    if (!read_controllers(facts)) continue;
    facts.own_path = path_below_mount(own, mount.root);
    return true;
  }
  return false;
}

}  // namespace

std::vector<CgroupMount> parse_mountinfo(std::string_view text) {
  std::vector<CgroupMount> mounts;
  for (std::string_view line : split(text, '\n'))
    if (auto mount = parse_mount_line(line)) mounts.push_back(*std::move(mount));
  return mounts;
}

std::vector<CgroupMembership> parse_proc_cgroup(std::string_view text) {
  std::vector<CgroupMembership> memberships;
  for (std::string_view line : split(text, '\n')) {
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    CgroupMembership membership;
    const char* const begin = line.data();
    const auto number = std::from_chars(begin, begin + first, membership.hierarchy);
    if (number.ec != std::errc{} || number.ptr != begin + first) continue;
    for (std::string_view name : split(line.substr(first + 1, second - first - 1), ','))
      membership.controllers.emplace_back(name);
    membership.path = line.substr(second + 1);
    constexpr std::string_view kDeleted = " (deleted)";
    if (membership.path.ends_with(kDeleted))
      membership.path.resize(membership.path.size() - kDeleted.size());
    memberships.push_back(std::move(membership));
  }
  return memberships;
}

std::vector<std::string> parse_disabled_controllers(std::string_view text) {
  std::vector<std::string> names;
  for (std::string_view line : split(text, '\n')) {
    const auto words = split_words(line);
    if (words.size() == 4 && !words[0].starts_with('#') && words[3] == "0")
      names.emplace_back(words[0]);
  }
  return names;
}

std::string path_below_mount(std::string_view path, std::string_view root) {
  if (path.starts_with("/..")) return "";  // we are outside of our cgroup namespace's root
  if (root == "/") return std::string(path);
  if (path == root) return "/";
  if (path.starts_with(root) && path[root.size()] == '/')
    return std::string(path.substr(root.size()));
  return "";
}

std::vector<CgroupMount> rank_cgroup2_mounts(const std::vector<CgroupMount>& mounts) {
  std::vector<CgroupMount> ranked;
  for (const CgroupMount& mount : mounts)
    if (mount.v2) ranked.push_back(mount);
  const auto rank = [](const CgroupMount& mount) {
    return (mount.writable ? 0 : 2) + (mount.root == "/" ? 0 : 1);
  };
  std::stable_sort(ranked.begin(), ranked.end(),
                   [&](const CgroupMount& a, const CgroupMount& b) { return rank(a) < rank(b); });
  return ranked;
}

std::vector<CgroupV1Mount> bound_to_v1(const std::vector<CgroupMembership>& memberships,
                                       const std::vector<CgroupMount>& mounts) {
  std::vector<CgroupV1Mount> v1;
  for (const CgroupMembership& membership : memberships) {
    if (!holds_controllers(membership)) continue;
    CgroupV1Mount bound{"", membership.controllers};
    for (const CgroupMount& mount : mounts) {
      if (mount.v2 || !shares_controller(mount, membership)) continue;
      bound.mount_point = mount.mount_point;
      break;
    }
    v1.push_back(std::move(bound));
  }
  return v1;
}

Result<CgroupFacts> discover_cgroups(CgroupNeeds needs) {
  const bool why_missing = needs == CgroupNeeds::everything;
  CgroupFacts facts;
  if (is_whole_hierarchy(kUsualPlace)) facts.mount_point = kUsualPlace;
  if (needs == CgroupNeeds::place && !facts.mount_point.empty()) return facts;
  auto memberships = parse_proc_cgroup(TRY(read_short("/proc/self/cgroup")));
  if (!why_missing)  // nobody will ask which v1 hierarchy holds what
    std::erase_if(memberships, [](const CgroupMembership& m) { return m.hierarchy != 0; });
  std::string own;
  for (const CgroupMembership& membership : memberships)
    if (membership.hierarchy == 0) own = membership.path;
  if (!facts.mount_point.empty()) {
    facts.own_path = path_below_mount(own, "/");
    read_controllers(facts);
    if (!why_missing || !lacks_usual_controller(facts)) return facts;
    facts = CgroupFacts();
  }
  auto mounts = TRY(scan_mountinfo(memberships, true));
  if (!adopt(facts, mounts, own)) {
    mounts = TRY(scan_mountinfo(memberships, false));  // the first one was hidden
    if (!adopt(facts, mounts, own)) facts.mount_point.clear();
  }
  facts.v1 = bound_to_v1(memberships, mounts);
  if (why_missing && !facts.mount_point.empty() && lacks_usual_controller(facts)) learn_why(facts);
  return facts;
}

}  // namespace minirun
