// Owns: new limits for a live container: what changes, what that means beside the old values, the
// writes, and the file resources.json in which the result is kept for `state`, `explain` and exec.
// Must not: touch the device rules, or print.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/findings.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/plan.h"
#include "runtime/container.h"
#include "spec/model.h"

namespace minirun {

/// The fields that are given; absent ones stay as they are. Origins are keyed as in ContainerSpec
/// and name what the user wrote ("--memory", "linux.resources.memory.limit"). Device rules in it
/// are not looked at.
struct ResourceUpdate {
  Resources resources;
  std::map<std::string, Origin> origins;
};

/// What the kernel has now and an update depends on; absent: no such file.
struct CurrentLimits {
  std::optional<std::int64_t> quota_us;  ///< -1: none
  std::optional<std::uint64_t> period_us, burst_us;
  bool idle = false;
};
[[nodiscard]] Result<CurrentLimits> read_current_limits(const CgroupFd& cgroup);

struct UpdatePlan {
  CgroupPlan cgroup;  ///< the writes of what changes, and nothing else
  Resources result;   ///< all of the container's resources after it
  Findings findings;  ///< errors: it must not be carried out
};

/// Pure. `spec` is the container's, with what earlier updates changed. When the memory limit alone
/// changes, the container's allowance of swap stays, and with it the sum that OCI calls `swap`.
[[nodiscard]] UpdatePlan plan_update(const ContainerSpec& spec, const ContainerView& view,
                                     const ResourceUpdate& update, const CurrentLimits& now,
                                     const HostFacts& facts);

/// Writes the values in order; when one fails, those before it are put back. Then stores the
/// result. Errors: the file, the value and the field; and what could not be put back.
[[nodiscard]] Status apply_update(const ContainerDir& dir, const UpdatePlan& plan,
                                  const ResourceUpdate& update, const HostFacts& facts);

/// Lock, read, plan, apply: all that `minirun update` does. Findings that are errors leave
/// everything as it was. `spec` as config.json has it. Errors: "container not running"; another
/// update holds the lock for ContainerDir::lock_seconds.
[[nodiscard]] Result<Findings> update_container(const ContainerDir& dir, const ContainerView& view,
                                                ContainerSpec spec, const ResourceUpdate& update,
                                                const HostFacts& facts);

/// Puts what updates have stored into `spec`; without any it stays as it is.
/// Errors: resources.json cannot be read.
[[nodiscard]] Status apply_stored_resources(const ContainerDir& dir, ContainerSpec& spec);

/// Keeps `resources` as what the container has now, for whoever wrote the files himself (`resize`).
/// Errors: as update_container.
[[nodiscard]] Status store_resources(const ContainerDir& dir, const Resources& resources);

/// resources.json as it is; nullopt: the container was never updated.
[[nodiscard]] Result<std::optional<std::string>> stored_resources(const ContainerDir& dir);

/// `resources` without its device rules as the linux.resources object of the OCI specification.
[[nodiscard]] std::string resources_json(const Resources& resources);

}  // namespace minirun
