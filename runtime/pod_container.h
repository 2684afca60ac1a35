// Owns: one container of a pod from its start to its end, once or several times: process, output
// with a prefix, probes, restarts. Its pod (pod_run.h) tells it when.
// Must not: know the other containers.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/host_facts.h"
#include "runtime/container.h"
#include "runtime/pod_probe.h"
#include "runtime/report.h"
#include "spec/kubernetes/plan.h"
#include "spec/kubernetes/pod_run.h"
#include "spec/model.h"

namespace minirun {

using PodClock = std::chrono::steady_clock;

/// One line for people about what happened: "app: restarted after exit 1".
using PodLog = std::function<void(const std::string&)>;
/// Output of a container: 1 or 2, and a whole line with its line break.
using PodOutput = std::function<void(int stream, const std::string& line)>;

/// Collects bytes into lines of at most 64 KiB.
class LineReader {
 public:
  void open(Fd fd) { fd_ = std::move(fd); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Reads what is there; closes at the end of the stream.
  void pump(const std::function<void(const std::string&)>& line);
  /// What is there, and the rest without a line break; then closes.
  void finish(const std::function<void(const std::string&)>& line);

 private:
  Fd fd_;
  std::string rest_;
};

/// The state of one probe of a running container.
class ProbeState {
 public:
  ProbeState(const kubernetes::Probe& probe, PodClock::time_point started);
  enum class Event { none, passed, failed };  ///< a threshold was reached

  [[nodiscard]] int fd() const { return process_ ? process_->pidfd.get() : -1; }
  [[nodiscard]] PodClock::time_point next() const { return next_; }
  /// Starts it when due, judges it when it ended or is late.
  Event step(PodClock::time_point now, const ProbeTarget& target);
  [[nodiscard]] bool passing() const { return passing_; }
  void cancel();

 private:
  Event judge(bool success);
  const kubernetes::Probe& probe_;
  std::optional<ProbeProcess> process_;
  PodClock::time_point next_;
  int successes_ = 0, failures_ = 0;
  bool passing_ = false;
};

/// A handler of `lifecycle` that is going on.
class HookState {
 public:
  static Result<HookState> begin(const kubernetes::Hook& hook, const ProbeTarget& target,
                                 PodClock::time_point now);
  [[nodiscard]] int fd() const { return process_ ? process_->pidfd.get() : -1; }
  /// When it ends by itself, a sleep.
  [[nodiscard]] std::optional<PodClock::time_point> until() const { return until_; }
  /// Whether it was a success; nullopt: it goes on.
  std::optional<bool> step(PodClock::time_point now);
  void cancel();

 private:
  std::optional<ProbeProcess> process_;
  std::optional<PodClock::time_point> until_;
};

class PodContainer {
 public:
  struct Parts {
    std::string id;
    std::string label;  ///< prefix of its lines
    kubernetes::ContainerPlan::Role role = kubernetes::ContainerPlan::Role::regular;
    ContainerSpec spec;
    std::string document;
    kubernetes::ContainerRun run;
    WeightFormula formula = WeightFormula::quadratic;
  };
  struct Shared {
    const HostFacts& facts;
    const StateRoot& root;
    int signal_fd = -1;
    int network = -1;
    std::string address = "127.0.0.1";  ///< of the pod, to which probes go
    PodLog log;
    PodOutput output;
    std::chrono::milliseconds backoff{10000};
    std::chrono::milliseconds grace{30000};
  };
  enum class State { waiting, running, backoff, finished };

  PodContainer(Parts parts, const Shared& shared) : parts_(std::move(parts)), shared_(shared) {}

  [[nodiscard]] const std::string& name() const { return parts_.run.name; }
  [[nodiscard]] const Parts& parts() const { return parts_; }
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] int restarts() const { return restarts_; }
  /// Running, its postStart hook has ended and its startup probe has passed.
  [[nodiscard]] bool started() const;
  /// Running, and its postStart hook has not ended: the kubelet starts no other one meanwhile.
  [[nodiscard]] bool starting() const { return state_ == State::running && post_start_; }
  [[nodiscard]] bool ready() const { return started() && (!readiness_ || readiness_->passing()); }
  [[nodiscard]] bool succeeded() const { return last_ && last_->status() == 0; }
  /// Of the last run; absent: never ran.
  [[nodiscard]] const std::optional<RunResult>& last() const { return last_; }

  /// The plan of its start, also for --dry-run.
  [[nodiscard]] Result<LaunchPlan> plan();
  /// Starts it. Errors: it does not start; nothing is left.
  [[nodiscard]] Status start();
  void signal(int number);
  /// preStop, SIGTERM, and SIGKILL for all of it `grace` later.
  void terminate(std::chrono::milliseconds grace, const char* why);
  /// Before a start: other limits.
  void replace(Parts parts) { parts_ = std::move(parts); }
  /// It will not be started again.
  void give_up();

  /// Descriptors to poll for reading.
  void add_descriptors(std::vector<int>& fds) const;
  [[nodiscard]] std::optional<PodClock::time_point> next() const;
  /// Does what is due. True when its process ended in this call.
  bool step(PodClock::time_point now);
  /// After an end: again, now or after the back-off.
  void schedule_restart();

 private:
  Status launch_with_pipes(const LaunchPlan& plan);
  void collect();
  void begin_probes();
  void step_probes(PodClock::time_point now);
  void step_hooks(PodClock::time_point now);
  void end_pre_stop(PodClock::time_point now);
  [[nodiscard]] ProbeTarget target() const;
  void pump();

  Parts parts_;
  const Shared& shared_;
  State state_ = State::waiting;
  std::optional<Creation> creation_;
  std::vector<LevelCounters> before_;
  LineReader out_, err_;
  std::optional<RunResult> last_;
  RunResult current_;
  PodClock::time_point began_;
  std::optional<PodClock::time_point> kill_at_, restart_at_;
  std::optional<ProbeState> startup_, liveness_, readiness_;
  std::optional<HookState> post_start_, pre_stop_;
  int restarts_ = 0, failures_in_a_row_ = 0;
};

}  // namespace minirun
