// Owns: `minirun ps`.
// Must not: show a process that is not the container's: the cgroup decides, not a name or a parent.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "cgroups/files.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "runtime/freezer.h"

namespace minirun::cli {
namespace {

/// The value of a line of /proc/PID/status; empty when it is not there.
std::string status_value(const std::string& text, std::string_view key) {
  const std::size_t at = text.find("\n" + std::string(key) + ":");
  if (at == std::string::npos) return "";
  const std::size_t begin = text.find_first_not_of("\t ", at + key.size() + 2);
  const std::size_t end = text.find_first_of("\t\n", begin);
  return begin == std::string::npos ? "" : text.substr(begin, end - begin);
}

/// What a program says of itself must not write to the reader's terminal.
std::string printable(std::string text) {
  for (char& c : text) {
    if (c == '\0') c = ' ';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string table(const std::vector<pid_t>& pids) {
  std::string text =
      fmt::format("{:>8} {:>8} {:>8} {:<5} {}\n", "UID", "PID", "PPID", "STATE", "CMD");
  for (const pid_t pid : pids) {
    const Result<std::string> status = read_file(AT_FDCWD, fmt::format("/proc/{}/status", pid));
    if (!status) continue;  // it ended since
    std::string command =
        printable(read_file(AT_FDCWD, fmt::format("/proc/{}/cmdline", pid)).value_or(""));
    if (command.empty()) command = "[" + printable(status->substr(6, status->find('\n') - 6)) + "]";
    text += fmt::format("{:>8} {:>8} {:>8} {:<5} {}\n", status_value(*status, "Uid"), pid,
                        status_value(*status, "PPid"), status_value(*status, "State").substr(0, 1),
                        command);
  }
  return text;
}

/// What the host's ps(1) prints with these arguments.
Result<std::string> output_of_ps(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return os_error("pipe");
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  std::vector<char*> argv{const_cast<char*>("ps")};
  for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, "ps", &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return os_error(error, "ps", "the host has no ps(1); leave its arguments out");
  writer.reset();
  Result<std::string> text = read_all(reader.get(), "ps");
  int status = 0;
  (void)TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0));
  if (!text) return text;
  if (status != 0) return plain_error("ps", fmt::format("ended with status {:#x}", status));
  return text;
}

/// The lines of ps(1) whose column PID is one of `pids`, as `runc ps` does.
Result<std::string> filtered(const std::vector<std::string>& arguments,
                             const std::vector<pid_t>& pids) {
  const std::string text = TRY(output_of_ps(arguments));
  std::string result;
  std::size_t column = std::string::npos;
  for (const std::string_view line : split(text, '\n')) {
    const std::vector<std::string_view> words = split_words(line);
    if (column == std::string::npos) {
      column = static_cast<std::size_t>(std::ranges::find(words, "PID") - words.begin());
      if (column == words.size())
        return plain_error("ps", "its output has no column PID, which tells whose a line is");
    } else {
      pid_t pid = 0;
      if (column < words.size())
        std::from_chars(words[column].data(), words[column].data() + words[column].size(), pid);
      if (std::ranges::find(pids, pid) == pids.end()) continue;
    }
    result.append(line).append("\n");
  }
  return result;
}

class Ps : public Command {
 public:
  void declare(App app) override {
    app.add_option("-f,--format", format_, "table or json").one_of({"table", "json"});
    app.add_option("ID", id_, "the container").required();
    app.add_option("ARGUMENTS", arguments_, "for the host's ps(1), which then makes the table");
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<std::string> text = list(options);
    if (!text) return report(std::unexpected(text.error()), output);
    return print(*text) ? 0 : 1;
  }

 private:
  Result<std::string> list(const GlobalOptions& options) const {
    const Found found = TRY(find_container(options, id_));
    const std::vector<pid_t> pids = TRY(container_pids(found.view, found.ground.facts));
    if (format_ == "json") return nlohmann::ordered_json(pids).dump() + "\n";
    return arguments_.empty() ? table(pids) : filtered(arguments_, pids);
  }

  std::string format_ = "table", id_;
  std::vector<std::string> arguments_;
};

}  // namespace

std::unique_ptr<Command> make_ps() {
  return std::make_unique<Ps>();
}

}  // namespace minirun::cli
