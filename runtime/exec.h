// Owns: a further process in a running container.
// Must not: decide what it may do: the caller gives the whole Process.
#pragma once

#include <string>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/container.h"
#include "runtime/handover.h"
#include "runtime/run.h"
#include "spec/model.h"

namespace minirun {

struct ExecRequest {
  const ContainerSpec& spec;  ///< of the container: namespaces, seccomp
  const Process& process;     ///< what to run
  const SeccompProgram* seccomp = nullptr;
  bool detach = false;
  int preserve_fds = 0;
  std::string cgroup{};        ///< below the container's own; empty: the container's
  bool ignore_paused = false;  ///< the program then waits for `resume`
  /// A hook: this very file is executed, and nothing is added to the environment. Empty: args[0] is
  /// looked up as for any program.
  std::string program{};
  /// Gets the terminal, the pidfd and the pid before the program runs; may be null.
  Handover* handover = nullptr;
};

struct ExecResult {
  pid_t pid = 0;
  WaitResult end;  ///< empty when detached
};

/// Joins every namespace of init and its cgroup, then runs `process` there. The stage is executed
/// before it joins, so that no file of the host can be reached through /proc in the container
/// (CVE-2019-5736, CVE-2016-9962).
/// Errors: "container not running"; the process could not start (as for run).
[[nodiscard]] Result<ExecResult> exec_in_container(const ContainerView& view,
                                                   const ExecRequest& request,
                                                   const HostFacts& facts);

/// The steps of the child, for tests and --dry-run. Slot 1 is the pidfd of init.
[[nodiscard]] Steps plan_exec(const ExecRequest& request, const HostFacts& facts,
                              const std::string& id, const std::string& nonce);

}  // namespace minirun
