// Owns: who owns the pipes that a container gets as its standard descriptors.
// Must not: touch anything that has a name: a file that a caller redirected stays whose it was.
#pragma once

#include <sys/types.h>

#include <optional>

#include "spec/model.h"

namespace minirun {

/// The host's uid of the program's user; nullopt when its user namespace does not map it.
[[nodiscard]] std::optional<uid_t> host_uid(const ContainerSpec& spec, const Process& process);

/// Gives the anonymous pipes among descriptors 0 to 2 to `uid`, so that a program that is not root
/// can open /dev/stdout (open(2) of a pipe asks for its owner). What is not allowed is left out.
void give_standard_pipes(uid_t uid);

}  // namespace minirun
