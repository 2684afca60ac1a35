#include "runtime/run.h"

#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <span>

#include "cgroups/control.h"
#include "runtime/fault.h"
#include "runtime/seccomp_listener.h"

namespace minirun {

Result<SignalFd> SignalFd::open(const HostFacts& facts) {
  sigset_t all;
  ::sigfillset(&all);
  // Faults of our own must not wait in a descriptor, and the alarm ends a blocking lock.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGALRM})
    ::sigdelset(&all, fault);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
  if (::sigprocmask(SIG_SETMASK, &all, nullptr) != 0) return os_error("sigprocmask");
  // A caller that ignores it would have the kernel reap our children: no exit status (waitid(2)).
  if ((facts.ignored_signals >> (SIGCHLD - 1) & 1U) != 0) ::signal(SIGCHLD, SIG_DFL);
  SignalFd result;
  result.fd_ = Fd(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!result.fd_) return os_error("signalfd");
  return result;
}

SignalFd::~SignalFd() = default;

namespace {

/// Collects every other child (orphans that came to us as subreaper).
void reap_others(pid_t init) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    if (info.si_pid == init) return;
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
  }
}

class Waiter {
 public:
  explicit Waiter(const WaitOptions& options) : options_(options) {}

  Result<WaitResult> wait() {
    for (;;) {
      std::array<pollfd, 6> polls{{{options_.pidfd, POLLIN, 0},
                                   {options_.signal_fd, POLLIN, 0},
                                   {-1, 0, 0},
                                   {-1, 0, 0},
                                   {-1, 0, 0},
                                   {-1, 0, 0}}};
      if (options_.notify != nullptr) polls[5] = {options_.notify->fd(), POLLIN, 0};
      if (options_.terminal != nullptr) add_terminal(polls);
      if (::poll(polls.data(), polls.size(), milliseconds_left()) < 0 && errno != EINTR)
        return os_error("poll");
      if (options_.terminal != nullptr)
        options_.terminal->pump(polls[2].revents, polls[3].revents, polls[4].revents);
      // A manager that does not listen any more is no reason to end a container.
      if (polls[5].revents != 0) (void)options_.notify->pump(options_.pid);
      // Also those for a program that has ended: they must not meet its hooks.
      if (polls[1].revents != 0) take_signals(polls[0].revents != 0);
      if (polls[0].revents != 0) return collect();
      if (options_.deadline && std::chrono::steady_clock::now() >= *options_.deadline) {
        result_.timed_out = true;
        options_.deadline.reset();
        kill_everything();
      }
    }
  }

 private:
  void add_terminal(std::array<pollfd, 6>& polls) const {
    const TerminalProxy& terminal = *options_.terminal;
    if (terminal.input_events() != 0) polls[2] = {STDIN_FILENO, terminal.input_events(), 0};
    if (terminal.output_events() != 0) polls[3] = {STDOUT_FILENO, terminal.output_events(), 0};
    if (terminal.master_events() != 0) polls[4] = {terminal.master(), terminal.master_events(), 0};
  }

  [[nodiscard]] int milliseconds_left() const {
    if (!options_.deadline) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        *options_.deadline - std::chrono::steady_clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
  }

  void kill_everything() {
    if (options_.cgroup != nullptr && kill_cgroup(*options_.cgroup)) return;
    ::syscall(SYS_pidfd_send_signal, options_.pidfd, SIGKILL, nullptr, 0);
  }

  void take_signals(bool ended) {
    std::array<signalfd_siginfo, 8> pending{};
    std::size_t count = pending.size();
    while (count == pending.size()) {  // less than all: no more is pending
      const ssize_t size = ::read(options_.signal_fd, pending.data(), sizeof pending);
      count = size < 0 ? 0 : static_cast<std::size_t>(size) / sizeof pending.front();
      for (const signalfd_siginfo& info : std::span(pending).first(count))
        take(static_cast<int>(info.ssi_signo), ended);
    }
  }

  void take(int signal, bool ended) {
    if (signal == SIGCHLD) {
      if (!ended) reap_others(options_.pid);
    } else if (signal == SIGWINCH && options_.terminal != nullptr) {
      options_.terminal->copy_window_size();
    } else if (!ended && signal != SIGPIPE && signal != SIGTTOU && signal != SIGTTIN) {
      // A first process without a handler ignores what is not SIGKILL (pid_namespaces(7)):
      // whoever insists three times means it.
      if ((signal == SIGINT || signal == SIGTERM) && ++interrupts_ == 3) kill_everything();
      ::syscall(SYS_pidfd_send_signal, options_.pidfd, signal, nullptr, 0);
    }
  }

  Result<WaitResult> collect() {
    siginfo_t info{};
    if (TEMP_FAILURE_RETRY(::waitid(static_cast<idtype_t>(P_PIDFD),
                                    static_cast<id_t>(options_.pidfd), &info, WEXITED)) != 0)
      return os_error("waitid");
    if (info.si_code == CLD_EXITED)
      result_.exit_code = info.si_status;
    else
      result_.signal = info.si_status;
    return result_;
  }

  WaitOptions options_;
  WaitResult result_;
  int interrupts_ = 0;
};

}  // namespace

Result<WaitResult> wait_for(const WaitOptions& options) {
  return Waiter(options).wait();
}

namespace {

/// Whether a cgroup that is not minirun's own could tell an old out-of-memory for a new one.
bool has_foreign_ancestors(const CgroupPlan& plan) {
  return !plan.path.starts_with("/minirun/") || plan.path.find('/', 9) != std::string::npos;
}

std::vector<LevelCounters> levels_of(const CgroupFacts& facts, const std::string& path) {
  Result<std::vector<LevelCounters>> levels = read_levels(facts, path);
  return levels ? std::move(*levels) : std::vector<LevelCounters>{};
}

}  // namespace

namespace {

/// What is around every start: who is handed what, and the hooks. Made before the container and
/// so undone after it: poststop hooks run when it is gone.
struct Surroundings {
  Handover handover;
  ContainerHooks hooks;
  std::optional<NotifyProxy> notify{};

  static Result<Surroundings> make(RunRequest& request, const LaunchPlan& plan,
                                   const SignalFd& signals) {
    request.record.id = plan.id;
    request.record.hooks = !request.spec.hooks.empty();
    request.record.process = request.spec.process.has_value();
    Handover handover = TRY(Handover::open(std::move(request.handover)));
    return Result<Surroundings>(std::in_place, std::move(handover), request.spec.hooks,
                                request.record, signals.get(), request.warn);
  }
  Surroundings(Handover given, const Hooks& list, const Record& record, int signal_fd, Warn warn)
      : handover(std::move(given)), hooks(list, record, signal_fd, std::move(warn)) {}
  Surroundings(Surroundings&&) = default;

  LaunchContext context(const RunRequest& request, const LaunchPlan& plan, const HostFacts& facts,
                        const SignalFd& signals, PhaseClock& clock) {
    return {.facts = facts,
            .state_directory = request.root.path() + "/" + plan.id,
            .signal_fd = signals.get(),
            .timing = request.timing,
            .clock = &clock,
            .hooks = [this](pid_t pid) { return hooks.before_pivot(pid); }};
  }

  /// Right before the word, when the container is committed.
  Status begin(const Creation& creation, const RunRequest& request, const HostFacts& facts) {
    if (const auto manager = callers_notify_socket(); manager && creation.record.notify)
      notify.emplace(TRY(NotifyProxy::open(creation.dir.fd(), *manager)));
    return hooks.before_program(creation.dir, request.spec, request.seccomp, facts);
  }
};

}  // namespace

void serve_listener(Launched& launched, const ContainerSpec& spec, const Record& record) {
  if (!spec.seccomp || spec.seccomp->listener_path.empty()) return;
  launched.on_listener = [&launched, &spec, &record](int listener) {
    const ProcessState state{.oci_version = record.oci_version,
                             .id = record.id,
                             .status = "creating",
                             .pid = launched.init.pid,
                             .init_pid = launched.init.pid,
                             .bundle = record.bundle,
                             .annotations = record.annotations};
    return send_listener(spec.seccomp->listener_path,
                         container_process_state(state, spec.seccomp->listener_metadata), listener);
  };
}

Result<RunResult> run_foreground(RunRequest request, const LaunchPlan& plan, const HostFacts& facts,
                                 PhaseClock& clock, std::vector<std::uint32_t>* step_times) {
  const SignalFd signals = TRY(SignalFd::open(facts));
  // Without a pid namespace orphans of the container come to us.
  if ((plan.clone_flags & static_cast<std::uint64_t>(CLONE_NEWPID)) == 0)
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  request.record.foreground = true;
  Surroundings around = TRY(Surroundings::make(request, plan, signals));
  const LaunchContext context = around.context(request, plan, facts, signals, clock);
  RunResult result;
  result.id = plan.id;
  result.name = request.spec.name;
  result.cgroup = plan.cgroup;
  result.origins = request.spec.origins;
  Creation creation = TRY(
      create_container(request.root, std::move(request.record), request.document, plan, context));
  Launched& launched = *creation.launched;
  TRY(around.handover.give(launched));
  serve_listener(launched, request.spec, creation.record);
  std::vector<LevelCounters> before;
  if (request.measure && has_foreign_ancestors(plan.cgroup))
    before = levels_of(facts.cgroup, plan.cgroup.path);
  TRY(fault_point("terminal"));
  std::optional<TerminalProxy> terminal;
  if (launched.console) terminal.emplace(TRY(TerminalProxy::start(std::move(launched.console))));
  result.started = timestamp();
  const auto start = std::chrono::steady_clock::now();
  TRY(around.begin(creation, request, facts));
  TRY(give_word(launched, plan.child, signals.get()));
  TRY(around.hooks.after_program(launched.init.pid));
  TRY(fault_point("wait for the program"));
  clock.mark("exec");
  if (step_times != nullptr) *step_times = launched.step_nanoseconds;
  WaitOptions wait{.signal_fd = signals.get(),
                   .pid = launched.init.pid,
                   .pidfd = launched.pidfd.get(),
                   .terminal = terminal ? &*terminal : nullptr,
                   .deadline = {},
                   .cgroup = launched.cgroup ? &launched.cgroup->fd() : nullptr,
                   .notify = around.notify ? &*around.notify : nullptr};
  if (request.timeout) wait.deadline = start + *request.timeout;
  const WaitResult ended = TRY(wait_for(wait));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.finished = timestamp();
  launched.init.pid = 0;  // it is collected: nothing to kill
  TRY(fault_point("counters"));
  if (terminal) terminal->drain();
  terminal.reset();
  result.exit_code = ended.exit_code;
  result.signal = ended.signal;
  result.timed_out = ended.timed_out;
  if (request.measure && launched.cgroup) {
    result.stats = TRY(read_stats(launched.cgroup->fd()));
    result.verdict = judge_limits(before, levels_of(facts.cgroup, plan.cgroup.path));
  }
  clock.mark("program");
  const bool keep = creation.record.keep;
  TRY(fault_point("remove the cgroup"));
  TRY(creation.end());
  TRY(fault_point("remove the state"));
  process_ends = !creation.record.hooks;  // else all that is left is to say what happened
  around.handover.keep();
  if (keep) {
    creation.keep();
    around.hooks.keep();
  } else {
    TRY(creation.undo());
  }
  clock.mark("remove");
  result.phases = clock.phases();
  return result;
}

Result<pid_t> run_detached(RunRequest request, const LaunchPlan& plan, const HostFacts& facts,
                           PhaseClock& clock) {
  const SignalFd signals = TRY(SignalFd::open(facts));
  Surroundings around = TRY(Surroundings::make(request, plan, signals));
  const LaunchContext context = around.context(request, plan, facts, signals, clock);
  Creation creation = TRY(
      create_container(request.root, std::move(request.record), request.document, plan, context));
  Launched& launched = *creation.launched;
  serve_listener(launched, request.spec, creation.record);
  TRY(around.handover.give(launched));
  const bool waits = plan.start_socket != Slot::none;
  if (!waits) TRY(around.begin(creation, request, facts));
  // Until its end of file: the child takes its death signal off before it waits or executes.
  TRY(give_word(launched, plan.child, signals.get()));
  if (!waits) TRY(around.hooks.after_program(launched.init.pid));
  TRY(fault_point("let it go"));
  const pid_t pid = launched.init.pid;
  PidFd pidfd = std::move(launched.pidfd);
  creation.keep();
  around.handover.keep();
  around.hooks.keep();
  if (waits || !around.notify) return pid;
  {
    const ContainerDir given_back = std::move(creation.dir);
  }  // others may work on it by now
  TRY(around.notify->wait_ready(pid, pidfd.get(), signals.get()));
  return pid;
}

}  // namespace minirun
