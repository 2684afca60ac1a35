// Owns: the table of commands. One row each; help and dispatch come from it.
// Must not: know what a command does.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "cli/app.h"
#include "cli/output.h"

namespace minirun::cli {

/// A command that has read its arguments.
class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  virtual ~Command() = default;
  /// Declares options and positionals.
  virtual void declare(App app) = 0;
  /// Does it; the exit status.
  virtual int run(const GlobalOptions& options, Output& output) = 0;
};

/// Exit statuses of minirun itself where the others are the container's: as docker and shells have
/// them, and for `exec` as runc has it.
constexpr int run_failed = 125, exec_failed = 255, not_executable = 126, not_found = 127;

struct CommandRow {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<Command> (*make)();
  int failure = 1;        ///< exit status when minirun itself fails
  bool in_order = false;  ///< options end at the first positional word
};

[[nodiscard]] std::span<const CommandRow> commands();

// One per file.
std::unique_ptr<Command> make_run();
std::unique_ptr<Command> make_create();
std::unique_ptr<Command> make_start();
std::unique_ptr<Command> make_exec();
std::unique_ptr<Command> make_list();
std::unique_ptr<Command> make_state();
std::unique_ptr<Command> make_ps();
std::unique_ptr<Command> make_kill();
std::unique_ptr<Command> make_pause();
std::unique_ptr<Command> make_resume();
std::unique_ptr<Command> make_update();
std::unique_ptr<Command> make_delete();
std::unique_ptr<Command> make_gc();
std::unique_ptr<Command> make_events();
std::unique_ptr<Command> make_network();
std::unique_ptr<Command> make_spec();
std::unique_ptr<Command> make_explain();
std::unique_ptr<Command> make_stats();
std::unique_ptr<Command> make_top();
std::unique_ptr<Command> make_resize();
std::unique_ptr<Command> make_probe();
std::unique_ptr<Command> make_features();
std::unique_ptr<Command> make_info();
std::unique_ptr<Command> make_checkpoint();
std::unique_ptr<Command> make_restore();

}  // namespace minirun::cli
