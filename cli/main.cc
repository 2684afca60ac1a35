// Owns: argv -> command. Only the named command is built: all of them cost CLI11 0.3 ms.
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "security/seccomp.h"

namespace minirun::cli {

std::span<const CommandRow> commands() {
  static constexpr std::array rows = {
      CommandRow{"run", "run a container from a spec and say what its limits did", make_run, 125},
      CommandRow{"exec", "run a further process in a container", make_exec, 255},
      CommandRow{"explain", "say what every limit of a pod, spec or container becomes, and why",
                 make_explain, 125},
      CommandRow{"list", "list containers", make_list},
      CommandRow{"state", "print the state of a container as JSON", make_state},
      CommandRow{"kill", "send a signal to a container", make_kill},
      CommandRow{"delete", "remove a container", make_delete},
      CommandRow{"gc", "remove what crashed commands left behind", make_gc},
      CommandRow{"spec", "write a default OCI config.json", make_spec},
  };
  return rows;
}

namespace {

struct GlobalOption {
  std::string_view name;
  bool takes_value;
};
constexpr std::array global_options = {
    GlobalOption{"--root", true}, GlobalOption{"--log", true}, GlobalOption{"--log-format", true},
    GlobalOption{"--log-level", true}, GlobalOption{"--debug", false}};

std::string usage() {
  std::string text =
      "minirun runs a container, explains every limit that it set, and measures what it does.\n\n"
      "usage: minirun [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND ...\n\n";
  for (const CommandRow& row : commands())
    text += fmt::format("  {:<10} {}\n", row.name, row.summary);
  text += "\n`minirun COMMAND --help` tells the options of a command.\n";
  return text;
}

std::string version() {
  return fmt::format("minirun version {}\ncommit: {}\nspec: 1.3.0\nlibseccomp: {}\n",
                     MINIRUN_VERSION,
#ifdef MINIRUN_COMMIT
                     MINIRUN_COMMIT,
#else
                     "unknown",
#endif
                     libseccomp_version());
}

/// Index of the command's name in argv, behind the global options; 0: there is none.
std::size_t find_command(const std::vector<std::string>& argv) {
  for (std::size_t i = 1; i < argv.size(); ++i) {
    const std::string& word = argv[i];
    if (!word.starts_with('-') || word == "-") return i;
    for (const GlobalOption& option : global_options)
      if (word == option.name && option.takes_value) ++i;
  }
  return 0;
}

// Closed standard descriptors would be taken by our own files, and inherited by the container.
bool open_standard_descriptors() {
  std::array<pollfd, 3> polls{{{0, 0, 0}, {1, 0, 0}, {2, 0, 0}}};
  if (TEMP_FAILURE_RETRY(::poll(polls.data(), polls.size(), 0)) < 0) return false;
  for (const pollfd& poll : polls)
    if ((poll.revents & POLLNVAL) != 0 && ::open("/dev/null", O_RDWR) != poll.fd) return false;
  return true;
}

void declare_globals(CLI::App& app, GlobalOptions& options) {
  app.add_option("--root", options.root, "state directory (default /run/minirun)");
  app.add_option("--log", options.log, "also write errors to this file");
  app.add_option("--log-format", options.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_option("--log-level", options.log_level, "error, warning or debug");
  app.add_flag("--debug", options.debug, "say what is done");
}

int dispatch(const CommandRow& row, const std::vector<std::string>& argv) {
  const std::unique_ptr<Command> command = row.make();
  GlobalOptions options;
  CLI::App app("minirun", "minirun");
  app.require_subcommand(1);
  app.fallthrough(false);
  declare_globals(app, options);
  CLI::App* sub = app.add_subcommand(std::string(row.name), std::string(row.summary));
  command->declare(*sub);
  std::vector<const char*> raw;
  raw.reserve(argv.size());
  for (const std::string& word : argv) raw.push_back(word.c_str());
  try {
    app.parse(static_cast<int>(raw.size()), raw.data());
  } catch (const CLI::CallForHelp&) {
    print(sub->help());
    return 0;
  } catch (const CLI::ParseError& error) {
    print_error(fmt::format("minirun: error: {}\n", error.what()));
    return row.failure;
  }
  Result<Output> output = Output::open(options);
  if (!output) {
    print_error(fmt::format("minirun: error: {}\n", sentence(output.error())));
    return row.failure;
  }
  return command->run(options, *output);
}

int main_checked(const std::vector<std::string>& argv) {
  // A set-user-ID minirun would run hostile specs with rights that its caller lacks.
  if (::getauxval(AT_SECURE) != 0 || ::getauxval(AT_EUID) != ::getauxval(AT_UID)) {
    print_error("minirun: error: must not be installed set-user-ID\n");
    return 125;
  }
  if (!open_standard_descriptors()) {
    print_error(fmt::format("minirun: error: cannot open the standard descriptors: {}\n",
                            errno_name(errno)));
    return 125;
  }
  const std::size_t at = find_command(argv);
  if (at == 0) {
    for (const std::string& word : argv) {
      if (word == "--version" || word == "-v" || word == "-version")
        return print(version()) ? 0 : 1;
      if (word == "--help" || word == "-h" || word == "-help") return print(usage()) ? 0 : 1;
    }
    print_error(usage());
    return 125;
  }
  for (const CommandRow& row : commands())
    if (row.name == argv[at]) return dispatch(row, argv);
  if (argv[at] == "help") return print(usage()) ? 0 : 1;
  if (argv[at] == "version") return print(version()) ? 0 : 1;
  print_error(
      fmt::format("minirun: error: unknown command \"{}\", see minirun --help\n", argv[at]));
  return 125;
}

}  // namespace
}  // namespace minirun::cli

int main(int argc, char** argv) {
  // One growth of the heap instead of six; what is not touched costs nothing.
  ::mallopt(M_TOP_PAD, 1 << 20);
  return minirun::cli::main_checked(std::vector<std::string>(argv, argv + argc));
}
