// Owns: what --no-pivot changes in a plan, for machines whose root cannot be pivoted away.
// Must not: be used where pivot_root works: docs/engines.md says what it costs.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "runtime/plan.h"

namespace minirun {

/// What a container without pivot_root must not keep in sight of the host's tree.
struct HostMounts {
  StringList on_root;  ///< mounted on the root, the topmost of a stack first
  StringList kernel;   ///< every procfs and sysfs, likewise
};

/// From the text of mountinfo (proc(5)).
[[nodiscard]] HostMounts host_mounts(std::string_view mountinfo);

/// Replaces the pivot of `plan`. Errors: mountinfo cannot be read.
[[nodiscard]] Status change_root_by_chroot(const ContainerSpec& spec, LaunchPlan& plan);

}  // namespace minirun
