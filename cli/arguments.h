// Owns: the spellings of the command line that engines use: global options before the command,
// `-long`, `--flag=value`, values that begin with a dash, and the commands whose options end at
// the first positional word.
// Must not: know what an option means.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/output.h"

namespace CLI {
class App;
}  // namespace CLI

namespace minirun::cli {

/// What stands before the command.
struct GlobalArguments {
  GlobalOptions options;
  std::size_t command = 0;  ///< index of the command's name; 0: there is none
  bool help = false;
  bool version = false;
  std::optional<Error> error;  ///< the first one; the options before it are read
};
[[nodiscard]] GlobalArguments read_global_arguments(const std::vector<std::string>& argv);

/// The lines of `--help` about them.
[[nodiscard]] std::string global_options_help();

/// The words after the command's name in the one spelling that CLI11 reads without doubt. With
/// `in_order` everything from the first positional word on is positional (exec, kill, ps: what
/// follows belongs to another program).
[[nodiscard]] std::vector<std::string> normalize(const CLI::App& app,
                                                 std::span<const std::string> words, bool in_order);

}  // namespace minirun::cli
