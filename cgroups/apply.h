// Owns: a container's cgroup as an object: made from a plan, undone unless it is kept.
// Must not: decide anything; what cannot be done as planned is an error.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/control.h"
#include "cgroups/plan.h"

namespace minirun {

/// The cgroup of one container. Until keep(), its end kills what lives in it and removes the
/// directories that it made, the emptied parents too.
class Cgroup {
 public:
  /// Makes the directories, enables the controllers along the path, writes all values in order,
  /// attaches the device filter. Errors name the file, the value and the user's field; on error
  /// nothing is left but controllers enabled in ancestors, which others may use by now.
  /// An existing cgroup is taken when nobody is in it and it is not frozen.
  [[nodiscard]] static Result<Cgroup> create(const CgroupPlan& plan, const CgroupFacts& facts);

  Cgroup(Cgroup&& other) noexcept;
  Cgroup& operator=(Cgroup&& other) noexcept;
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  ~Cgroup();

  /// For CLONE_INTO_CGROUP, read_stats and control.h.
  [[nodiscard]] const CgroupFd& fd() const { return leaf_; }
  /// Below the mount, absolute.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Gives up responsibility: the cgroup stays.
  void keep() { kept_ = true; }
  /// Kills, removes, and says what went wrong. After that the object does nothing.
  [[nodiscard]] Status remove();

 private:
  Cgroup() = default;
  friend struct CgroupMaker;

  DirFd mount_;
  CgroupFd leaf_;
  std::string path_;
  std::vector<std::string> made_;  ///< relative paths, outermost first; the leaf last
  bool kept_ = true;
};

/// Writes the values of a plan made with CgroupPlanOptions::update into an existing cgroup and
/// enables the controllers that it did not have. Devices: see replace_device_filter.
/// When one fails, those before it are put back, last first; what cannot be is in the error.
[[nodiscard]] Status update_cgroup(const CgroupPlan& plan, const CgroupFacts& facts);

/// Gives the directory and the files of /sys/kernel/cgroup/delegate (cgroup.procs and its like,
/// never a limit) to the container's root, by ids of this user namespace. Only for a container
/// with its own cgroup namespace and a writable cgroup mount (OCI config-linux.md, "Cgroup
/// ownership"). Errors: EPERM.
[[nodiscard]] Status delegate_cgroup(const CgroupFd& cgroup, uid_t uid, gid_t gid);

}  // namespace minirun
