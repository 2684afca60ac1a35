#include "runtime/handover.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/file.h"
#include "runtime/fault.h"
#include "runtime/sockets.h"

namespace minirun {

Result<Handover> Handover::open(HandoverPaths paths) {
  Handover handover(std::move(paths));
  if (!handover.paths_.console_socket.empty())
    handover.console_ = TRY(connect_socket(handover.paths_.console_socket, "--console-socket"));
  if (!handover.paths_.pidfd_socket.empty())
    handover.pidfd_ = TRY(connect_socket(handover.paths_.pidfd_socket, "--pidfd-socket"));
  return handover;
}

Handover::Handover(Handover&& other) noexcept
    : paths_(std::move(other.paths_)),
      console_(std::move(other.console_)),
      pidfd_(std::move(other.pidfd_)),
      written_(std::exchange(other.written_, false)) {}

Handover::~Handover() {
  if (written_) ::unlink(paths_.pid_file.c_str());
}

Status Handover::give(Launched& launched) {
  if (console_) {
    TRY(fault_point("console socket"));
    if (!launched.console) return plain_error("--console-socket", "there is no terminal to send");
    unsigned number = 0;
    if (::ioctl(launched.console.get(), TIOCGPTN, &number) != 0)
      return os_error("--console-socket", "number of the terminal");
    TRY(send_descriptor(console_.get(), fmt::format("/dev/pts/{}", number), launched.console.get(),
                        "--console-socket"));
    launched.console.reset();
    console_.reset();
  }
  if (pidfd_) {
    TRY(fault_point("pidfd socket"));
    TRY(send_descriptor(pidfd_.get(), paths_.pidfd_word, launched.pidfd.get(), "--pidfd-socket"));
    pidfd_.reset();
  }
  if (!paths_.pid_file.empty()) {
    TRY(fault_point("pid file"));
    const Status written =
        replace_file(AT_FDCWD, paths_.pid_file, std::to_string(launched.init.pid), 0644);
    if (!written) return std::unexpected(Error(written.error()).in("--pid-file"));
    written_ = true;
  }
  return {};
}

}  // namespace minirun
