#include "runtime/hooks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "runtime/child_program.h"
#include "runtime/container.h"
#include "runtime/exec.h"
#include "runtime/fault.h"
#include "spec/load.h"

namespace minirun {

std::string hook_state(const Record& record, std::string_view status, pid_t pid) {
  nlohmann::ordered_json state = {
      {"ociVersion", record.oci_version.empty() ? "1.3.0" : record.oci_version},
      {"id", record.id},
      {"status", status}};
  if (pid > 0) state["pid"] = pid;
  state["bundle"] = record.bundle;
  if (!record.annotations.empty()) state["annotations"] = record.annotations;
  return state.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Hooks stored_hooks(const ContainerDir& dir, const Record& record) {
  if (!record.hooks) return {};
  Result<std::string> text = dir.document();
  if (!text) return {};
  return parse_spec(std::move(*text), record.bundle, caller_options()).spec.hooks;
}

namespace {

std::vector<std::string> arguments_of(const Hook& hook) {
  return hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
}

/// The pid that a process has in its own pid namespace: the last column of NSpid.
Result<pid_t> inner_pid(pid_t pid) {
  const std::string text = TRY(read_file(AT_FDCWD, fmt::format("/proc/{}/status", pid)));
  constexpr std::string_view key = "\nNSpid:";
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return pid;  // a kernel without pid namespaces
  const std::string_view line =
      std::string_view(text).substr(at + key.size(), text.find('\n', at + 1) - at - key.size());
  const std::size_t last = line.find_last_of("\t ");
  pid_t inner = 0;
  if (std::from_chars(line.data() + last + 1, line.data() + line.size(), inner).ec != std::errc())
    return plain_error(fmt::format("/proc/{}/status", pid), "has an unreadable NSpid");
  return inner;
}

/// What a hook printed, on one line and without control characters: it goes into an error.
std::string printable(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::string line;
  for (const char c : text) {
    if (c == '\n')
      line += "; ";
    else
      line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return line;
}

Status judge(const std::string& field, const Hook& hook, const ChildEnd& end) {
  if (end.failure && !end.timed_out) {
    Error error = *end.failure;
    error.detail =
        fmt::format("{}{}{}", error.object,
                    error.object.empty() || error.detail.empty() ? "" : ": ", error.detail);
    error.object = field;
    return std::unexpected(std::move(error));
  }
  std::string words;
  if (end.timed_out)
    words = fmt::format("did not end within its timeout of {} s and was killed",
                        hook.timeout.value_or(std::chrono::seconds(0)).count());
  else if (end.signal)
    words = fmt::format("was killed by SIG{}", ::sigabbrev_np(*end.signal));
  else if (end.exit_code.value_or(0) != 0)
    words = fmt::format("ended with status {}", *end.exit_code);
  else
    return {};
  const std::string output = printable(end.output);
  return plain_error(field, fmt::format("{} {}{}{}", hook.path, words,
                                        output.empty() ? "" : "; its output: ", output));
}

using Body = std::function<Error(const Hook&)>;

Status run_one(const std::string& field, const Hook& hook, const std::string& state, int signal_fd,
               const Body& body) {
  TRY(fault_point(field.c_str()));
  Result<ChildEnd> end = run_child({.input = state,
                                    .timeout = hook.timeout,
                                    .output_limit = ContainerHooks::output_limit,
                                    .signal_fd = signal_fd,
                                    .body = [&] { return body(hook); }});
  if (!end) return std::unexpected(std::move(end).error().in(field));
  return judge(field, hook, *end);
}

Status run_list(std::string_view kind, const std::vector<Hook>& hooks, const std::string& state,
                int signal_fd, const Body& body) {
  for (std::size_t i = 0; i < hooks.size(); ++i)
    TRY(run_one(fmt::format("hooks.{}[{}]", kind, i), hooks[i], state, signal_fd, body));
  return {};
}

/// The bundle may be gone by the time of poststop.
bool enter(const std::string& bundle) {
  return (!bundle.empty() && ::chdir(bundle.c_str()) == 0) || ::chdir("/") == 0;
}

/// In the runtime's namespaces. The working directory is the bundle, never one of the container.
Body on_the_host(const std::string& bundle) {
  return [bundle](const Hook& hook) {
    if (!enter(bundle)) return Error{errno, "/", "chdir", {}};
    return execute(hook.path, arguments_of(hook), hook.env);
  };
}

/// Goes on in a child in the joined pid namespace; this process ends as that one does.
Error fork_and_execute(const Hook& hook) {
  int failure[2];
  if (::pipe2(failure, O_CLOEXEC) != 0) return Error{errno, "pipe", {}, {}};
  const pid_t pid = ::fork();
  if (pid < 0) return Error{errno, "fork", {}, {}};
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const Error error = execute(hook.path, arguments_of(hook), hook.env);
    (void)write_all(failure[1], {reinterpret_cast<const char*>(&error.errnum), sizeof error.errnum},
                    "");
    ::_exit(125);
  }
  ::close(failure[1]);
  int errnum = 0, status = 0;
  const bool failed = TEMP_FAILURE_RETRY(::read(failure[0], &errnum, sizeof errnum)) > 0;
  TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0));
  if (failed) return Error{errnum, hook.path, "exec", {}};
  if (WIFSIGNALED(status)) {
    ::signal(WTERMSIG(status), SIG_DFL);
    ::kill(::getpid(), WTERMSIG(status));
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
}

/// The CLONE_NEW* of the namespaces that `pid` does not share with us: setns(2) refuses one's own
/// user namespace, and others need rights over the namespace even where nothing changes.
Result<int> foreign_namespaces(pid_t pid, bool& user) {
  struct Kind {
    const char* name;
    int flag;
  };
  constexpr Kind kinds[] = {{"mnt", CLONE_NEWNS},    {"pid", CLONE_NEWPID},
                            {"net", CLONE_NEWNET},   {"ipc", CLONE_NEWIPC},
                            {"uts", CLONE_NEWUTS},   {"cgroup", CLONE_NEWCGROUP},
                            {"user", CLONE_NEWUSER}, {"time", 0x80}};
  int flags = 0;
  for (const Kind& kind : kinds) {
    struct stat own{}, other{};
    const std::string path = fmt::format("/proc/{}/ns/{}", pid, kind.name);
    if (::stat(path.c_str(), &other) != 0 ||
        ::stat(fmt::format("/proc/self/ns/{}", kind.name).c_str(), &own) != 0)
      return os_error(path);
    if (own.st_ino != other.st_ino) flags |= kind.flag;
  }
  user = (flags & CLONE_NEWUSER) != 0;
  return flags;
}

/// In every namespace of the container, but with the tree that the child still has as its root:
/// there the paths are those of the runtime.
Body beside_the_child(pid_t pid, const std::string& bundle) {
  return [pid, bundle](const Hook& hook) {
    const std::string path = fmt::format("/proc/{}/root", pid);
    const DirFd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root) return Error{errno, path, {}, {}};
    const PidFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process) return Error{errno, "pidfd_open", {}, {}};
    bool joins_user = false;
    const Result<int> flags = foreign_namespaces(pid, joins_user);
    if (!flags) return flags.error();
    if (*flags != 0 && ::setns(process.get(), *flags) != 0) return Error{errno, "setns", {}, {}};
    if (joins_user && (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0))
      return Error{errno, "setresuid", {}, {}};
    if (::fchdir(root.get()) != 0 || ::chroot(".") != 0) return Error{errno, "chroot", {}, {}};
    if (!enter(bundle)) return Error{errno, "/", "chdir", {}};
    return fork_and_execute(hook);
  };
}

/// In the container, as a further process of it.
Body in_the_container(const ContainerView& view, const ContainerSpec& spec,
                      const SeccompProgram* seccomp, const HostFacts& facts) {
  return [&view, &spec, seccomp, &facts](const Hook& hook) {
    Process process = spec.process.value_or(Process{});
    process.args = arguments_of(hook);
    process.env = hook.env;
    process.cwd = std::string("/");
    process.terminal = false;
    const Result<ExecResult> result = exec_in_container(
        view, {.spec = spec, .process = process, .seccomp = seccomp, .program = hook.path}, facts);
    if (!result) {
      Error error = result.error();
      if (error.object == "process.args") error.object.clear();  // they are the hook's
      return error;
    }
    if (result->end.signal) {
      ::signal(*result->end.signal, SIG_DFL);
      sigset_t none;
      ::sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      ::kill(::getpid(), *result->end.signal);
    }
    ::_exit(result->end.exit_code.value_or(125));
  };
}

}  // namespace

ContainerHooks::ContainerHooks(const Hooks& hooks, const Record& record, int signal_fd, Warn warn)
    : hooks_(hooks), signal_fd_(signal_fd), warn_(std::move(warn)) {
  if (!hooks_.empty()) record_ = record;
}

ContainerHooks::ContainerHooks(ContainerHooks&& other) noexcept
    : hooks_(std::move(other.hooks_)),
      record_(std::move(other.record_)),
      signal_fd_(other.signal_fd_),
      warn_(std::move(other.warn_)),
      begun_(std::exchange(other.begun_, false)) {}

ContainerHooks::~ContainerHooks() {
  if (begun_) after_end();
}

Status ContainerHooks::before_pivot(pid_t pid) {
  if (hooks_.empty()) return {};
  begun_ = true;
  const Body host = on_the_host(record_.bundle);
  const std::string state = hook_state(record_, "creating", pid);
  TRY(run_list("prestart", hooks_.prestart, state, signal_fd_, host));
  TRY(run_list("createRuntime", hooks_.create_runtime, state, signal_fd_, host));
  if (hooks_.create_container.empty()) return {};
  return run_list("createContainer", hooks_.create_container,
                  hook_state(record_, "creating", TRY(inner_pid(pid))), signal_fd_,
                  beside_the_child(pid, record_.bundle));
}

Status ContainerHooks::before_program(const ContainerDir& dir, const ContainerSpec& spec,
                                      const SeccompProgram* seccomp, const HostFacts& facts) {
  if (hooks_.start_container.empty()) return {};
  if (seccomp != nullptr && seccomp->notify)
    return plain_error("hooks.startContainer",
                       "cannot run under a filter with SCMP_ACT_NOTIFY: nobody would answer it");
  const ContainerView view = view_container(dir, facts);
  if (!view.init || !view.record) return plain_error(dir.id(), "container not running");
  const std::string state = hook_state(record_, "created", TRY(inner_pid(view.init->pid)));
  return run_list("startContainer", hooks_.start_container, state, signal_fd_,
                  in_the_container(view, spec, seccomp, facts));
}

Status ContainerHooks::after_program(pid_t pid) {
  if (hooks_.poststart.empty()) return {};
  return run_list("poststart", hooks_.poststart, hook_state(record_, "running", pid), signal_fd_,
                  on_the_host(record_.bundle));
}

void ContainerHooks::after_end() {
  begun_ = false;
  const Body host = on_the_host(record_.bundle);
  const std::string state = hook_state(record_, "stopped", 0);
  // runtime.md: whatever one of them does, the rest run. Nor does a signal that aborted the start
  // end them: it was taken already.
  for (std::size_t i = 0; i < hooks_.poststop.size(); ++i) {
    const Status ended =
        run_one(fmt::format("hooks.poststop[{}]", i), hooks_.poststop[i], state, signal_fd_, host);
    if (!ended && warn_) warn_(ended.error());
  }
}

}  // namespace minirun
