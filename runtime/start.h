// Owns: `start`: the word to a container that was created and waits at its start.sock.
// Must not: print.
#pragma once

#include <string>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/hooks.h"
#include "runtime/state.h"

namespace minirun {

/// Runs the startContainer hooks, gives the word, waits until the program executes, runs the
/// poststart hooks, and with a NOTIFY_SOCKET waits for READY=1.
/// Errors: "cannot start an already running container" and the like, in the words of runc; the
/// program's own failure to execute (object "process.args"), the container is then stopped; a hook
/// that failed, the container is then gone.
[[nodiscard]] Status start_container(const StateRoot& root, const std::string& id,
                                     const HostFacts& facts, const Warn& warn);

}  // namespace minirun
