// Owns: `minirun exec`: from flags or a process document to the Process to run.
#include "runtime/exec.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/capabilities.h"
#include "cgroups/files.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/load.h"
#include "runtime/handover.h"
#include "runtime/plan_attributes.h"
#include "runtime/spec_facts.h"
#include "spec/json.h"
#include "spec/oci_reader.h"
#include "spec/validate.h"

namespace minirun::cli {
namespace {

bool parse_id(std::string_view digits, std::uint32_t& value) {
  const char* end = digits.data() + digits.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): it gets the end
  const auto [at, error] = std::from_chars(digits.data(), end, value);
  return error == std::errc() && at == end && value != UINT32_MAX;
}

/// "1000", "1000:100": numbers only. Reading names would read the container's files (SEC-33).
Result<User> parse_user(std::string_view text, User user) {
  const std::size_t colon = text.find(':');
  const bool good = parse_id(text.substr(0, colon), user.uid) &&
                    (colon == std::string_view::npos || parse_id(text.substr(colon + 1), user.gid));
  if (!good) return plain_error("--user", fmt::format("\"{}\" is not UID or UID:GID", text));
  return user;
}

/// "path" or "controller,...:path": cgroup2 has one tree, so that all of them mean the same place.
Result<std::string> parse_cgroup(const std::vector<std::string>& values) {
  std::string path;
  for (const std::string& value : values) {
    const std::size_t colon = value.find(':');
    const std::string given = colon == std::string::npos ? value : value.substr(colon + 1);
    if (given.empty()) return plain_error("--cgroup", fmt::format("\"{}\" has no path", value));
    if (!path.empty() && path != given)
      return plain_error("--cgroup", fmt::format("\"{}\" and \"{}\": a process is in one cgroup "
                                                 "only",
                                                 path, given));
    path = given;
  }
  return path;
}

class Exec : public Command {
 public:
  void declare(App app) override {
    app.add_option("-p,--process", document_, "file with the OCI process object to run");
    app.add_flag("-d,--detach", detach_, "return when the program runs");
    app.add_flag("-t,--tty", tty_, "with a terminal");
    app.add_option("--cwd", cwd_, "working directory");
    app.add_option("-e,--env", environment_, "K=V for the program").single();
    app.add_option("-u,--user", user_, "UID or UID:GID");
    app.add_option("-g,--additional-gids", groups_, "a further group id").single();
    app.footer(
        "Exit status: the program's own; 128 + the signal that ended it; 255 minirun failed, 126 "
        "the\n"
        "program cannot be executed, 127 it was not found.");
    app.add_option("-c,--cap", capabilities_, "a further capability").single();
    app.add_option("--apparmor", apparmor_, "AppArmor profile");
    app.add_option("--process-label", label_, "SELinux label");
    app.add_flag("--no-new-privs", no_new_privileges_, "never gain privileges by an exec");
    app.add_option("--cgroup", cgroup_, "cgroup below the container's, [CONTROLLER:]PATH").single();
    app.add_flag("--ignore-paused", ignore_paused_,
                 "also in a paused container, where the program waits for resume");
    app.add_option("--console-socket", handover_.console_socket,
                   "socket to send the terminal to, with --tty and --detach");
    app.add_option("--pidfd-socket", handover_.pidfd_socket, "socket to send the pidfd to");
    app.add_option("--pid-file", handover_.pid_file, "write the pid of the program here");
    app.add_option("--preserve-fds", preserve_fds_, "pass descriptors 3 to 2+N on").range(0, 1000);
    app.add_flag("--no-subreaper", no_subreaper_, "accepted; there never is one");
    app.add_option("ID", id_, "the container").required();
    app.add_option("COMMAND", words_, "the program and its arguments");
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<int> status = exec(options, output);
    if (status) return *status;
    output.error(status.error());
    if (status.error().object != "process.args") return exec_failed;
    return status.error().errnum == ENOENT ? not_found : not_executable;
  }

 private:
  Result<int> exec(const GlobalOptions& options, Output& output) {
    if (!words_.empty() && words_.front() == "--") words_.erase(words_.begin());
    if (words_.empty() == document_.empty())
      return plain_error("COMMAND", words_.empty() ? "exec needs a command or --process"
                                                   : "and --process exclude each other");
    Found found = TRY(find_container(options, id_));
    const ContainerView& view = found.view;
    if (!view.record) return plain_error(id_, "its record cannot be read; delete -f removes it");
    ContainerSpec spec = TRY(stored_spec(found.dir, *view.record));
    if (!spec.process) return plain_error(id_, "the container has no process to take after");
    Findings findings;
    Process process = document_.empty() ? TRY(from_flags(*spec.process, output))
                                        : TRY(from_document(*spec.process, findings, output));
    spec.process = process;
    if (findings.empty()) findings = validate(spec, Format::oci);
    std::erase_if(findings, [](const Finding& f) {
      return f.level != Finding::Level::error ||
             (!f.pointer.starts_with("/process") && !f.pointer.empty());
    });
    if (output.findings(findings, false)) return exec_failed;
    TRY(check_terminal(process));
    discover_for(spec, id_, found.ground.facts);
    if (output.findings(check_labels(process, found.ground.facts), false)) return exec_failed;
    const std::string cgroup = TRY(parse_cgroup(cgroup_));
    const std::optional<SeccompProgram> seccomp = TRY(seccomp_of(spec, &found.ground.root, output));
    Handover handover = TRY(Handover::open(handover_));
    const ExecResult result = TRY(exec_in_container(view,
                                                    {.spec = spec,
                                                     .process = process,
                                                     .seccomp = seccomp ? &*seccomp : nullptr,
                                                     .detach = detach_,
                                                     .preserve_fds = preserve_fds_,
                                                     .cgroup = cgroup,
                                                     .ignore_paused = ignore_paused_,
                                                     .handover = &handover},
                                                    found.ground.facts));
    if (detach_) return 0;
    return result.end.signal ? 128 + *result.end.signal
                             : result.end.exit_code.value_or(exec_failed);
  }

  /// The container's own process with what the flags change.
  Result<Process> from_flags(Process process, Output& output) const {
    process.args = words_;
    process.terminal = tty_;
    if (!cwd_.empty()) process.cwd = cwd_;
    for (const std::string& entry : environment_)
      if (entry.find('=') == std::string::npos || entry.starts_with('='))
        return plain_error("--env", fmt::format("\"{}\" is not NAME=VALUE", entry));
    process.env.insert(process.env.end(), environment_.begin(), environment_.end());
    if (!user_.empty()) {
      process.user = TRY(parse_user(user_, process.user));
      std::erase_if(process.env, [](const std::string& e) { return e.starts_with("HOME="); });
    }
    for (const std::string& text : groups_) {
      std::uint32_t group = 0;
      if (!parse_id(text, group))
        return plain_error("--additional-gids", fmt::format("\"{}\" is not a group id", text));
      process.user.additional_gids.push_back(group);
    }
    TRY(add_capabilities(process, output));
    add_security(process);
    return process;
  }

  /// As runc: into the sets that matter for a program of this process; ambient only where the
  /// container has inheritable ones.
  Status add_capabilities(Process& process, Output& output) const {
    if (capabilities_.empty()) return {};
    Capabilities sets = process.capabilities.value_or(Capabilities{});
    const bool inherits = sets.inheritable != 0;
    for (const std::string& name : capabilities_) {
      const std::optional<unsigned> number = capability_from_name(name);
      if (!number) {  // config.md: no reason to fail
        output.warning(fmt::format("--cap: \"{}\" is no capability known here, left out", name));
        continue;
      }
      const std::uint64_t bit = capability_bit(*number);
      sets.bounding |= bit;
      sets.effective |= bit;
      sets.permitted |= bit;
      if (!inherits) continue;
      sets.inheritable |= bit;
      sets.ambient |= bit;
    }
    process.capabilities = sets;
    return {};
  }

  void add_security(Process& process) const {
    if (no_new_privileges_) process.no_new_privileges = true;
    if (!apparmor_.empty()) process.apparmor_profile = apparmor_;
    if (!label_.empty()) process.selinux_label = label_;
  }

  /// What the document leaves out is as in the container, except for no_new_privs, of which
  /// absence says "no".
  Result<Process> from_document(const Process& container, Findings& findings,
                                Output& output) const {
    const Fd file(::open(document_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) return os_error("--process " + document_);
    const std::string text = TRY(read_all(file.get(), document_));
    const std::optional<JsonDocument> document =
        JsonDocument::parse(text, findings, {.bytes = document_most});
    Process process;
    if (document) read_oci_process(document->root(findings), process);
    for (Finding& finding : findings) finding.pointer.insert(0, "/process");
    output.left_out(findings);
    std::erase_if(findings, [](const Finding& f) { return f.level != Finding::Level::error; });
    if (!process.capabilities) process.capabilities = container.capabilities;
    if (process.rlimits.empty()) process.rlimits = container.rlimits;
    if (!process.oom_score_adj) process.oom_score_adj = container.oom_score_adj;
    if (process.apparmor_profile.empty()) process.apparmor_profile = container.apparmor_profile;
    if (process.selinux_label.empty()) process.selinux_label = container.selinux_label;
    if (tty_) process.terminal = true;
    TRY(add_capabilities(process, output));
    add_security(process);
    return process;
  }

  /// The rules of runc: a terminal needs somebody at its other end.
  Status check_terminal(const Process& process) const {
    const bool socket = !handover_.console_socket.empty();
    if (detach_ && process.terminal && !socket)
      return plain_error("--tty", "with --detach needs --console-socket: nobody else is at it");
    if (socket && !(detach_ && process.terminal))
      return plain_error("--console-socket", "only with --detach and a terminal");
    return {};
  }

  bool detach_ = false, tty_ = false, no_new_privileges_ = false, ignore_paused_ = false,
       no_subreaper_ = false;
  int preserve_fds_ = 0;
  std::string id_, document_, cwd_, user_, apparmor_, label_;
  HandoverPaths handover_{
      .pid_file = {}, .console_socket = {}, .pidfd_socket = {}, .pidfd_word = "setns"};
  std::vector<std::string> environment_, words_, groups_, capabilities_, cgroup_;
};

}  // namespace

std::unique_ptr<Command> make_exec() {
  return std::make_unique<Exec>();
}

}  // namespace minirun::cli
