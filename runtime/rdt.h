// Owns: linux.intelRdt: the group of the resctrl file system that a container's processes are in
// (class of service and monitoring), its rules, and its removal when minirun made it. Must not:
// write to a resctrl file system that no spec asked for.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/findings.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// What is done below the mount of resctrl. All paths are absolute; empty: nothing of this kind.
struct RdtPlan {
  std::string group;                  ///< whose `tasks` the container's processes are written to
  bool make_group = false;            ///< it does not exist yet, and is removed with the container
  std::string monitor;                ///< monitoring group below `group`, made and removed by us
  std::vector<std::string> schemata;  ///< one write each, in order
  bool operator==(const RdtPlan&) const = default;
};

/// The mount point of resctrl in a mountinfo(5); empty when it is not mounted.
[[nodiscard]] std::string find_resctrl(std::string_view mountinfo);

/// What the planner needs: is the group there, and what does its schemata file say.
[[nodiscard]] RdtFacts read_rdt_facts(const std::string& mount, const IntelRdt& rdt,
                                      std::string_view id);

/// Errors (findings at /linux/intelRdt): no resctrl mounted; a group that is there with other
/// values; a closID without any schema that is not there.
[[nodiscard]] RdtPlan plan_rdt(const IntelRdt& rdt, std::string_view id, const RdtFacts& facts,
                               Findings& findings);

/// Where a further process of the container goes (exec).
[[nodiscard]] std::string rdt_group(const IntelRdt& rdt, std::string_view id,
                                    const std::string& mount);

/// The groups that were made. Until keep() its end removes them.
class RdtGroup {
 public:
  static Result<RdtGroup> create(const RdtPlan& plan);
  /// The groups that a running container is in, for exec.
  static RdtGroup of_container(const IntelRdt& rdt, std::string_view id, const std::string& mount);
  RdtGroup(RdtGroup&& other) noexcept;
  RdtGroup& operator=(RdtGroup&& other) noexcept;
  ~RdtGroup();

  /// Puts a process, and so all that it will start, into the groups.
  [[nodiscard]] Status add(pid_t pid) const;
  void keep() { made_.clear(); }

 private:
  RdtGroup() = default;
  std::vector<std::string> tasks_;
  std::vector<std::string> made_;  ///< outermost first
};

/// Removes groups that a container had, innermost first; what is gone already is no error.
[[nodiscard]] Status remove_rdt(const std::vector<std::string>& groups);
/// Of a plan: the groups that are made, outermost first, for the record.
[[nodiscard]] std::vector<std::string> groups_made(const RdtPlan& plan);

}  // namespace minirun
