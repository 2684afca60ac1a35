// Owns: why a program could not be executed, in one sentence with cause and remedy: the kernel has
// one errno for a missing file, a missing interpreter and a missing ELF loader, and one for a
// directory, a missing execute bit and a noexec mount. Must not: follow a link out of the
// container's root, block, or execute anything: the files are those of an image that nobody trusts.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "stage/step.h"

namespace minirun {

/// A directory of a container, and where paths that are not absolute begin in it.
struct ProgramPlace {
  int root = -1;          ///< O_PATH descriptor of the root
  std::string directory;  ///< absolute, inside the root
};

/// The cause for execve(2) of `candidates` (those of one search of PATH) to fail with `errnum`;
/// empty where the errno says it all. Reads at most 4 KiB of each candidate that exists.
[[nodiscard]] std::string explain_program(const ProgramPlace& place, const StringList& candidates,
                                          int errnum);

/// "Try again" of a clone into a cgroup, with its limit of processes where that is the reason.
[[nodiscard]] Error explain_clone(Error error, int cgroup);

/// Adds the cause to `error`, the failure of the step `execute` or `check_executable` of a process
/// that still waits; without effect for other steps, or when the process cannot be looked into.
/// The words that engines look for stay: "executable file not found in $PATH", "no such file or
/// directory", "permission denied".
void explain_exec(pid_t pid, const Step& step, Error& error);

}  // namespace minirun
