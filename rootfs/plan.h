// Owns: the plan of a container's file systems: which mounts are opened by the parent, which steps
// build the root in the child, before and after the pivot.
// Must not: make a system call, or know how a step is carried out.
#pragma once

#include <string>

#include "base/findings.h"
#include "base/host_facts.h"
#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

struct RootfsInput {
  /// Where our cgroup is in the host's tree; bound into containers without a cgroup namespace.
  std::string cgroup_directory;
  /// Directory with `upper` and `work` in place of a throw-away tmpfs (`run --keep`); may be empty.
  std::string layer_directory;
};

struct RootfsPlan {
  Steps parent;   ///< run by the parent before the clone: sources opened as detached mounts
  Steps build;    ///< in the child: the root, the mounts, devices
  Steps protect;  ///< in the child, still before the pivot: masked and read-only paths
  Steps pivot;    ///< the pivot and what follows from it
  Steps seal;     ///< what becomes read-only when all is made in it
  Slot root = Slot::none;
  Slot proc = Slot::none;  ///< a mount of procfs of the container, attached or not
  Findings findings;
};

/// Errors become findings with the JSON pointer of the field.
[[nodiscard]] RootfsPlan plan_rootfs(const ContainerSpec& spec, const HostFacts& facts,
                                     const RootfsInput& input, Slots& slots);

}  // namespace minirun
