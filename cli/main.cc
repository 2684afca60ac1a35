// Owns: argv -> command. Only the named command is built: all of them cost CLI11 0.3 ms.
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/version.h"
#include "security/seccomp.h"
#include "spec/json.h"
#include "spec/suggest.h"

namespace minirun::cli {

std::span<const CommandRow> commands() {
  static constexpr std::array rows = {
      CommandRow{"run", "run a container from a spec and say what its limits did", make_run,
                 run_failed},
      CommandRow{"create", "create a container; it waits for `start`", make_create},
      CommandRow{"start", "run the program of a created container", make_start},
      CommandRow{"exec", "run a further process in a container", make_exec, 255, true},
      CommandRow{"explain", "say what every limit of a pod, spec or container becomes, and why",
                 make_explain, run_failed},
      CommandRow{"stats", "what containers use, against their limits", make_stats},
      CommandRow{"top", "the same, live and sorted", make_top},
      CommandRow{"resize", "change the limits of a running Pod in the kubelet's order",
                 make_resize},
      CommandRow{"list", "list containers", make_list},
      CommandRow{"state", "print the state of a container as JSON", make_state},
      CommandRow{"ps", "list the processes of a container", make_ps, 1, true},
      CommandRow{"kill", "send a signal to a container", make_kill, 1, true},
      CommandRow{"pause", "make a container stand still", make_pause},
      CommandRow{"resume", "let a paused container go on", make_resume},
      CommandRow{"update", "change the limits of a container", make_update},
      CommandRow{"delete", "remove a container", make_delete},
      CommandRow{"events", "tell the statistics of a container, and kills by memory", make_events},
      CommandRow{"gc", "remove what crashed commands left behind", make_gc},
      CommandRow{"network", "list, show and remove the networks of containers", make_network},
      CommandRow{"spec", "write a default OCI config.json", make_spec},
      CommandRow{"probe", "measure what limits do, on the host and in a container", make_probe},
      CommandRow{"features", "print what this version can do, as JSON", make_features},
      CommandRow{"info", "say what this host offers, and what each missing piece costs", make_info},
      CommandRow{"checkpoint", "not supported", make_checkpoint},
      CommandRow{"restore", "not supported", make_restore},
  };
  return rows;
}

namespace {

std::string usage() {
  std::string text =
      "minirun runs a container, explains every limit that it set, and measures what it does.\n\n"
      "usage: minirun [GLOBAL OPTIONS] COMMAND ...\n\n";
  for (const CommandRow& row : commands())
    text += fmt::format("  {:<10} {}\n", row.name, row.summary);
  text += "\nglobal options, before the command:\n" + global_options_help();
  text += fmt::format("  {:<28} {}\n  {:<28} {}\n", "--version", "print the version", "--help",
                      "print this, or with a command its options");
  text += "\n`minirun COMMAND --help` tells the options of a command.\n";
  return text;
}

std::string version() {
  return fmt::format("minirun version {}\ncommit: {}\nspec: 1.3.0\nlibseccomp: {}\n",
                     MINIRUN_VERSION, commit(), libseccomp_version());
}

// Closed standard descriptors would be taken by our own files, and inherited by the container.
bool open_standard_descriptors() {
  std::array<pollfd, 3> polls{{{0, 0, 0}, {1, 0, 0}, {2, 0, 0}}};
  if (TEMP_FAILURE_RETRY(::poll(polls.data(), polls.size(), 0)) < 0) return false;
  for (const pollfd& poll : polls)
    // NOLINTNEXTLINE(android-cloexec-open): what stands for a standard descriptor is inherited
    if ((poll.revents & POLLNVAL) != 0 && ::open("/dev/null", O_RDWR) != poll.fd) return false;
  return true;
}

/// What CLI11 did not expect: a misspelt option first, since the words behind it are a consequence.
std::string unexpected(const CLI::App& app) {
  std::vector<std::string> rest = app.remaining(true), known;
  if (rest.empty()) return "unexpected argument";
  std::vector<const CLI::App*> apps{&app};
  for (std::size_t i = 0; i < apps.size(); ++i) {
    for (const CLI::Option* option : apps[i]->get_options())
      for (const std::string& name : option->get_lnames()) known.push_back(name);
    for (const CLI::App* child : apps[i]->get_subcommands()) apps.push_back(child);
  }
  // Behind "--" nothing is an option.
  const auto end = std::ranges::find(rest, "--");
  const auto at = std::find_if(rest.begin(), end, [](const std::string& word) {
    return word.find_first_not_of('-') != word.npos && word.starts_with('-');
  });
  if (at == end)
    return fmt::format("unexpected argument \"{}\"",
                       *(end == rest.begin() && rest.size() > 1 ? rest.begin() + 1 : rest.begin()));
  const std::string name = at->substr(0, at->find('='));
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const auto close =
      suggest(std::string_view(name).substr(name.find_first_not_of('-')), candidates);
  return fmt::format("unknown option {}{}", name,
                     close ? fmt::format("; did you mean --{}?", *close) : ", see --help");
}

int fail(const CommandRow& row, Output& output, const Error& error) {
  output.error(error);
  return row.failure;
}

/// Reads the words behind the command's name and runs it; absent: only with `all` options declared
/// can be said what is wrong with them, or what the help is.
std::optional<int> run_command(const CommandRow& row, const GlobalOptions& options, Output& output,
                               const std::vector<std::string>& given, bool all) {
  const std::unique_ptr<Command> command = row.make();
  CLI::App app(std::string(row.summary), fmt::format("minirun {}", row.name));
  command->declare(App(&app, all ? nullptr : &given));
  std::vector<std::string> words = normalize(app, given, row.in_order);
  std::ranges::reverse(words);  // as CLI11 takes them
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    if (!all) return std::nullopt;
    if (dynamic_cast<const CLI::CallForHelp*>(&error) != nullptr) {
      print(app.help());
      return 0;
    }
    std::string message = error.what();
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) message = unexpected(app);
    std::ranges::replace(message, '\n', ' ');
    return fail(row, output, Error{0, std::string(row.name), message, {}});
  }
  return command->run(options, output);
}

int dispatch(const CommandRow& row, const GlobalArguments& global,
             const std::vector<std::string>& argv) {
  Result<Output> output = Output::open(global.options);
  if (!output) {
    print_error(fmt::format("minirun: error: {}\n", sentence(output.error())));
    return row.failure;
  }
  if (global.error) return fail(row, *output, *global.error);
  const std::vector<std::string> words(
      argv.begin() + static_cast<std::ptrdiff_t>(global.command) + 1, argv.end());
  const std::optional<int> status = run_command(row, global.options, *output, words, false);
  return status ? *status : run_command(row, global.options, *output, words, true).value();
}

std::string unknown_command(const std::string& name) {
  std::vector<std::string_view> names;
  for (const CommandRow& row : commands()) names.push_back(row.name);
  const auto close = suggest(name, names);
  return fmt::format(
      "unknown command {}{}", quote_text(name),
      close ? fmt::format("; did you mean \"{}\"?", *close) : ", see minirun --help");
}

int main_checked(const std::vector<std::string>& argv) {
  // A set-user-ID minirun would run hostile specs with rights that its caller lacks.
  if (::getauxval(AT_SECURE) != 0 || ::getauxval(AT_EUID) != ::getauxval(AT_UID)) {
    print_error("minirun: error: must not be installed set-user-ID\n");
    return run_failed;
  }
  if (!open_standard_descriptors()) {
    print_error(fmt::format("minirun: error: cannot open the standard descriptors: {}\n",
                            errno_name(errno)));
    return run_failed;
  }
  const GlobalArguments global = read_global_arguments(argv);
  if (global.version) return print(version()) ? 0 : 1;
  if (global.help) return print(usage()) ? 0 : 1;
  if (global.command == 0) {
    print_error(global.error ? fmt::format("minirun: error: {}\n", sentence(*global.error))
                             : usage());
    return run_failed;
  }
  const std::string& name = argv[global.command];
  for (const CommandRow& row : commands())
    if (row.name == name) return dispatch(row, global, argv);
  if (name == "help" && argv.size() > global.command + 1)
    return main_checked({argv[0], argv[global.command + 1], "--help"});
  if (name == "help") return print(usage()) ? 0 : 1;
  if (name == "version") return print(version()) ? 0 : 1;
  // After a misspelt global option its value looks like the command.
  print_error(fmt::format("minirun: error: {}\n",
                          global.error ? sentence(*global.error) : unknown_command(name)));
  return run_failed;
}

/// One growth of the heap instead of seven, and none given back; what is not touched costs nothing.
/// Before the constructors that allocate.
[[gnu::constructor(101)]] void set_up_heap() {
  ::mallopt(M_TOP_PAD, 1 << 20);          // NOLINT(concurrency-mt-unsafe): before main
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace
}  // namespace minirun::cli

// NOLINTNEXTLINE(bugprone-exception-escape): without memory for the words there is nothing to say
int main(int argc, char** argv) {
  return minirun::cli::main_checked(std::vector<std::string>(argv, argv + argc));
}
