// Owns: NOTIFY_SOCKET between a service manager and a container (sd_notify(3)): the container
// gets a socket of its own, and what it may say is passed on.
// Must not: pass on what concerns processes or descriptors of the host (MAINPID, FDSTORE, BARRIER).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// Where the container finds its socket.
inline constexpr std::string_view notify_directory = "/run/notify";
inline constexpr std::string_view notify_name = "notify.sock";

/// $NOTIFY_SOCKET of our caller; nullopt when there is none.
[[nodiscard]] std::optional<std::string> callers_notify_socket();

/// The lines of a datagram that are passed on; `ready` tells whether READY=1 is among them.
[[nodiscard]] std::string filter_notification(std::string_view datagram, bool& ready);

class NotifyProxy {
 public:
  /// Listens at `notify/notify.sock` of the container's directory, for `manager`.
  static Result<NotifyProxy> open(int directory, std::string manager);

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// Passes on what has come. Before the first READY=1 the manager is told the MAINPID.
  [[nodiscard]] Status pump(pid_t main_pid);
  /// Until READY=1, or the process behind `pidfd` ends. Error: EINTR by a signal.
  [[nodiscard]] Status wait_ready(pid_t main_pid, int pidfd, int signal_fd);

 private:
  NotifyProxy() = default;
  [[nodiscard]] Status send(std::string_view text) const;

  Fd socket_;
  std::string manager_;
  bool ready_ = false;
};

}  // namespace minirun
