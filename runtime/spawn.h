// Owns: the way into the stage: its sealed memory file, the clone, the descriptors that it is sent.
// Must not: know a plan, a container or a cgroup's path (launch.h and exec.h do).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "stage/step.h"

namespace minirun {

/// The sealed memory file with the stage and a program, and where the program is in it.
struct Stage {
  Fd file;
  std::size_t program_offset = 0;
  std::size_t program_size = 0;
};
[[nodiscard]] Result<Stage> make_stage(const Steps& child, int fd_count, bool timing);

struct Child {
  pid_t pid = 0;
  PidFd pidfd;
  Fd channel;
};
/// clone3 with `flags` into `cgroup` (-1: ours), which executes the stage. With `wait_for_maps`
/// it first waits for a byte, and then becomes root of its user namespace. It inherits the
/// descriptors 3 to 2 + `preserve_fds`.
[[nodiscard]] Result<Child> spawn_stage(const Stage& stage, std::uint64_t flags, int cgroup,
                                        bool wait_for_maps, int preserve_fds);
/// Sends the stage's file and slots 1 .. count-1 of `slots`.
[[nodiscard]] Status send_slots(const Child& child, const Stage& stage,
                                const std::vector<int>& slots, int count);

}  // namespace minirun
