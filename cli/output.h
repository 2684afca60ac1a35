// Owns: what minirun prints about itself: errors, warnings, findings; to standard error and to the
// log file, as text or as JSON lines. The only place that does.
// Must not: report an error twice: podman reads the log as one JSON object.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/findings.h"
#include "base/result.h"

namespace minirun::cli {

struct GlobalOptions {
  std::string root;
  std::string log;
  std::string log_format = "text";
  std::string log_level;  ///< error, warning or debug; empty: as it was not given
  bool debug = false;
  std::string cgroup_manager = "cgroupfs";  ///< cgroupfs, systemd or disabled
  std::string rootless = "auto";            ///< true, false or auto
};

class Output {
 public:
  /// Opens the log file. Error: it cannot be opened.
  static Result<Output> open(const GlobalOptions& options);

  void error(std::string_view message);
  void error(const Error& failure);
  void warning(std::string_view message);
  void debug(std::string_view message);
  /// Every finding; warnings only with `warnings`. `document` is what one without a pointer is
  /// about. True when there was an error.
  bool findings(const Findings& findings, bool warnings,
                std::string_view document = "the document");
  /// config.md: a capability that is not given although it was asked for MUST be logged. For
  /// commands that say no other warnings.
  void left_out(const Findings& findings);
  /// The same with "file:line:column" before each, for a document that a person wrote.
  bool positioned(std::string_view file, const Findings& findings, bool warnings);

 private:
  enum class Level { error, warning, debug };
  void line(Level level, std::string_view message);

  Fd log_;
  bool json_ = false;
  Level log_level_ = Level::error;      ///< podman takes no second line in the log
  Level print_level_ = Level::warning;  ///< for standard error
};

/// Prints to standard output; false when it cannot be written (a closed pipe, a full disk).
bool print(std::string_view text);
/// Prints to standard error.
void print_error(std::string_view text);

/// One line: "mounts[4]: make a tmpfs mount with size=64megs: fsconfig (kernel: ...): EINVAL ...".
[[nodiscard]] std::string sentence(const Error& failure);

}  // namespace minirun::cli
