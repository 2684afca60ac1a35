// Owns: the caller's terminal while a container has one of its own: raw mode and its way back, the
// window size, copying both ways.
// Must not: outlive the run: the destructor restores the modes on every path.
#pragma once

#include <termios.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// Copies between standard input/output and the master of the container's terminal.
class TerminalProxy {
 public:
  /// `master` becomes non-blocking. Raw mode only when standard input is a terminal.
  static Result<TerminalProxy> start(Fd master);
  TerminalProxy(TerminalProxy&& other) noexcept;
  TerminalProxy& operator=(TerminalProxy&&) = delete;
  ~TerminalProxy();

  [[nodiscard]] int master() const { return master_.get(); }
  /// poll(2) events wanted on standard input, standard output and the master; 0: none.
  [[nodiscard]] short input_events() const;
  [[nodiscard]] short output_events() const;
  [[nodiscard]] short master_events() const;
  /// Moves what can be moved without waiting.
  void pump(short input, short output, short master);
  /// After the end of the container: everything that it wrote goes out.
  void drain();
  void copy_window_size() const;

 private:
  TerminalProxy() = default;
  void read_input();
  void read_master();
  void flush();

  Fd master_;
  bool restore_ = false;
  termios saved_{};
  bool input_open_ = true;
  bool master_open_ = true;
  std::string to_container_, to_caller_;
};

}  // namespace minirun
