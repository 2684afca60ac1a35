// Owns: the decision whether a container's cgroup belongs to its user (config-linux.md "Cgroup
// ownership"), so that what runs in it can make cgroups of its own below.
// Must not: change an owner (cgroups/apply.h does), or guess an id that it cannot know.
#pragma once

#include <sys/types.h>

#include <optional>

#include "spec/model.h"

namespace minirun {

/// The uid on the host that gets the cgroup: of process.user.uid, where there is a new cgroup
/// namespace and a mount of the cgroup file system that is writable. nullopt: it stays ours.
[[nodiscard]] std::optional<uid_t> cgroup_owner(const ContainerSpec& spec);

}  // namespace minirun
