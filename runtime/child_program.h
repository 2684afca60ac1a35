// Owns: a program beside the container (a hook) as a child of ours: its group, its standard
// descriptors, its time limit, the end of what it prints.
// Must not: know what a hook is.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace minirun {

struct ChildProgram {
  std::string input;  ///< its standard input, whole
  std::optional<std::chrono::seconds> timeout;
  std::size_t output_limit = 4096;  ///< bytes of output that are kept, the last ones
  int signal_fd = -1;               ///< SIGTERM, SIGINT, SIGHUP, SIGQUIT here kill it
  /// Runs in the child: executes something, or returns why not. It may fork and wait, too.
  std::function<Error()> body;
};

struct ChildEnd {
  std::optional<int> exit_code, signal;
  bool timed_out = false;
  std::string output;            ///< the last bytes of standard output and error
  std::optional<Error> failure;  ///< the body could not begin
};

/// Runs it to its end, or to the end of its time: then its whole process group is killed. Output
/// that grandchildren still hold open is not waited for. It dies with this process.
/// Errors: it could not be made; EINTR by a signal, after it was killed.
[[nodiscard]] Result<ChildEnd> run_child(const ChildProgram& program);

/// Executes `path` with exactly these; returns only on failure.
[[nodiscard]] Error execute(const std::string& path, const std::vector<std::string>& arguments,
                            const std::vector<std::string>& environment);

}  // namespace minirun
