#include "runtime/abort_signal.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

namespace minirun {

std::optional<std::string> take_abort(int signal_fd) {
  signalfd_siginfo info{};
  if (::read(signal_fd, &info, sizeof info) != sizeof info) return std::nullopt;
  const auto signal = static_cast<int>(info.ssi_signo);
  if (signal != SIGTERM && signal != SIGINT && signal != SIGHUP && signal != SIGQUIT)
    return std::nullopt;
  return fmt::format("SIG{}", ::sigabbrev_np(signal));
}

}  // namespace minirun
