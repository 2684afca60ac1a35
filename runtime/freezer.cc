#include "runtime/freezer.h"

#include <fmt/format.h>

#include "cgroups/control.h"

namespace minirun {
namespace {

bool moves(ContainerStatus status) {
  return status == ContainerStatus::running || status == ContainerStatus::created;
}

}  // namespace

Result<CgroupFd> open_container_cgroup(const ContainerView& view, const HostFacts& facts) {
  const std::string path = view.cgroup_path();
  if (path.empty())
    return plain_error(view.id, "has no cgroup of its own (--cgroup-manager=disabled)");
  return open_cgroup(facts.cgroup, path);
}

Status pause_container(const ContainerView& view, const HostFacts& facts) {
  if (view.status == ContainerStatus::paused) return plain_error(view.id, "is already paused");
  if (!moves(view.status)) return plain_error(view.id, "container not running");
  return freeze_cgroup(TRY(open_container_cgroup(view, facts)));
}

Status resume_container(const ContainerView& view, const HostFacts& facts) {
  if (view.status != ContainerStatus::paused)
    return plain_error(view.id,
                       moves(view.status) ? "container not paused" : "container not running");
  return thaw_cgroup(TRY(open_container_cgroup(view, facts)));
}

Result<std::vector<pid_t>> container_pids(const ContainerView& view, const HostFacts& facts) {
  if (!moves(view.status) && view.status != ContainerStatus::paused)
    return plain_error(view.id, "container not running");
  if (view.cgroup_path().empty() && view.init) return std::vector<pid_t>(1, view.init->pid);
  const CgroupFd cgroup = TRY(open_container_cgroup(view, facts));
  return cgroup_pids(cgroup, true);
}

}  // namespace minirun
