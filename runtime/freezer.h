// Owns: pausing and resuming a container, and the list of its processes.
// Must not: print, or keep a state: paused is what cgroup.events says.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/container.h"

namespace minirun {

/// The container's cgroup. Error: it has none of its own (--cgroup-manager=disabled).
[[nodiscard]] Result<CgroupFd> open_container_cgroup(const ContainerView& view,
                                                     const HostFacts& facts);

/// Returns when all of it stands still (cgroup.events says so). One that is created can be paused
/// too. Errors: not running; already paused; a process in uninterruptible sleep (taken back).
[[nodiscard]] Status pause_container(const ContainerView& view, const HostFacts& facts);

/// Returns when it moves again. Errors: not paused; a cgroup above it is frozen.
[[nodiscard]] Status resume_container(const ContainerView& view, const HostFacts& facts);

/// The processes of a live container, those in cgroups of its own making too; without a cgroup
/// only its first process. Error "container not running".
[[nodiscard]] Result<std::vector<pid_t>> container_pids(const ContainerView& view,
                                                        const HostFacts& facts);

}  // namespace minirun
