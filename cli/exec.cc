// Owns: `minirun exec`.
#include "runtime/exec.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>

#include "cli/command.h"
#include "cli/load.h"

namespace minirun::cli {
namespace {

constexpr int failed = 255;

/// "1000", "1000:100": numbers only. Reading names would read the container's files (SEC-33).
Result<User> parse_user(std::string_view text, User user) {
  auto number = [](std::string_view digits, std::uint32_t& value) {
    const char* end = digits.data() + digits.size();
    const auto [at, error] = std::from_chars(digits.data(), end, value);
    return error == std::errc() && at == end && value != UINT32_MAX;
  };
  const std::size_t colon = text.find(':');
  const bool good = number(text.substr(0, colon), user.uid) &&
                    (colon == std::string_view::npos || number(text.substr(colon + 1), user.gid));
  if (!good) return plain_error("--user", fmt::format("\"{}\" is not UID or UID:GID", text));
  return user;
}

class Exec : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_flag("-d,--detach", detach_, "return when the program runs");
    app.add_flag("-t,--tty", tty_, "with a terminal");
    app.add_option("--cwd", cwd_, "working directory");
    app.add_option("-e,--env", environment_, "K=V for the program")->allow_extra_args(false);
    app.add_option("-u,--user", user_, "UID or UID:GID");
    app.add_option("ID", id_, "the container")->required();
    app.add_option("COMMAND", words_, "the program and its arguments");
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<int> status = exec(options, output);
    if (status) return *status;
    output.error(status.error());
    if (status.error().object != "process.args") return failed;
    return status.error().errnum == ENOENT ? 127 : 126;
  }

 private:
  Result<int> exec(const GlobalOptions& options, Output& output) {
    TRY(validate_id(id_));
    std::vector<std::string> words = words_;
    if (!words.empty() && words.front() == "--") words.erase(words.begin());
    if (words.empty()) return plain_error("COMMAND", "exec needs a command");
    Result<StateRoot> root = StateRoot::open(options.root, false);
    if (!root && root.error().errnum == ENOENT) return plain_error(id_, "container does not exist");
    if (!root) return std::unexpected(root.error());
    const HostFacts facts = TRY(discover_host());
    const ContainerDir dir = TRY(ContainerDir::open(*root, id_, Lock::none));
    const ContainerView view = view_container(dir, facts);
    if (!view.record) return plain_error(id_, "its record cannot be read; delete -f removes it");
    const ContainerSpec spec = TRY(stored_spec(dir, *view.record));
    if (!spec.process) return plain_error(id_, "the container has no process to take after");
    Process process = *spec.process;
    process.args = words;
    process.terminal = tty_;
    if (!cwd_.empty()) process.cwd = cwd_;
    process.env.insert(process.env.end(), environment_.begin(), environment_.end());
    if (!user_.empty()) {
      process.user = TRY(parse_user(user_, process.user));
      std::erase_if(process.env, [](const std::string& e) { return e.starts_with("HOME="); });
    }
    const std::optional<SeccompProgram> seccomp = TRY(seccomp_of(spec, &*root, output));
    const ExecResult result = TRY(exec_in_container(view,
                                                    {.spec = spec,
                                                     .process = process,
                                                     .seccomp = seccomp ? &*seccomp : nullptr,
                                                     .detach = detach_,
                                                     .preserve_fds = 0},
                                                    facts));
    if (detach_) return 0;
    return result.end.signal ? 128 + *result.end.signal : result.end.exit_code.value_or(failed);
  }

  bool detach_ = false, tty_ = false;
  std::string id_, cwd_, user_;
  std::vector<std::string> environment_, words_;
};

}  // namespace

std::unique_ptr<Command> make_exec() {
  return std::make_unique<Exec>();
}

}  // namespace minirun::cli
