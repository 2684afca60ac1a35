// Owns: the steps by which a process of ours becomes a program of the container: the last of a
// start, and those of exec. Must not: make a system call.
#pragma once

#include "base/host_facts.h"
#include "security/seccomp.h"
#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

/// Steps that turn the calling process into `process`: limits, identity, capabilities, filter,
/// program. The barrier is where the parent must give its word.
struct ProcessSteps {
  const ContainerSpec& spec;
  const Process& process;
  const HostFacts& facts;
  const SeccompProgram* seccomp = nullptr;
  Slot root = Slot::none;
  Slot proc = Slot::none;  ///< the host's procfs, where the process has labels
  bool userns = false;
  bool die_with_parent = false;
  bool make_cwd = false;  ///< as runc and crun do for a new container, but not for exec
  int preserve_fds = 0;
  /// fork_into comes last, where the process has no more than the program will have: only with
  /// no_new_privs, since a filter may refuse the fork.
  bool fork_late = false;
  bool early_word = false;        ///< see LaunchPlan::early_word
  bool check_executable = false;  ///< report a missing program before the word of the parent
  Slot start_socket = Slot::none;
  Slot program = Slot::none;  ///< see LaunchOptions::program_fd
};
void add_process_steps(const ProcessSteps& input, Steps& steps);

/// The paths that execvp(3) would try for `args[0]` with the PATH of `env`.
[[nodiscard]] StringList executable_candidates(const Process& process);

/// The container's user namespace has a map that its owner wrote alone (id_maps.h): setgroups(2)
/// fails in it for everybody.
[[nodiscard]] bool setgroups_denied(const ContainerSpec& spec, const HostFacts& facts);

}  // namespace minirun
