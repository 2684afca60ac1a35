// Owns: the network of users without rights: pasta(1) connects a network namespace through sockets
// of the caller.
// Must not: be used by root, who has bridges.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "netns/plan.h"

namespace minirun {

/// The command, without the pid at its end; `pid_file` is where it tells its own.
[[nodiscard]] std::vector<std::string> plan_pasta(const std::string& program,
                                                  const Network& network,
                                                  const std::string& pid_file);

/// Starts it; it goes on in the background when the network is there.
[[nodiscard]] Status start_pasta(std::vector<std::string> command, pid_t pid);

/// Ends the pasta that wrote `pid_file` (below `directory`), when it is one still, or that was told
/// to and has not yet. The file is in a folder of its container's.
[[nodiscard]] Status end_pasta(int directory, const std::string& pid_file);

}  // namespace minirun
