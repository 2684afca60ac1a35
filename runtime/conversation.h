// Owns: a first process that the stage sets up, and the talk with it until its program runs
// (docs/architecture.md has the messages). Must not: start it (launch.h, exec.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "cgroups/apply.h"
#include "netns/netdevices.h"
#include "runtime/rdt.h"
#include "runtime/spawn.h"
#include "runtime/state.h"
#include "stage/step.h"
#include "stage/wire.h"

namespace minirun {

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
  std::vector<std::uint32_t> step_nanoseconds;  ///< with timing, by step of the child's plan

  /// Process and cgroup go on without us.
  void keep();
  /// What the destructor does, and what could not be removed.
  [[nodiscard]] Status end();

  Launched() = default;
};

/// One message from the stage. `fd` is -1 unless one came with it. nullopt: end of file; `unread`,
/// if it is asked for, tells whether the other side ended before it had read all that we sent.
struct StageMessage {
  wire::Message message{};
  Fd fd;
  std::vector<std::uint32_t> timings;
};
[[nodiscard]] Result<std::optional<StageMessage>> receive(int channel, int signal_fd,
                                                          bool* unread = nullptr);

/// Notes what the record needs of a process: its start time.
[[nodiscard]] Status observe(Launched& launched);

/// Listens until the child is ready: adopts its fork, runs the hooks, keeps what it sends.
struct Conversation {
  const Steps& steps;  ///< for the words of a failure
  bool forks = false;  ///< the steps have fork_into
  int signal_fd = -1;
  std::function<Status(pid_t)> hooks;
};
[[nodiscard]] Status await_ready(Launched& launched, Child child, const Conversation& talk);

/// Gives the word, for which the child need not be ready, and waits until the program runs. An
/// error is why it does not (describe_failure over `plan.child`).
[[nodiscard]] Status give_word(Launched& launched, const Steps& child, int signal_fd);
/// The same for `start`, which has no plan: `describe` makes the sentence.
[[nodiscard]] Status give_word(Launched& launched,
                               const std::function<Error(const wire::Failure&)>& describe,
                               int signal_fd);

/// The sentence for a failure of the child, which waits where its files may say more.
[[nodiscard]] Error failure_of(const Steps& child, const wire::Failure& failure, pid_t pid);

/// Why a child that closed its channel without a word has ended.
[[nodiscard]] Error explain_death(pid_t pid, const Cgroup* cgroup);

}  // namespace minirun
