#include "probe/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <ranges>

#include "base/file.h"
#include "cgroups/control.h"
#include "probe/counters.h"
#include "runtime/container.h"
#include "security/seccomp.h"

extern "C" {
extern const char minirun_probe_begin[];
extern const char minirun_probe_end[];
extern char** environ;  // NOLINT: environ(7)
}

namespace minirun::probe {

Result<Fd> open_probe_program() {
#ifndef MFD_EXEC
  constexpr unsigned MFD_EXEC = 0x10;
#endif
  Fd file(::memfd_create("minirun-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (!file && errno == EINVAL)  // before Linux 6.3 the flag is unknown and implied
    file = Fd(::memfd_create("minirun-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return os_error("memfd_create", "vm.memfd_noexec may forbid it");
  TRY(write_all(
      file.get(),
      {minirun_probe_begin, static_cast<std::size_t>(minirun_probe_end - minirun_probe_begin)},
      "minirun-probe"));
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
      0)
    return os_error("minirun-probe", "seal");
  return file;
}

namespace {

using Clock = std::chrono::steady_clock;

/// What a hostile or broken workload could send at most; a full document is some 100 kB.
constexpr std::size_t max_output = 16 << 20;

struct Pipe {
  Fd read, write;
  static Result<Pipe> open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("pipe2");
    Pipe pipe{Fd(ends[0]), Fd(ends[1])};
    if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return os_error("pipe", "fcntl");
    return pipe;
  }
};

/// Puts descriptors in the place of standard output and error while a container is created, which
/// inherits ours.
class StandardStreams {
 public:
  static Result<StandardStreams> replace(int out, int err) {
    StandardStreams streams;
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      Fd& saved = fd == STDOUT_FILENO ? streams.out_ : streams.err_;
      saved = Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
      if (!saved) return os_error("standard streams", "duplicate");
    }
    if (::dup2(out, STDOUT_FILENO) < 0 || ::dup2(err, STDERR_FILENO) < 0)
      return os_error("standard streams", "replace");
    return streams;
  }
  StandardStreams(StandardStreams&&) noexcept = default;
  StandardStreams& operator=(StandardStreams&&) = delete;
  ~StandardStreams() {
    if (out_) ::dup2(out_.get(), STDOUT_FILENO);
    if (err_) ::dup2(err_.get(), STDERR_FILENO);
  }

 private:
  StandardStreams() = default;
  Fd out_, err_;
};

class Session {
 public:
  Session(const SessionHost& host, const SessionRequest& request)
      : host_(host), request_(request) {}

  /// False: the record says why it cannot be.
  Result<bool> prepare() {
    record_ = Json::object();
    record_["side"] = request_.spec != nullptr ? "container" : "host";
    record_["arguments"] = request_.arguments;
    out_ = TRY(Pipe::open());
    err_ = TRY(Pipe::open());
    if (request_.spec == nullptr) return prepare_outside();
    return prepare_inside();
  }

  Status begin() {
    if (const CgroupFd* group = cgroup()) {
      record_["limits"] = read_limits(*group);
      record_["before"] = read_counters(*group);
      record_["levels_before"] = read_level_events(host_.facts.cgroup, path());
    }
    if (request_.spec != nullptr) {
      const Network& network = request_.spec->network;
      if (network.ingress_bits) record_["limits"]["network.ingress"] = *network.ingress_bits;
      if (network.egress_bits) record_["limits"]["network.egress"] = *network.egress_bits;
    }
    begin_ = Clock::now();
    next_sample_ = begin_;
    if (creation_) {
      TRY(creation_->dir.share_lock());
      TRY(give_word(*creation_->launched, plan_.child, host_.signal_fd));
    } else {
      TRY(start_outside());
    }
    out_.write.reset();
    err_.write.reset();
    return {};
  }

  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] int pidfd() const {
    return creation_ ? creation_->launched->pidfd.get() : pidfd_.get();
  }
  [[nodiscard]] int out() const { return out_.read ? out_.read.get() : -1; }
  [[nodiscard]] int err() const { return err_.read ? err_.read.get() : -1; }

  [[nodiscard]] bool background() const { return request_.background; }

  void stop() {
    if (stopped_ || !running_) return;
    stopped_ = true;
    if (const CgroupFd* group = cgroup(); group == nullptr || !kill_cgroup(*group))
      ::syscall(SYS_pidfd_send_signal, pidfd(), SIGKILL, nullptr, 0);
  }

  void drain() {
    drain(out_.read, output_);
    drain(err_.read, errors_);
  }

  void tick(Clock::time_point now) {
    if (!running_) return;
    if (now - begin_ > request_.limit && !timed_out_) {
      timed_out_ = true;
      stop();
    }
    if (request_.sample_ms <= 0 || now < next_sample_) return;
    sample(now);
    next_sample_ = now + std::chrono::milliseconds(request_.sample_ms);
  }

  [[nodiscard]] std::optional<Clock::time_point> next() const {
    if (!running_) return std::nullopt;
    const Clock::time_point end = begin_ + request_.limit;
    return request_.sample_ms > 0 ? std::min(next_sample_, end) : end;
  }

  Status collect() {
    siginfo_t info{};
    if (TEMP_FAILURE_RETRY(::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd()),
                                    &info, WEXITED)) != 0)
      return os_error("waitid");
    running_ = false;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    sample(Clock::now());
    if (creation_) creation_->launched->init.pid = 0;  // it is collected: nothing to kill
    record_["seconds"] = seconds;
    record_[info.si_code == CLD_EXITED ? "exit_code" : "signal"] = info.si_status;
    if (timed_out_) record_["timed_out"] = true;
    drain();
    finish_counters();
    finish_output();
    return {};
  }

  /// Takes the container, or the transient cgroup, away.
  Status end() {
    if (creation_) {
      TRY(creation_->dir.upgrade_lock());
      return creation_->undo();
    }
    return outside_ ? outside_->remove() : Status();
  }

  Json take() { return std::move(record_); }

 private:
  [[nodiscard]] const CgroupFd* cgroup() const {
    if (creation_) return &creation_->launched->cgroup->fd();
    return outside_ ? &outside_->fd() : nullptr;
  }
  [[nodiscard]] const std::string& path() const {
    return creation_ ? plan_.cgroup.path : outside_path_;
  }

  bool refuse(std::string why) {
    record_["unsupported"] = std::move(why);
    return false;
  }

  Result<bool> prepare_outside() {
    if (host_.facts.cgroup.mount_point.empty()) {
      record_["warnings"] = {"no cgroup2 mount: the host side ran without a cgroup of its own"};
      return true;
    }
    ContainerSpec nothing;
    CgroupPlanResult planned = plan_cgroup(nothing, host_.facts, request_.id, {.account = true});
    planned.plan.attach_devices = false;
    outside_path_ = planned.plan.path;
    outside_ = TRY(Cgroup::create(planned.plan, host_.facts.cgroup));
    return true;
  }

  Result<bool> prepare_inside() {
    ContainerSpec spec = *request_.spec;
    spec.process->args = {"minirun-probe"};
    spec.process->args.insert(spec.process->args.end(), request_.arguments.begin(),
                              request_.arguments.end());
    std::optional<SeccompProgram> filter;
    if (spec.seccomp) filter = TRY(compile_seccomp(*spec.seccomp));
    LaunchOptions options;
    options.id = request_.id;
    options.die_with_parent = true;
    options.account = true;
    options.program_fd = host_.program.get();
    if (const Status done = host_.network.adapt(spec, request_.id, options); !done)
      return refuse(to_string(done.error()));
    plan_ = plan_launch(spec, host_.facts, options, filter ? &*filter : nullptr);
    if (const Status done = host_.network.plan(spec, request_.id, plan_); !done)
      return refuse(to_string(done.error()));
    for (const Finding& finding : plan_.findings)
      if (finding.level == Finding::Level::error)
        return refuse(finding.pointer.empty() ? finding.message
                                              : finding.pointer + ": " + finding.message);
    Record record;
    record.format = "short";
    record.foreground = true;
    const LaunchContext context{.facts = host_.facts,
                                .state_directory = host_.root.path() + "/" + request_.id,
                                .signal_fd = host_.signal_fd,
                                .hooks = {}};
    const StandardStreams streams =
        TRY(StandardStreams::replace(out_.write.get(), err_.write.get()));
    creation_.emplace(TRY(create_container(host_.root, std::move(record), "{}\n", plan_, context)));
    return true;
  }

  Status start_outside() {
    std::vector<const char*> argv = {"minirun-probe"};
    for (const std::string& word : request_.arguments) argv.push_back(word.c_str());
    argv.push_back(nullptr);
    int pidfd = -1;
    clone_args arguments{};
    arguments.flags = CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<__u64>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    if (outside_) {
      arguments.flags |= CLONE_INTO_CGROUP;
      arguments.cgroup = static_cast<__u64>(outside_->fd().get());
    }
    const pid_t parent = ::getpid();
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0) return os_error("clone3");
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(125);
      sigset_t none;
      ::sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      const int null = ::open("/dev/null", O_RDONLY);
      if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(out_.write.get(), 1) < 0 ||
          ::dup2(err_.write.get(), 2) < 0)
        ::_exit(125);
      ::syscall(SYS_execveat, host_.program.get(), "", argv.data(), environ, AT_EMPTY_PATH);
      ::_exit(126);
    }
    pidfd_ = PidFd(pidfd);
    return {};
  }

  static void drain(Fd& fd, std::string& text) {
    if (!fd) return;
    std::array<char, 65536> buffer;
    for (;;) {
      const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return;
      if (size == 0) return fd.reset();
      if (text.size() < max_output) text.append(buffer.data(), static_cast<std::size_t>(size));
    }
  }

  void sample(Clock::time_point now) {
    const CgroupFd* group = cgroup();
    if (group == nullptr || request_.sample_ms <= 0 || times_.size() >= 4000) return;
    const double memory = read_number(*group, "memory.current", nullptr);
    const double throttled = read_number(*group, "cpu.stat", "throttled_usec");
    times_.push_back(std::chrono::duration<double, std::milli>(now - begin_).count());
    memory_.push_back(memory);
    throttled_.push_back(throttled);
    swapped_.push_back(read_number(*group, "memory.swap.current", nullptr));
  }

  void finish_counters() {
    const CgroupFd* group = cgroup();
    if (group == nullptr) return;
    record_["cgroup_path"] = path();
    record_["after"] = read_counters(*group);
    record_["levels"] = read_level_events(host_.facts.cgroup, path());
    if (times_.empty()) return;
    Json timeline = {{"t_ms", times_}};
    // A file that is not there was never read as a zero.
    if (memory_.front() >= 0) timeline["memory.current"] = memory_;
    if (throttled_.front() >= 0) timeline["throttled_usec"] = throttled_;
    if (std::ranges::any_of(swapped_, [](double value) { return value > 0; }))
      timeline["memory.swap.current"] = swapped_;
    record_["timeline"] = std::move(timeline);
  }

  void finish_output() {
    if (!errors_.empty()) record_["stderr"] = errors_.substr(0, 4000);
    Json document = Json::parse(output_, nullptr, false);
    record_["document"] = document.is_discarded() ? Json() : std::move(document);
  }

  const SessionHost& host_;
  const SessionRequest& request_;
  LaunchPlan plan_;
  Pipe out_, err_;
  std::optional<Creation> creation_;
  std::optional<Cgroup> outside_;
  std::string outside_path_;
  PidFd pidfd_;
  bool running_ = true, timed_out_ = false, stopped_ = false;
  Clock::time_point begin_, next_sample_;
  std::string output_, errors_;
  std::vector<double> times_, memory_, throttled_, swapped_;
  Json record_;
};

/// Error EINTR when a signal asks to stop.
Status look_at_signals(int signal_fd) {
  signalfd_siginfo info{};
  while (signal_fd >= 0 && ::read(signal_fd, &info, sizeof info) == sizeof info) {
    const auto signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT)
      return os_error(EINTR, "probe", fmt::format("stopped by SIG{}", ::sigabbrev_np(signal)));
  }
  return {};
}

Status watch(std::vector<Session>& sessions, const std::vector<std::size_t>& live, int signal_fd) {
  for (;;) {
    std::vector<pollfd> polls = {{signal_fd, POLLIN, 0}};
    std::optional<Clock::time_point> wake;
    for (const std::size_t index : live) {
      const Session& session = sessions[index];
      if (!session.running()) continue;
      polls.push_back({session.pidfd(), POLLIN, 0});
      polls.push_back({session.out(), POLLIN, 0});
      polls.push_back({session.err(), POLLIN, 0});
      if (const auto next = session.next(); next && (!wake || *next < *wake)) wake = next;
    }
    if (polls.size() == 1) return {};
    int wait = -1;
    if (wake)
      wait = static_cast<int>(std::max<std::int64_t>(
          0, std::chrono::ceil<std::chrono::milliseconds>(*wake - Clock::now()).count()));
    if (::poll(polls.data(), polls.size(), wait) < 0 && errno != EINTR) return os_error("poll");
    TRY(look_at_signals(signal_fd));
    std::size_t at = 1;
    for (const std::size_t index : live) {
      Session& session = sessions[index];
      if (!session.running()) continue;
      const bool ended = polls[at].revents != 0;
      at += 3;
      session.drain();
      session.tick(Clock::now());
      if (ended) TRY(session.collect());
    }
    if (std::ranges::none_of(live, [&sessions](std::size_t index) {
          return sessions[index].running() && !sessions[index].background();
        }))
      for (const std::size_t index : live) sessions[index].stop();
  }
}

}  // namespace

Result<std::vector<Json>> run_sessions(const SessionHost& host,
                                       std::span<const SessionRequest> requests) {
  std::vector<Session> sessions;
  sessions.reserve(requests.size());
  std::vector<std::size_t> live;
  bool all = true;
  for (const SessionRequest& request : requests) {
    sessions.emplace_back(host, request);
    all = TRY(sessions.back().prepare()) && all;
  }
  if (all)
    for (std::size_t index = 0; index < sessions.size(); ++index) {
      TRY(sessions[index].begin());
      live.push_back(index);
    }
  TRY(watch(sessions, live, host.signal_fd));
  // Whoever made the cgroup above them all removes it, so the first one ends last.
  for (const std::size_t index : std::views::reverse(live)) TRY(sessions[index].end());
  std::vector<Json> records;
  for (Session& session : sessions) records.push_back(session.take());
  return records;
}

}  // namespace minirun::probe
