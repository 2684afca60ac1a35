#include "runtime/pod_container.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "cgroups/control.h"
#include "security/seccomp_cache.h"

namespace minirun {
namespace {

constexpr std::size_t longest_line = 64 << 10;
constexpr std::chrono::seconds longest_backoff{300};
/// The kubelet forgets failures after a container ran for twice the longest back-off.
constexpr std::chrono::seconds forgotten_after{600};
/// What is left for the program after a preStop hook that used up the grace period (the kubelet's
/// minimumGracePeriodInSeconds).
constexpr std::chrono::seconds least_grace{2};

/// Kills a helper process and takes its status.
void end_process(std::optional<ProbeProcess>& process) {
  if (!process) return;
  ::syscall(SYS_pidfd_send_signal, process->pidfd.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  (void)TEMP_FAILURE_RETRY(::waitid(static_cast<idtype_t>(P_PIDFD),
                                    static_cast<id_t>(process->pidfd.get()), &info, WEXITED));
  process.reset();
}

/// Whether it exited with 0; nullopt: it runs.
std::optional<bool> ended_well(const ProbeProcess& process) {
  siginfo_t info{};
  const int done = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(process.pidfd.get()),
                            &info, WEXITED | WNOHANG);
  if (done != 0 || info.si_pid == 0) return std::nullopt;
  return info.si_code == CLD_EXITED && info.si_status == 0;
}

}  // namespace

// ---------------------------------------------------------------- output

void LineReader::pump(const std::function<void(const std::string&)>& line) {
  char buffer[16384];
  while (fd_) {
    const ssize_t n = ::read(fd_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;  // EAGAIN: nothing more for now
    if (n == 0) {
      fd_.reset();
      return;
    }
    rest_.append(buffer, static_cast<std::size_t>(n));
    std::size_t from = 0;
    for (std::size_t end = 0; (end = rest_.find('\n', from)) != std::string::npos; from = end + 1)
      line(rest_.substr(from, end + 1 - from));
    rest_.erase(0, from);
    if (rest_.size() >= longest_line) {
      line(rest_ + "\n");
      rest_.clear();
    }
  }
}

void LineReader::finish(const std::function<void(const std::string&)>& line) {
  pump(line);
  if (!rest_.empty()) line(rest_ + "\n");
  rest_.clear();
  fd_.reset();
}

// ---------------------------------------------------------------- probes

ProbeState::ProbeState(const kubernetes::Probe& probe, PodClock::time_point started)
    : probe_(probe), next_(started + std::chrono::seconds(probe.initial_delay_seconds)) {}

void ProbeState::cancel() {
  end_process(process_);
}

ProbeState::Event ProbeState::judge(bool success) {
  successes_ = success ? successes_ + 1 : 0;
  failures_ = success ? 0 : failures_ + 1;
  if (success && successes_ == probe_.success_threshold) {
    passing_ = true;
    return Event::passed;
  }
  if (!success && failures_ == probe_.failure_threshold) {
    passing_ = false;
    failures_ = 0;
    return Event::failed;
  }
  return Event::none;
}

ProbeState::Event ProbeState::step(PodClock::time_point now, const ProbeTarget& target) {
  Event event = Event::none;
  if (process_) {
    if (const auto success = ended_well(*process_)) {
      process_.reset();
      next_ = now + std::chrono::seconds(probe_.period_seconds);
      event = judge(*success);
    } else if (now >= next_) {  // its timeout
      cancel();
      next_ = now + std::chrono::seconds(probe_.period_seconds);
      event = judge(false);
    }
    return event;
  }
  if (now < next_) return event;
  Result<ProbeProcess> process = start_probe(probe_, target);
  if (!process) {
    next_ = now + std::chrono::seconds(probe_.period_seconds);
    return judge(false);
  }
  process_ = std::move(*process);
  next_ = now + std::chrono::seconds(probe_.timeout_seconds);
  return event;
}

// ---------------------------------------------------------------- hooks

Result<HookState> HookState::begin(const kubernetes::Hook& hook, const ProbeTarget& target,
                                   PodClock::time_point now) {
  HookState state;
  if (hook.action)
    state.process_ = TRY(start_probe(*hook.action, target));
  else
    state.until_ = now + std::chrono::seconds(hook.sleep_seconds);
  return state;
}

std::optional<bool> HookState::step(PodClock::time_point now) {
  if (!process_) return now >= *until_ ? std::optional(true) : std::nullopt;
  const auto success = ended_well(*process_);
  if (success) process_.reset();
  return success;
}

void HookState::cancel() {
  end_process(process_);
}

// ---------------------------------------------------------------- start

Result<LaunchPlan> PodContainer::plan() {
  LaunchOptions options;
  options.id = parts_.id;
  options.die_with_parent = true;
  options.formula = parts_.formula;
  options.account = true;
  std::optional<SeccompProgram> program;
  if (parts_.spec.seccomp) program = TRY(cached_seccomp(*parts_.spec.seccomp, shared_.root.fd()));
  LaunchPlan plan = plan_launch(parts_.spec, shared_.facts, options, program ? &*program : nullptr);
  for (const Finding& finding : plan.findings)
    if (finding.level == Finding::Level::error)
      return plain_error(name(), finding.pointer.empty()
                                     ? finding.message
                                     : finding.pointer + ": " + finding.message);
  return plan;
}

Status PodContainer::start() {
  restart_at_.reset();
  const LaunchPlan launch_plan = TRY(plan());
  if (Status launched = launch_with_pipes(launch_plan); !launched) {
    state_ = State::finished;
    out_.finish([](const std::string&) {});
    err_.finish([](const std::string&) {});
    return std::unexpected(std::move(launched).error().in(name()));
  }
  state_ = State::running;
  began_ = PodClock::now();
  if (!parts_.run.post_start) {
    begin_probes();
    return {};
  }
  if (auto hook = HookState::begin(*parts_.run.post_start, target(), began_))
    post_start_.emplace(std::move(*hook));
  else
    terminate(shared_.grace, "its postStart hook cannot be started, it is killed");
  return {};
}

ProbeTarget PodContainer::target() const {
  return {parts_.id, shared_.root.path(), shared_.network, shared_.address};
}

void PodContainer::begin_probes() {
  const auto now = PodClock::now();
  const auto begin = [now](const std::optional<kubernetes::Probe>& probe,
                           std::optional<ProbeState>& target) {
    target.reset();
    if (probe) target.emplace(*probe, now);
  };
  begin(parts_.run.startup, startup_);
  begin(parts_.run.liveness, liveness_);
  begin(parts_.run.readiness, readiness_);
}

Status PodContainer::launch_with_pipes(const LaunchPlan& launch_plan) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0) return os_error("pipe");
  out_.open(Fd(out[0]));
  const Fd out_write(out[1]);
  if (::pipe2(err, O_CLOEXEC | O_NONBLOCK) != 0) return os_error("pipe");
  err_.open(Fd(err[0]));
  const Fd err_write(err[1]);
  // Only our ends do not block: a program would not expect it.
  for (const int fd : {out[1], err[1]}) (void)::fcntl(fd, F_SETFL, 0);
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  // The stage inherits descriptors 0 to 2 of this process.
  std::vector<Fd> saved;
  for (const int fd : {0, 1, 2}) saved.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  ::dup2(null.get(), 0);
  ::dup2(out_write.get(), 1);
  ::dup2(err_write.get(), 2);
  Record record;
  record.bundle = "/";
  record.rootfs = parts_.spec.root.lower.empty() ? "" : parts_.spec.root.lower.front();
  record.oci_version = parts_.spec.oci_version;
  record.format = "oci";
  record.foreground = true;
  record.annotations = parts_.spec.annotations;
  const LaunchContext context{.facts = shared_.facts,
                              .state_directory = shared_.root.path() + "/" + parts_.id,
                              .signal_fd = shared_.signal_fd,
                              .hooks = {}};
  Result<Creation> created =
      create_container(shared_.root, std::move(record), parts_.document, launch_plan, context);
  for (const int fd : {0, 1, 2}) ::dup2(saved[static_cast<std::size_t>(fd)].get(), fd);
  if (!created) return std::unexpected(std::move(created).error());
  creation_.emplace(std::move(*created));
  const auto undo = [this](Status failed) {
    creation_.reset();
    return failed;
  };
  if (Status shared = creation_->dir.share_lock(); !shared) return undo(std::move(shared));
  const auto levels = read_levels(shared_.facts.cgroup, launch_plan.cgroup.path);
  before_ = levels ? *levels : std::vector<LevelCounters>{};
  current_ = {};
  current_.id = parts_.id;
  current_.name = name();
  current_.cgroup = launch_plan.cgroup;
  current_.origins = parts_.spec.origins;
  current_.started = timestamp();
  if (Status word = give_word(*creation_->launched, launch_plan.child, shared_.signal_fd); !word)
    return undo(std::move(word));
  return {};
}

bool PodContainer::started() const {
  return state_ == State::running && !post_start_ && (!startup_ || startup_->passing());
}

// ---------------------------------------------------------------- while it runs

void PodContainer::signal(int number) {
  if (state_ == State::running)
    ::syscall(SYS_pidfd_send_signal, creation_->launched->pidfd.get(), number, nullptr, 0);
}

void PodContainer::terminate(std::chrono::milliseconds grace, const char* why) {
  if (state_ != State::running || kill_at_) return;
  if (why != nullptr) shared_.log(fmt::format("{}: {}", name(), why));
  const auto now = PodClock::now();
  kill_at_ = now + grace;
  if (parts_.run.pre_stop && grace.count() > 0) {
    // The time that it takes is part of the grace period.
    if (auto hook = HookState::begin(*parts_.run.pre_stop, target(), now)) {
      pre_stop_.emplace(std::move(*hook));
      return;
    }
    shared_.log(name() + ": its preStop hook cannot be started");
  }
  signal(SIGTERM);
}

void PodContainer::end_pre_stop(PodClock::time_point now) {
  pre_stop_->cancel();
  pre_stop_.reset();
  signal(SIGTERM);
  kill_at_ = std::max(*kill_at_, now + least_grace);
}

void PodContainer::step_hooks(PodClock::time_point now) {
  if (post_start_)
    if (const auto success = post_start_->step(now)) {
      post_start_.reset();
      if (*success && !kill_at_) begin_probes();
      if (!*success) terminate(shared_.grace, "its postStart hook failed, it is killed");
    }
  if (!pre_stop_) return;
  const auto success = pre_stop_->step(now);
  if (success && !*success) shared_.log(name() + ": its preStop hook failed");
  if (!success && now < *kill_at_) return;
  if (!success) shared_.log(name() + ": its preStop hook takes longer than the grace period");
  end_pre_stop(now);
}

void PodContainer::give_up() {
  if (state_ == State::backoff || state_ == State::waiting) state_ = State::finished;
  restart_at_.reset();
}

void PodContainer::add_descriptors(std::vector<int>& fds) const {
  for (const int fd : {out_.fd(), err_.fd()})
    if (fd >= 0) fds.push_back(fd);
  if (state_ != State::running) return;
  fds.push_back(creation_->launched->pidfd.get());
  for (const auto* hook : {&post_start_, &pre_stop_})
    if (*hook && (*hook)->fd() >= 0) fds.push_back((*hook)->fd());
  for (const auto* probe : {&startup_, &liveness_, &readiness_})
    if (*probe && (*probe)->fd() >= 0) fds.push_back((*probe)->fd());
}

std::optional<PodClock::time_point> PodContainer::next() const {
  std::optional<PodClock::time_point> next = restart_at_;
  const auto take = [&next](PodClock::time_point time) {
    if (!next || time < *next) next = time;
  };
  if (state_ != State::running) return next;
  if (kill_at_) take(*kill_at_);
  for (const auto* hook : {&post_start_, &pre_stop_})
    if (*hook && (*hook)->until()) take(*(*hook)->until());
  const bool begun = started();
  if (startup_ && !begun) take(startup_->next());
  if (begun && liveness_) take(liveness_->next());
  if (begun && readiness_) take(readiness_->next());
  return next;
}

void PodContainer::pump() {
  out_.pump([this](const std::string& line) { shared_.output(1, parts_.label + line); });
  err_.pump([this](const std::string& line) { shared_.output(2, parts_.label + line); });
}

void PodContainer::step_probes(PodClock::time_point now) {
  const ProbeTarget target = this->target();
  if (startup_ && !startup_->passing()) {
    if (startup_->step(now, target) == ProbeState::Event::failed)
      terminate(shared_.grace, "startup probe failed, it is killed");
    return;
  }
  if (liveness_ && liveness_->step(now, target) == ProbeState::Event::failed)
    terminate(shared_.grace, "liveness probe failed, it is killed");
  if (readiness_) {
    const auto event = readiness_->step(now, target);
    if (event == ProbeState::Event::passed) shared_.log(name() + ": ready");
    if (event == ProbeState::Event::failed) shared_.log(name() + ": not ready");
  }
}

bool PodContainer::step(PodClock::time_point now) {
  pump();
  if (state_ != State::running) return false;
  Launched& launched = *creation_->launched;
  siginfo_t info{};
  const int done = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(launched.pidfd.get()),
                            &info, WEXITED | WNOHANG);
  if (done == 0 && info.si_pid != 0) {
    if (info.si_code == CLD_EXITED)
      current_.exit_code = info.si_status;
    else
      current_.signal = info.si_status;
    launched.init.pid = 0;  // it is collected: nothing to kill
    collect();
    return true;
  }
  step_hooks(now);
  if (kill_at_ && now >= *kill_at_) {
    (void)kill_cgroup(launched.cgroup->fd());
    kill_at_ = now + std::chrono::seconds(1);  // again, should the kernel have refused
    return false;
  }
  if (!kill_at_ && !post_start_) step_probes(now);
  return false;
}

void PodContainer::collect() {
  for (auto* probe : {&startup_, &liveness_, &readiness_}) {
    if (*probe) (*probe)->cancel();
    probe->reset();
  }
  for (auto* hook : {&post_start_, &pre_stop_}) {
    if (*hook) (*hook)->cancel();
    hook->reset();
  }
  kill_at_.reset();
  current_.seconds = std::chrono::duration<double>(PodClock::now() - began_).count();
  current_.finished = timestamp();
  if (auto stats = read_stats(creation_->launched->cgroup->fd())) current_.stats = *stats;
  if (const auto levels = read_levels(shared_.facts.cgroup, current_.cgroup.path))
    current_.verdict = judge_limits(before_, *levels);
  if (const Status locked = creation_->dir.upgrade_lock(); !locked)
    shared_.log(fmt::format("{}: {}", name(), to_string(locked.error())));
  Status undone = creation_->end();
  if (undone) undone = creation_->undo();
  if (!undone) shared_.log(fmt::format("{}: {}", name(), to_string(undone.error())));
  creation_.reset();
  out_.finish([this](const std::string& line) { shared_.output(1, parts_.label + line); });
  err_.finish([this](const std::string& line) { shared_.output(2, parts_.label + line); });
  if (PodClock::now() - began_ > forgotten_after) failures_in_a_row_ = 0;
  last_ = std::move(current_);
  state_ = State::finished;
}

void PodContainer::schedule_restart() {
  // As the kubelet: at once, then after 10 s, 20 s, 40 s ... 300 s.
  std::chrono::milliseconds delay{0};
  if (failures_in_a_row_ > 0) {
    delay = shared_.backoff * (1LL << std::min(failures_in_a_row_ - 1, 10));
    delay = std::min<std::chrono::milliseconds>(delay, longest_backoff);
  }
  ++failures_in_a_row_;
  ++restarts_;
  restart_at_ = PodClock::now() + delay;
  state_ = State::backoff;
  shared_.log(fmt::format(
      "{}: exited {}, restart {} {}", name(), last_ ? last_->status() : 125, restarts_,
      delay.count() == 0 ? std::string("at once")
                         : fmt::format("in {:g} s", static_cast<double>(delay.count()) / 1e3)));
}

}  // namespace minirun
