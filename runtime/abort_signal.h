// Owns: which of the pending signals ask minirun to stop what it waits for.
// Must not: decide what stopping means.
#pragma once

#include <optional>
#include <string>

namespace minirun {

/// Takes one pending signal from a signalfd(2). "SIGTERM" when it asks us to stop (SIGTERM, SIGINT,
/// SIGHUP or SIGQUIT); absent when it is another one or none is pending.
[[nodiscard]] std::optional<std::string> take_abort(int signal_fd);

}  // namespace minirun
