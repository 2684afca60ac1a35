// Owns: what a start hands to its caller besides the container: the pid file, the terminal's master
// over the console socket, the pidfd of the first process.
// Must not: start anything.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "runtime/launch.h"

namespace minirun {

/// As the command line has them; empty: not asked for.
struct HandoverPaths {
  std::string pid_file;
  std::string console_socket;
  std::string pidfd_socket;
  /// What comes with the pidfd, in runc's words: "standard" of a container, "setns" of an exec.
  std::string pidfd_word = "standard";
};

/// Connected before anything is made, so that a wrong path costs nothing. Until keep() its end
/// removes the pid file again.
class Handover {
 public:
  /// Errors: a socket that nobody listens on.
  static Result<Handover> open(HandoverPaths paths);
  Handover(Handover&& other) noexcept;
  Handover& operator=(Handover&&) = delete;
  ~Handover();

  /// Sends the terminal (a plan with a console socket has one) and the pidfd, writes the pid file
  /// in one step: whoever sees it can read all of it.
  [[nodiscard]] Status give(Launched& launched);
  void keep() { written_ = false; }

 private:
  explicit Handover(HandoverPaths paths) : paths_(std::move(paths)) {}

  HandoverPaths paths_;
  Fd console_, pidfd_;
  bool written_ = false;
};

}  // namespace minirun
