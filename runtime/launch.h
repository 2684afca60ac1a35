// Owns: carrying out a LaunchPlan: the cgroup, the parent's steps, the stage, the clone, the talk
// with the child until its program runs. Undo is the destructor of what is returned.
// Must not: decide anything that a plan should have said.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/apply.h"
#include "netns/netdevices.h"
#include "runtime/plan.h"
#include "runtime/spawn.h"
#include "runtime/state.h"

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
};

/// A container whose first process is set up and waits for the word, or runs. Until keep() its
/// end kills the process and removes the cgroup.
class Launched {
 public:
  Launched(Launched&&) noexcept = default;
  Launched& operator=(Launched&&) noexcept = default;
  ~Launched();

  Init init;
  PidFd pidfd;
  std::optional<Cgroup> cgroup;
  std::optional<RdtGroup> rdt;
  std::optional<MovedDevices> devices;
  Fd channel;
  Fd console;  ///< master of the terminal, when the plan has one
  /// Gets the listener of a filter with SCMP_ACT_NOTIFY; the program begins only after it.
  std::function<Status(int)> on_listener;
  std::uint64_t ignored_signals = 0;
  std::vector<std::uint32_t> step_nanoseconds;  ///< with timing, by step of the child's plan

  /// Process and cgroup go on without us.
  void keep();
  /// What the destructor does, and what could not be removed.
  [[nodiscard]] Status end();

  Launched() = default;
};

/// Everything up to the child's "ready". Errors: the first failure, already undone, or what was to
/// be undone is in `undone`.
[[nodiscard]] Result<Launched> launch(const LaunchPlan& plan, const LaunchContext& context,
                                      Status& undone);

/// Gives the word. With `until_exec` waits until the program runs; an error is then the payload's
/// own failure to start (describe_failure over `plan.child`).
[[nodiscard]] Status give_word(Launched& launched, const Steps& child, int signal_fd,
                               bool until_exec);
/// The same for `start`, which has no plan: `describe` makes the sentence. Waits until the exec.
[[nodiscard]] Status give_word(Launched& launched,
                               const std::function<Error(const wire::Failure&)>& describe,
                               int signal_fd);

// ---- parts that exec and start share

/// Listens until the child is ready: adopts its fork, runs the hooks, keeps what it sends.
struct Conversation {
  const Steps& steps;  ///< for the words of a failure
  bool forks = false;  ///< the steps have fork_into
  int signal_fd = -1;
  std::function<Status(pid_t)> hooks;
};
[[nodiscard]] Status await_ready(Launched& launched, Child child, const Conversation& talk);

/// One message from the stage. `fd` is -1 unless one came with it. nullopt: end of file.
struct StageMessage {
  wire::Message message{};
  Fd fd;
  std::vector<std::uint32_t> timings;
};
[[nodiscard]] Result<std::optional<StageMessage>> receive(int channel, int signal_fd);

/// Why a child that closed its channel without a word has ended.
[[nodiscard]] Error explain_death(pid_t pid, const Cgroup* cgroup);

}  // namespace minirun
