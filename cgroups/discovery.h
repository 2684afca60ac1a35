// Owns: where cgroup2 is mounted, what it offers, where we are in it, and who holds the rest.
// Must not: mount, write, or decide whether a limit can be set (that is plan.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"

namespace minirun {

/// A cgroup or cgroup2 line of /proc/self/mountinfo (proc(5)), octal escapes resolved.
struct CgroupMount {
  bool v2 = false;
  bool writable = false;  ///< neither the mount nor its super block is read-only
  std::string root;       ///< the part of the hierarchy that is mounted, "/" for all of it
  std::string mount_point;
  std::vector<std::string> super_options;
  bool operator==(const CgroupMount&) const = default;
};

/// A line of /proc/self/cgroup (cgroups(7)); hierarchy 0 is cgroup2.
struct CgroupMembership {
  int hierarchy = 0;
  std::vector<std::string> controllers;  ///< also "name=systemd"
  std::string path;
  bool operator==(const CgroupMembership&) const = default;
};

/// The cgroup and cgroup2 lines of a mountinfo text; malformed lines are skipped.
[[nodiscard]] std::vector<CgroupMount> parse_mountinfo(std::string_view text);
[[nodiscard]] std::vector<CgroupMembership> parse_proc_cgroup(std::string_view text);
/// The names in /proc/cgroups whose "enabled" column is 0.
[[nodiscard]] std::vector<std::string> parse_disabled_controllers(std::string_view text);

/// The cgroup `path` as seen below a mount whose root is `root`; empty when it is not below it
/// (a mount from outside our cgroup namespace has a root like "/..").
[[nodiscard]] std::string path_below_mount(std::string_view path, std::string_view root);

/// The cgroup2 mounts among `mounts`, best first: writable, then those that show everything.
[[nodiscard]] std::vector<CgroupMount> rank_cgroup2_mounts(const std::vector<CgroupMount>& mounts);

/// The v1 hierarchies that hold a controller; without a mount point when none is mounted here.
[[nodiscard]] std::vector<CgroupV1Mount> bound_to_v1(
    const std::vector<CgroupMembership>& memberships, const std::vector<CgroupMount>& mounts);

/// What somebody wants to know; each has what is above it.
enum class CgroupNeeds {
  place,        ///< where cgroup2 is mounted
  controllers,  ///< which it has, and our own cgroup
  everything    ///< who holds the others
};

/// Facts about this process' cgroups. Where the whole hierarchy is mounted at /sys/fs/cgroup, the
/// place takes 2 system calls, the controllers 8.
/// No cgroup2 mount is a fact (an empty mount point), not an error.
/// Errors: /proc/self/cgroup or mountinfo cannot be read.
[[nodiscard]] Result<CgroupFacts> discover_cgroups(CgroupNeeds needs = CgroupNeeds::everything);

}  // namespace minirun
