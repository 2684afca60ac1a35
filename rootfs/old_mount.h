// Owns: what mount(2), which takes one call, can say as well as fsopen(2), fsconfig(2) and
// fsmount(2). Must not: choose a place to mount on, or make a system call.
#pragma once

#include <cstdint>
#include <optional>

#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

/// MOUNT_ATTR_* as MS_*, where there is one for each. Not for MOUNT_ATTR_RDONLY: MS_RDONLY is of
/// the super block, too.
[[nodiscard]] std::optional<std::int64_t> old_flags(std::uint64_t attributes);

/// mount(2) takes one string of all options.
[[nodiscard]] bool fits_one_string(const StringList& options);

/// Lets mount(2) carry out a `make_mount`, where it can say the same. Not in a user namespace,
/// where the host's mounts are locked.
void allow_old_call(Step& step, const ContainerSpec& spec);

}  // namespace minirun
