// Owns: HostFacts, the small explicit input of the planners. Tests build it by hand.
// Must not: be filled here (cgroups/discovery.h and runtime/facts.h do that).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace minirun {

/// A cgroup v1 hierarchy and the controllers bound to it.
struct CgroupV1Mount {
  std::string mount_point;
  std::vector<std::string> controllers;
  bool operator==(const CgroupV1Mount&) const = default;
};

/// What a cgroup2 mount offers; found from mountinfo, never assumed.
struct CgroupFacts {
  /// We may make cgroups beside our own: root always, others in a subtree that was given to them.
  bool delegated = true;
  std::string mount_point;               ///< empty: no cgroup2 mount at all
  std::vector<std::string> controllers;  ///< cgroup.controllers of the root of that mount
  /// Our own cgroup below the mount, "/" or "/user.slice/..."; empty when it is not below it.
  std::string own_path;
  std::vector<CgroupV1Mount> v1;  ///< who holds the others
  /// False when the mount shows only a subtree: a cgroup namespace, or a delegated bind mount.
  bool hierarchy_root = true;
  std::vector<std::string> disabled;  ///< /proc/cgroups "enabled" 0: cgroup_disable= at boot
  bool operator==(const CgroupFacts&) const = default;
};

/// The resctrl file system, as far as one container's group goes.
struct RdtFacts {
  std::string mount;  ///< empty: not mounted
  bool group_exists = false;
  std::string schemata;  ///< of the group that exists
  bool operator==(const RdtFacts&) const = default;
};

struct HostFacts {
  int kernel_major = 0, kernel_minor = 0;
  uid_t euid = 0;
  gid_t egid = 0;
  bool plain_ids = false;  ///< real, effective and saved ids of ours are the same
  std::uint64_t page_size_bytes = 4096;
  unsigned cpus_online = 1;
  /// What we can pass on (our permitted set): in a container of somebody else's it is not all.
  std::uint64_t capabilities = ~std::uint64_t{0};
  std::uint64_t bounding = ~std::uint64_t{0};  ///< our capability bounding set
  /// Signals that we ignore, and a child would, too: bit n-1 for signal n.
  std::uint64_t ignored_signals = 0;
  bool overlay_lowerdir_append = false;  ///< fsconfig "lowerdir+", Linux 6.8
  /// Layers of an overlay may be detached mounts: clone_private_mount() of Linux 6.15.
  bool overlay_detached_layers = false;
  CgroupFacts cgroup;
  // Found only when a spec needs them (runtime/spec_facts.h).
  bool apparmor = false;  ///< built in and switched on
  bool selinux = false;   ///< has a policy
  RdtFacts rdt;
  std::vector<std::string> idmappable;  ///< overlay layers of the spec that the kernel can idmap
  bool operator==(const HostFacts&) const = default;

  [[nodiscard]] bool kernel_at_least(int major, int minor) const {
    return kernel_major > major || (kernel_major == major && kernel_minor >= minor);
  }
};

}  // namespace minirun
