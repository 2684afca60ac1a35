// Owns: the way into the stage: its sealed memory file and the clone.
// Must not: know a plan, a container or a cgroup's path (launch.h and exec.h do).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "stage/step.h"

namespace minirun {

/// The sealed memory file with the stage and a program, whose slots are these descriptors of ours
/// (-1: not yet there).
[[nodiscard]] Result<Fd> make_stage(const Steps& child, std::span<const int> slots, bool timing);

struct Child {
  pid_t pid = 0;
  PidFd pidfd;
  Fd channel;
};
struct SpawnOptions {
  std::uint64_t flags = 0;  ///< CLONE_NEW*
  int cgroup = -1;          ///< where it begins; -1: in ours
  /// It first waits for a byte, then becomes root of its user namespace.
  bool wait_for_maps = false;
  int preserve_fds = 0;         ///< it inherits the descriptors 3 to 2 + this
  std::vector<int> spent = {};  ///< of ours, closed after it; still the caller's when it fails
};
/// clone3(2); the child executes the stage, inherits the slots that it was made with, and dies with
/// its parent.
[[nodiscard]] Result<Child> spawn_stage(const Fd& stage, std::span<const int> slots,
                                        const SpawnOptions& options);

}  // namespace minirun
