// Owns: the plan of /dev: the nodes and links that every container has, and those of the spec.
// Must not: make a system call.
#pragma once

#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

/// Adds the steps for devices. In a user namespace mknod(2) is refused, so the parent opens the
/// host's nodes as mounts and they are bound.
void plan_devices(const ContainerSpec& spec, bool userns, Slot root, Slots& slots, Steps& parent,
                  Steps& build);

}  // namespace minirun
