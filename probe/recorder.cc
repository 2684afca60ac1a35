#include "probe/recorder.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>

#include "netns/network.h"
#include "probe/scenario.h"
#include "runtime/container.h"
#include "spec/load.h"

namespace minirun::probe {

Result<ContainerSpec> built_in_spec(std::string_view probe) {
  const bool limited = probe == "throttle" || probe == "oom";
  LoadedSpec loaded = parse_spec(
      limited
          ? R"({"command":["minirun-probe"],"resources":{"limits":{"cpu":"500m","memory":"64Mi"}}})"
          : R"({"command":["minirun-probe"]})",
      "/", caller_options());
  for (const Finding& finding : loaded.findings)
    if (finding.level == Finding::Level::error)
      return plain_error("the built-in spec", finding.pointer + ": " + finding.message);
  return std::move(loaded.spec);
}

namespace {

int allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/// One scenario on one side.
struct Job {
  std::string probe;
  Scenario scenario;
  bool container;
  int repeat;
};

class Recorder {
 public:
  Recorder(const RecordRequest& request, const SessionHost& host)
      : request_(request), host_(host) {}

  Result<Json> run(const std::function<void(const RecordProgress&)>& progress) {
    for (const std::string& name : request_.probes) {
      const std::string probe = name.substr(0, name.find('.'));
      Result<ContainerSpec> spec =
          request_.spec != nullptr ? Result<ContainerSpec>(*request_.spec) : built_in_spec(probe);
      if (!spec) return std::unexpected(spec.error());
      specs_[probe] = std::move(*spec);
    }
    for (int repeat = 0; repeat < request_.repeat; ++repeat)
      for (const std::string& name : request_.probes) plan(name, repeat);
    Result<Json> runs = perform_all(progress);
    // Also when they failed or were interrupted; the first error is the one to tell.
    const Status removed = remove_bridge();
    if (!runs) return runs;
    if (!removed) return std::unexpected(removed.error());
    Json file = {{"schema", run_schema},
                 {"kind", "minirun probe run"},
                 {"minirun", MINIRUN_VERSION},
                 {"time", timestamp()},
                 {"quick", request_.quick},
                 {"spec", request_.spec != nullptr ? request_.spec_name : "built in"}};
    file["runs"] = std::move(*runs);
    return file;
  }

 private:
  Result<Json> perform_all(const std::function<void(const RecordProgress&)>& progress) {
    Json runs = Json::array();
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      const Job& job = jobs_[i];
      progress({i, jobs_.size(),
                fmt::format("{} {}, {}", job.probe, job.scenario.name,
                            job.container ? "container" : "host")});
      for (Json& run : TRY(perform(job))) runs.push_back(std::move(run));
    }
    progress({jobs_.size(), jobs_.size(), ""});
    return runs;
  }

  void plan(const std::string& name, int repeat) {
    const std::size_t dot = name.find('.');
    const std::string probe = name.substr(0, dot);
    const std::string only = dot == std::string::npos ? "" : name.substr(dot + 1);
    for (const Scenario& scenario : scenarios(probe, facts(probe))) {
      if (!only.empty() && scenario.name != only) continue;
      if (scenario.host && request_.host) jobs_.push_back({probe, scenario, false, repeat});
      if (scenario.container && request_.container)
        jobs_.push_back({probe, scenario, true, repeat});
    }
  }

  SessionRequest session(const Job& job, const ContainerSpec* spec) {
    SessionRequest request;
    request.id = fmt::format("probe-{}-{}", ::getpid(), ++count_);
    request.arguments = {job.probe, "--json"};
    if (request_.quick) request.arguments.emplace_back("--quick");
    request.arguments.insert(request.arguments.end(), job.scenario.args.begin(),
                             job.scenario.args.end());
    request.spec = spec;
    request.sample_ms = job.scenario.sample_ms;
    // Nothing of these takes so long, in an emulated machine either.
    request.limit = std::chrono::minutes(request_.quick ? 3 : 12);
    return request;
  }

  static void name(Json& run, const Job& job) {
    run["probe"] = job.probe;
    run["scenario"] = job.scenario.name;
    run["change"] = minirun::probe::name(job.scenario.change);
    run["repeat"] = job.repeat;
  }

  Result<std::vector<Json>> perform(const Job& job) {
    std::vector<SessionRequest> sessions;
    ChangedSpec changed;
    if (job.container) {
      changed = change_spec(specs_[job.probe], job.scenario.change, bridge_);
      if (!changed.unsupported.empty()) {
        Json refused = {{"side", "container"}, {"unsupported", changed.unsupported}};
        name(refused, job);
        return std::vector<Json>{std::move(refused)};
      }
    }
    if (job.scenario.change == Change::swap)
      if (const std::string why = why_no_swap(); !why.empty()) {
        Json refused = {{"side", "container"}, {"unsupported", why}};
        name(refused, job);
        return std::vector<Json>{std::move(refused)};
      }
    if (!job.scenario.parts.empty()) return together(job, changed.spec);
    sessions.push_back(session(job, job.container ? &changed.spec : nullptr));
    std::vector<Json> runs = TRY(run_sessions(host_, sessions));
    for (Json& run : runs) name(run, job);
    return runs;
  }

  /// All parts at the same time.
  Result<std::vector<Json>> together(const Job& job, const ContainerSpec& spec) {
    const std::vector<Part>& parts = job.scenario.parts;
    std::vector<ContainerSpec> specs(parts.size(), spec);
    std::vector<SessionRequest> sessions;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      for (const auto& [file, value] : parts[i].unified) specs[i].resources.unified[file] = value;
      Job one = job;
      one.scenario.args = parts[i].args;
      sessions.push_back(session(one, parts[i].host ? nullptr : &specs[i]));
      sessions.back().background = parts[i].background;
    }
    std::vector<Json> runs = TRY(run_sessions(host_, sessions));
    for (std::size_t i = 0; i < runs.size(); ++i) {
      name(runs[i], job);
      if (!parts[i].label.empty()) runs[i]["part"] = parts[i].label;
      if (parts[i].background) runs[i]["background"] = true;
    }
    return runs;
  }

  /// Empty: there is enough.
  [[nodiscard]] std::string why_no_swap() const {
    struct sysinfo info{};
    if (::sysinfo(&info) != 0 || info.totalswap == 0)
      return "this machine has no swap (/proc/swaps)";
    const std::uint64_t free = static_cast<std::uint64_t>(info.freeswap) * info.mem_unit;
    const std::uint64_t needed = swap_needed(facts("oom"));
    if (free >= needed) return {};
    return fmt::format("only {} bytes of swap are free, {} are needed", free, needed);
  }

  [[nodiscard]] ScenarioFacts facts(const std::string& probe) const {
    ScenarioFacts facts{.cpus = allowed_cpus(),
                        .memory_max = {},
                        .quick = request_.quick,
                        .bridge = bridge_,
                        .port = 20000 + ::getpid() % 20000};
    if (const auto limit = specs_.at(probe).resources.memory.limit_bytes; limit && *limit > 0)
      facts.memory_max = static_cast<std::uint64_t>(*limit);
    return facts;
  }

  /// The bridge of the probes ends with them.
  Status remove_bridge() const {
    const NetworkState state = TRY(peek_network_state(host_.root.fd()));
    return state.networks.contains(bridge_) ? remove_network(host_.root.fd(), bridge_) : Status();
  }

  const RecordRequest& request_;
  const SessionHost& host_;
  const std::string bridge_ = fmt::format("probe{}", ::getpid());
  std::map<std::string, ContainerSpec> specs_;
  std::vector<Job> jobs_;
  int count_ = 0;
};

}  // namespace

Status check_name(const std::string& name) {
  const std::size_t dot = name.find('.');
  const std::string probe = name.substr(0, dot);
  if (find_probe(probe) == nullptr)
    return plain_error("probe", fmt::format("there is no \"{}\", see minirun probe list", probe));
  if (dot == std::string::npos) return {};
  const std::string wanted = name.substr(dot + 1);
  std::string known;
  for (const Scenario& scenario : scenarios(probe, {.cpus = allowed_cpus(), .memory_max = {}})) {
    if (scenario.name == wanted) return {};
    known += (known.empty() ? "" : ", ") + scenario.name;
  }
  return plain_error("probe", fmt::format("{} has no \"{}\"; it has {}", probe, wanted, known));
}

Result<Json> record(const RecordRequest& request, const SessionHost& host,
                    const std::function<void(const RecordProgress&)>& progress) {
  return Recorder(request, host).run(progress);
}

}  // namespace minirun::probe
