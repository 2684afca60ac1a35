// Owns: `run` from a validated spec to the end: foreground with signals, terminal, timeout and the
// result, or detached.
// Must not: read arguments or print.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/container.h"
#include "runtime/handover.h"
#include "runtime/hooks.h"
#include "runtime/notify.h"
#include "runtime/plan.h"
#include "runtime/report.h"
#include "runtime/state.h"
#include "runtime/terminal.h"
#include "spec/model.h"

namespace minirun {

struct RunRequest {
  const ContainerSpec& spec;
  Record record;         ///< bundle, rootfs, format ...; ids and times are filled in here
  std::string document;  ///< the bytes of the spec, as they were given
  const StateRoot& root;
  bool timing = false;
  bool measure = false;  ///< read the counters at the end: somebody asks for them
  std::optional<std::chrono::milliseconds> timeout;
  const SeccompProgram* seccomp = nullptr;  ///< compiled, for startContainer hooks
  HandoverPaths handover{};
  Warn warn{};  ///< told what does not stop the command
};

/// Blocks and collects the signals of a command.
class SignalFd {
 public:
  static Result<SignalFd> open(const HostFacts& facts);
  SignalFd(SignalFd&&) noexcept = default;
  SignalFd& operator=(SignalFd&&) = delete;
  ~SignalFd();
  [[nodiscard]] int get() const { return fd_.get(); }

 private:
  SignalFd() = default;
  Fd fd_;
};

/// Has the listener of the first process's filter sent to linux.seccomp.listenerPath. All three
/// must live until the word is given.
void serve_listener(Launched& launched, const ContainerSpec& spec, const Record& record);

/// Runs to the end. Errors: the container did not start; nothing is left.
[[nodiscard]] Result<RunResult> run_foreground(RunRequest request, const LaunchPlan& plan,
                                               const HostFacts& facts, PhaseClock& clock,
                                               std::vector<std::uint32_t>* step_times);

/// Starts it and returns when its program runs, or, when the plan has a start socket, as soon as it
/// waits there (`create`). The pid of init, which is a child of this process.
[[nodiscard]] Result<pid_t> run_detached(RunRequest request, const LaunchPlan& plan,
                                         const HostFacts& facts, PhaseClock& clock);

/// Waits for `pidfd` and forwards signals and terminal; shared by run and exec.
struct WaitOptions {
  int signal_fd = -1;
  pid_t pid = 0;
  int pidfd = -1;
  TerminalProxy* terminal = nullptr;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  const CgroupFd* cgroup = nullptr;  ///< killed at the deadline, or on the third interrupt
  NotifyProxy* notify = nullptr;     ///< passed on while we wait
};
struct WaitResult {
  std::optional<int> exit_code, signal;
  bool timed_out = false;
};
[[nodiscard]] Result<WaitResult> wait_for(const WaitOptions& options);

}  // namespace minirun
