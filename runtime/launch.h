// Owns: carrying out a LaunchPlan: the cgroup, the parent's steps, the stage, the clone, until the
// child is ready. Undo is the destructor of what is returned.
// Must not: decide anything that a plan should have said.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/conversation.h"
#include "runtime/plan.h"

namespace minirun {

/// Microseconds of each phase of a start, in order, for `--timing` and the report.
class PhaseClock {
 public:
  void mark(std::string name);
  struct Phase {
    std::string name;
    std::uint64_t microseconds = 0;
  };
  [[nodiscard]] const std::vector<Phase>& phases() const { return phases_; }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::vector<Phase> phases_;
};

struct LaunchContext {
  const HostFacts& facts;
  std::string state_directory;  ///< path of the container's directory, for start.sock
  int signal_fd = -1;           ///< SIGTERM, SIGINT or SIGHUP here abort the launch
  bool timing = false;
  PhaseClock* clock = nullptr;
  /// Runs the hooks of the parent while the child waits; may be empty when there are none.
  std::function<Status(pid_t)> hooks;
  /// Makes the network while the child builds its root; may be empty.
  std::function<Status(pid_t)> network = {};
};

/// Everything up to the child's "ready", or with an early word as soon as it works. Errors: the
/// first failure, already undone, or what was to be undone is in `undone`.
[[nodiscard]] Result<Launched> launch(const LaunchPlan& plan, const LaunchContext& context,
                                      Status& undone);

}  // namespace minirun
