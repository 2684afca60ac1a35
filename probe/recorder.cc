#include "probe/recorder.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <map>

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
      "/", {.euid = ::geteuid(), .egid = ::getegid()});
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
    Json runs = Json::array();
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      const Job& job = jobs_[i];
      progress({i, jobs_.size(),
                fmt::format("{} {}, {}", job.probe, job.scenario.name,
                            job.container ? "container" : "host")});
      for (Json& run : TRY(perform(job))) runs.push_back(std::move(run));
    }
    progress({jobs_.size(), jobs_.size(), ""});
    Json file = {{"schema", run_schema},
                 {"kind", "minirun probe run"},
                 {"minirun", MINIRUN_VERSION},
                 {"time", timestamp()},
                 {"quick", request_.quick},
                 {"spec", request_.spec != nullptr ? request_.spec_name : "built in"}};
    file["runs"] = std::move(runs);
    return file;
  }

 private:
  void plan(const std::string& name, int repeat) {
    const std::size_t dot = name.find('.');
    const std::string probe = name.substr(0, dot);
    const std::string only = dot == std::string::npos ? "" : name.substr(dot + 1);
    ScenarioFacts facts{.cpus = allowed_cpus(), .memory_max = {}, .quick = request_.quick};
    if (const auto limit = specs_[probe].resources.memory.limit_bytes; limit && *limit > 0)
      facts.memory_max = static_cast<std::uint64_t>(*limit);
    for (const Scenario& scenario : scenarios(probe, facts)) {
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
      changed = change_spec(specs_[job.probe], job.scenario.change);
      if (!changed.unsupported.empty()) {
        Json refused = {{"side", "container"}, {"unsupported", changed.unsupported}};
        name(refused, job);
        return std::vector<Json>{std::move(refused)};
      }
    }
    if (job.container && job.scenario.change == Change::weights) return compete(job, changed.spec);
    sessions.push_back(session(job, job.container ? &changed.spec : nullptr));
    std::vector<Json> runs = TRY(run_sessions(host_, sessions));
    for (Json& run : runs) name(run, job);
    return runs;
  }

  /// Two at the same time, on the same CPU.
  Result<std::vector<Json>> compete(const Job& job, const ContainerSpec& spec) {
    constexpr std::array weights = {100, 300};
    std::vector<ContainerSpec> specs(weights.size(), spec);
    std::vector<SessionRequest> sessions;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      specs[i].resources.unified["cpu.weight"] = fmt::format("{}", weights[i]);
      sessions.push_back(session(job, &specs[i]));
    }
    std::vector<Json> runs = TRY(run_sessions(host_, sessions));
    for (std::size_t i = 0; i < runs.size(); ++i) {
      name(runs[i], job);
      runs[i]["weight"] = weights[i];
    }
    return runs;
  }

  const RecordRequest& request_;
  const SessionHost& host_;
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
