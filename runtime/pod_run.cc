#include "runtime/pod_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <set>

#include "base/file.h"
#include "cgroups/control.h"
#include "cgroups/files.h"
#include "runtime/run.h"
#include "spec/kubernetes/pod_file.h"
#include "spec/validate.h"

namespace minirun {
namespace {

using namespace kubernetes;  // NOLINT: this file is about nothing else
using Role = ContainerPlan::Role;
using State = PodContainer::State;

std::string container_id_of(const PodManifest& pod, const std::string& container) {
  return fmt::format("{}-{}", pod.name.empty() ? "pod" : pod.name, container);
}

PodPlaces places_of(const PlannedPod& pod, const PodOptions& options) {
  PodPlaces places;
  places.uid = pod.plan.pod.uid;
  places.hostname = !pod.run.hostname.empty()    ? pod.run.hostname
                    : !pod.plan.pod.name.empty() ? pod.plan.pod.name.substr(0, 63)
                                                 : "pod";
  places.cgroup = (options.cgroup_root == "/" ? "" : options.cgroup_root) + pod.plan.cgroupfs.pod;
  places.images = options.images;
  return places;
}

/// What a container needs, from the plan and the places of its pod.
Result<PodContainer::Parts> parts_of(const PlannedPod& pod, const PodPlaces& places,
                                     const ContainerPlan& limits, const PodOptions& options,
                                     const std::string& label) {
  const bool init = limits.role != Role::regular;
  const auto& list = init ? pod.plan.pod.init_containers : pod.plan.pod.containers;
  const auto& runs = init ? pod.run.init_containers : pod.run.containers;
  std::size_t index = 0;
  while (index < list.size() && list[index].name != limits.name) ++index;
  if (index >= runs.size()) return plain_error(limits.name, "is in no list of the pod");
  PodContainer::Parts parts;
  parts.id = container_id_of(pod.plan.pod, limits.name);
  TRY(validate_id(parts.id));
  PodContainerSpec spec = TRY(
      pod_container_spec(pod.plan, pod.run, list[index], runs[index], limits, places, parts.id));
  for (const Finding& finding : spec.findings)
    if (finding.level == Finding::Level::error)
      return plain_error(limits.name, finding.pointer + ": " + finding.message);
  parts.label = label;
  parts.role = limits.role;
  parts.spec = std::move(spec.spec);
  parts.document = std::move(spec.document);
  parts.run = runs[index];
  parts.formula = options.formula;
  return parts;
}

std::string label_of(const PlannedPod& pod, const std::string& container, std::size_t width,
                     bool several, bool color, std::size_t number) {
  std::string label = several ? fmt::format("{}/{}", pod.plan.pod.name, container) : container;
  label.resize(std::max(width, label.size()), ' ');
  label += " | ";
  // Green, yellow, blue, magenta, cyan: red is for errors.
  return color ? fmt::format("\x1b[{}m{}\x1b[0m", 32 + number % 5, label) : label;
}

/// One pod while it runs.
class Supervised {
 public:
  Supervised(const PlannedPod& pod, PodSandbox sandbox, const PodContainer::Shared& shared,
             const PodOptions& options)
      : pod_(pod),
        options_(options),
        sandbox_(std::move(sandbox)),
        shared_(shared),
        began_(PodClock::now()) {
    if (pod.run.deadline_seconds)
      deadline_ = began_ + std::chrono::seconds(*pod.run.deadline_seconds);
    shared_.network = sandbox_.network();
    if (!sandbox_.places().address.empty()) shared_.address = sandbox_.places().address;
    shared_.grace = std::chrono::seconds(pod.run.grace_seconds);
  }

  Status prepare(std::size_t width, bool several) {
    std::size_t number = 0;
    for (const ContainerPlan& limits : pod_.plan.containers) {
      const std::string label =
          label_of(pod_, limits.name, width, several, options_.color, number++);
      auto& list = limits.role == Role::regular ? regular_ : init_;
      list.push_back(std::make_unique<PodContainer>(
          TRY(parts_of(pod_, sandbox_.places(), limits, options_, label)), shared_));
    }
    return {};
  }

  [[nodiscard]] bool ended() const { return phase_ == Phase::ended; }
  void add_descriptors(std::vector<int>& fds) const {
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list) container->add_descriptors(fds);
  }
  [[nodiscard]] std::optional<PodClock::time_point> next() const {
    std::optional<PodClock::time_point> next = phase_ == Phase::ended ? std::nullopt : deadline_;
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list)
        if (const auto time = container->next(); time && (!next || *time < *next)) next = time;
    return next;
  }

  void step(PodClock::time_point now) {
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list)
        if (container->step(now)) on_end(*container);
    if (deadline_ && now >= *deadline_ && phase_ < Phase::stop_containers)
      stop("activeDeadlineSeconds ran out", 128 + SIGKILL);
    // Each pass moves by one stage; a stage that is complete at once opens the next.
    for (Phase before = Phase::ended; before != phase_;) {
      before = phase_;
      advance(now);
    }
  }

  /// The pod ends; `status` unless a container failed on its own before.
  void stop(std::string reason, int status) {
    if (phase_ >= Phase::stop_containers) return;
    reason_ = std::move(reason);
    status_ = status;
    shared_.log(fmt::format("pod {}: {}", pod_.plan.pod.name, reason_));
    phase_ = Phase::stop_containers;
  }
  void kill() {
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list)
        container->terminate(std::chrono::milliseconds(0), nullptr);
    (void)kill_cgroup(sandbox_.cgroup().fd());
  }
  void forward(int number) {
    for (const auto& container : regular_) container->signal(number);
  }

  PodResult result() {
    PodResult result;
    result.name = pod_.plan.pod.name;
    result.uid = pod_.plan.pod.uid;
    result.cgroup = sandbox_.places().cgroup;
    result.qos = to_string(pod_.plan.qos);
    result.seconds = std::chrono::duration<double>(PodClock::now() - began_).count();
    result.reason = reason_;
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list)
        result.containers.push_back({container->name(), role_name(container->parts().role),
                                     container->restarts(), container->last(),
                                     problem_of(*container)});
    result.status = status();
    if (auto stats = read_stats(sandbox_.cgroup().fd())) result.stats = *stats;
    if (const Status ended = sandbox_.end(); !ended)
      shared_.log(fmt::format("pod {}: {}", result.name, to_string(ended.error())));
    return result;
  }

 private:
  enum class Phase { init, containers, stop_containers, stop_sidecars, ended };

  static const char* role_name(Role role) {
    return role == Role::regular ? "container" : role == Role::init ? "init" : "sidecar";
  }
  std::string problem_of(const PodContainer& container) const {
    const auto it = problems_.find(container.name());
    return it == problems_.end() ? "" : it->second;
  }

  /// What ended the pod from outside, else the first init container that failed for good, else
  /// the first container in the manifest's order that failed, else 0.
  [[nodiscard]] int status() const {
    if (status_) return *status_;
    for (const auto& container : init_)
      if (container->parts().role == Role::init && container->last() &&
          container->last()->status() != 0)
        return container->last()->status();
    for (const auto& container : regular_)
      if (container->last() && container->last()->status() != 0) return container->last()->status();
    return 0;
  }

  /// After a resize a restart has the new limits.
  Status refresh(PodContainer& container) {
    const std::string text =
        TRY(read_file(AT_FDCWD, sandbox_.places().directory + "/manifest", document_bytes_most));
    if (text == pod_.document) return {};
    PodFile file = read_pods(text);
    for (PodManifest& manifest : file.pods) {
      if (manifest.name != pod_.plan.pod.name) continue;
      manifest.uid = pod_.plan.pod.uid;
      PlannedPod now = pod_;
      now.plan = TRY(plan_pod(manifest, pod_.node));
      const ContainerPlan* limits = now.plan.find(container.name());
      if (limits == nullptr) return plain_error(container.name(), "is not in the new manifest");
      container.replace(
          TRY(parts_of(now, sandbox_.places(), *limits, options_, container.parts().label)));
    }
    return {};
  }

  void start(PodContainer& container) {
    if (container.restarts() > 0)
      if (const Status fresh = refresh(container); !fresh)
        shared_.log(fmt::format("{}: starts with its old limits: {}", container.name(),
                                to_string(fresh.error())));
    if (Status started = container.start(); !started) {
      problems_[container.name()] = to_string(started.error());
      shared_.log(to_string(started.error()));
      const int errnum = started.error().errnum;
      const int code = errnum == EINTR                            ? 128 + SIGTERM
                       : started.error().object != "process.args" ? 125
                       : errnum == ENOENT                         ? 127
                                                                  : 126;
      stop(fmt::format("{} could not start", container.name()), code);
    }
  }

  void on_end(PodContainer& container) {
    if (phase_ >= Phase::stop_containers) return;
    const bool failed = !container.succeeded();
    switch (container.parts().role) {
      case Role::sidecar:
        container.schedule_restart();
        return;
      case Role::init:
        if (failed && pod_.run.restart != PodRun::Restart::never) container.schedule_restart();
        return;
      case Role::regular:
        if (pod_.run.restart == PodRun::Restart::always ||
            (failed && pod_.run.restart == PodRun::Restart::on_failure))
          container.schedule_restart();
        return;
    }
  }

  void restart_due(PodClock::time_point now) {
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list)
        if (container->state() == State::backoff && container->next() && now >= *container->next())
          start(*container);
  }

  void advance(PodClock::time_point now) {
    switch (phase_) {
      case Phase::init:
        restart_due(now);
        if (phase_ == Phase::init) advance_init();
        return;
      case Phase::containers:
        restart_due(now);
        start_containers();
        if (phase_ == Phase::containers && std::ranges::all_of(regular_, [](const auto& c) {
              return c->state() == State::finished;
            }))
          phase_ = Phase::stop_containers;
        return;
      case Phase::stop_containers:
        stop_containers();
        return;
      case Phase::stop_sidecars:
        stop_sidecars();
        return;
      case Phase::ended:
        return;
    }
  }

  void advance_init() {
    for (const auto& container : init_) {
      const bool sidecar = container->parts().role == Role::sidecar;
      if (container->state() == State::waiting) start(*container);
      if (phase_ != Phase::init) return;
      if (sidecar ? container->started()
                  : container->state() == State::finished && container->succeeded())
        continue;
      if (!sidecar && container->state() == State::finished) {
        reason_ = fmt::format("init container {} failed", container->name());
        phase_ = Phase::stop_containers;
      }
      return;  // its turn is not over
    }
    phase_ = Phase::containers;
  }

  /// In the manifest's order; a postStart hook holds up those behind it.
  void start_containers() {
    for (const auto& container : regular_) {
      if (phase_ != Phase::containers || container->starting()) return;
      if (container->state() == State::waiting) start(*container);
      if (container->starting()) return;
    }
  }

  /// Everything but the sidecars; then those, last first (KEP-753).
  void stop_containers() {
    bool running = false;
    for (const auto* list : {&init_, &regular_})
      for (const auto& container : *list) {
        if (container->parts().role == Role::sidecar) continue;
        container->give_up();
        container->terminate(shared_.grace, nullptr);
        running = running || container->state() == State::running;
      }
    if (!running) phase_ = Phase::stop_sidecars;
  }

  void stop_sidecars() {
    for (auto it = init_.rbegin(); it != init_.rend(); ++it) {
      PodContainer& container = **it;
      container.give_up();
      if (container.state() != State::running) continue;
      container.terminate(shared_.grace, nullptr);
      return;
    }
    phase_ = Phase::ended;
  }

  const PlannedPod& pod_;
  const PodOptions& options_;
  PodSandbox sandbox_;
  PodContainer::Shared shared_;
  std::vector<std::unique_ptr<PodContainer>> init_, regular_;
  Phase phase_ = Phase::init;
  PodClock::time_point began_;
  std::optional<PodClock::time_point> deadline_;
  std::string reason_;
  std::optional<int> status_;
  std::map<std::string, std::string> problems_;
};

class PodSupervisor {
 public:
  PodSupervisor(const PodOptions& options, int signal_fd)
      : options_(options), signal_fd_(signal_fd) {
    if (options.timeout) deadline_ = PodClock::now() + *options.timeout;
  }
  std::vector<std::unique_ptr<Supervised>> pods;

  Status run() {
    step();
    while (!std::ranges::all_of(pods, [](const auto& pod) { return pod->ended(); })) {
      TRY(wait());
      step();
    }
    return {};
  }

 private:
  void step() {
    const auto now = PodClock::now();
    if (deadline_ && now >= *deadline_) {
      deadline_.reset();
      for (const auto& pod : pods) {
        pod->stop("killed at its timeout", 128 + SIGKILL);
        pod->kill();
      }
    }
    for (const auto& pod : pods) pod->step(now);
  }

  Status wait() {
    std::vector<int> fds = {signal_fd_};
    std::optional<PodClock::time_point> next = deadline_;
    for (const auto& pod : pods) {
      pod->add_descriptors(fds);
      if (const auto time = pod->next(); time && (!next || *time < *next)) next = time;
    }
    std::vector<pollfd> polls;
    polls.reserve(fds.size());
    for (const int fd : fds) polls.push_back({fd, POLLIN, 0});
    int patience = -1;
    if (next) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - PodClock::now());
      patience = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
    }
    if (::poll(polls.data(), polls.size(), patience) < 0 && errno != EINTR) return os_error("poll");
    if (polls[0].revents != 0) take_signals();
    return {};
  }

  void take_signals() {
    signalfd_siginfo info{};
    while (::read(signal_fd_, &info, sizeof info) == sizeof info) {
      const auto number = static_cast<int>(info.ssi_signo);
      if (number == SIGCHLD || number == SIGPIPE || number == SIGTTOU || number == SIGTTIN ||
          number == SIGWINCH)
        continue;
      if (number != SIGINT && number != SIGTERM) {
        for (const auto& pod : pods) pod->forward(number);
        continue;
      }
      ++interrupts_;
      for (const auto& pod : pods) {
        pod->stop(fmt::format("ended by SIG{}", ::sigabbrev_np(number)), 128 + number);
        // The grace period may be long: whoever insists three times means it.
        if (interrupts_ >= 3) pod->kill();
      }
    }
  }

  const PodOptions& options_;
  int signal_fd_;
  std::optional<PodClock::time_point> deadline_;
  int interrupts_ = 0;
};

std::size_t label_width(const std::vector<PlannedPod>& pods) {
  std::size_t width = 0;
  for (const PlannedPod& pod : pods)
    for (const ContainerPlan& container : pod.plan.containers)
      width = std::max(
          width, container.name.size() + (pods.size() > 1 ? pod.plan.pod.name.size() + 1 : 0));
  return width;
}

/// The burstable and besteffort tiers weigh what their pods request, as the kubelet has it.
Status weigh_tiers(const std::vector<PlannedPod>& pods, const PodOptions& options,
                   const HostFacts& facts) {
  std::vector<TierPod> tier_pods;
  std::map<QosClass, std::size_t> counts;
  std::map<QosClass, std::string> paths;
  for (const PlannedPod& pod : pods) {
    const Quantity* cpu = find(pod.plan.requests.amounts, "cpu");
    tier_pods.push_back({pod.plan.qos, cpu == nullptr ? 0 : TRY(cpu->milli_value()), 0});
    ++counts[pod.plan.qos];
    const std::string path = places_of(pod, options).cgroup;
    paths[pod.plan.qos] = path.substr(0, path.rfind('/'));
  }
  const QosTiers tiers = TRY(plan_qos_tiers(tier_pods, NodeFacts{}));
  for (const auto& [qos, shares] : {std::pair{QosClass::burstable, tiers.burstable_shares},
                                    std::pair{QosClass::best_effort, tiers.best_effort_shares}})
    if (counts[qos] > 0)
      TRY(weigh_tier(facts, paths[qos], shares_to_weight(shares, WeightFormula::linear),
                     counts[qos]));
  return {};
}

}  // namespace

Result<std::vector<PodResult>> run_pods(const std::vector<PlannedPod>& pods,
                                        const PodOptions& options, const HostFacts& facts,
                                        const StateRoot& root, const PodLog& log,
                                        const PodOutput& output) {
  const SignalFd signals = TRY(SignalFd::open(facts));
  const PodContainer::Shared shared{.facts = facts,
                                    .root = root,
                                    .signal_fd = signals.get(),
                                    .log = log,
                                    .output = output,
                                    .backoff = options.backoff};
  PodSupervisor supervisor(options, signals.get());
  const std::size_t width = label_width(pods);
  (void)TRY(sweep_pod_networks(root));
  for (const PlannedPod& pod : pods) {
    // Once without doing anything: what cannot be is said before something is there.
    (void)TRY(plan_pod_run(pod, options, facts));
  }
  for (const PlannedPod& pod : pods) {
    PodSandbox sandbox =
        TRY(PodSandbox::create(pod.plan, pod.run, places_of(pod, options), pod.document, facts,
                               root, pod.network ? &*pod.network : nullptr));
    supervisor.pods.push_back(
        std::make_unique<Supervised>(pod, std::move(sandbox), shared, options));
    TRY(supervisor.pods.back()->prepare(width, pods.size() > 1));
  }
  TRY(weigh_tiers(pods, options, facts));
  TRY(supervisor.run());
  std::vector<PodResult> results;
  for (const auto& pod : supervisor.pods) results.push_back(pod->result());
  return results;
}

Result<PodDryRun> plan_pod_run(const PlannedPod& pod, const PodOptions& options,
                               const HostFacts& facts) {
  PodPlaces places = places_of(pod, options);
  places.directory = "/var/lib/minirun/pods/" + places.uid;
  places.ipc = "/proc/self/ns/ipc";
  if (!pod.run.host_network) {
    places.network = "/proc/self/ns/net";
    places.uts = "/proc/self/ns/uts";
  }
  PodDryRun result;
  result.pod = plan_pod_cgroup(pod.plan, places.cgroup, facts);
  for (const ContainerPlan& limits : pod.plan.containers) {
    const PodContainer::Parts parts = TRY(parts_of(pod, places, limits, options, ""));
    LaunchOptions launch;
    launch.id = parts.id;
    launch.die_with_parent = true;
    launch.formula = parts.formula;
    launch.account = true;
    LaunchPlan plan = plan_launch(parts.spec, facts, launch, nullptr);
    for (const Finding& finding : plan.findings)
      if (finding.level == Finding::Level::error)
        return plain_error(limits.name, finding.pointer.empty()
                                            ? finding.message
                                            : finding.pointer + ": " + finding.message);
    result.containers.push_back(std::move(plan));
  }
  return result;
}

}  // namespace minirun
