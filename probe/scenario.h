// Owns: the table of probes, and of the scenarios of each: what is run on which side with which
// change of the spec. Pure.
// Must not: run anything, or judge (judge.h).
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spec/model.h"

namespace minirun::probe {

struct Probe {
  std::string_view name;
  std::string_view summary;
  std::string_view metrics;  ///< the derived metrics that --expect knows best, for `list`
};
[[nodiscard]] std::span<const Probe> probes();
/// Null: there is no such probe.
[[nodiscard]] const Probe* find_probe(std::string_view name);

/// What a scenario does to the spec of its container. One word each, so that a recorded run says
/// what it was.
enum class Change {
  none,
  burst,       ///< cpu.max.burst = quota
  shared,      ///< several containers on one CPU (Scenario::parts), no quota
  oom_group,   ///< memory.oom.group = 1
  oom_alone,   ///< memory.oom.group = 0, so that the workload survives its eater
  high,        ///< memory.high = half of memory.max
  swap,        ///< as much swap as memory
  quota,       ///< cpu.max = 50000 100000
  bridge,      ///< a network of its own on a bridge of minirun's
  bandwidth,   ///< that, with 20 Mbit/s in each direction
  no_seccomp,  ///< no filter
  no_limits,   ///< no limits at all
};
[[nodiscard]] std::string_view name(Change change);

/// One of the containers of a scenario that runs several at the same time.
struct Part {
  std::string label;              ///< part of the metrics' names; empty: the one that is measured
  std::vector<std::string> args;  ///< of minirun-probe
  std::map<std::string, std::string> unified;  ///< cgroup file -> value
  bool background = false;                     ///< ends with the others
  bool host = false;                           ///< on the host, beside the containers
};

struct Scenario {
  std::string name;               ///< "1t", "anon", ...; unique in a probe
  std::vector<std::string> args;  ///< of minirun-probe, without --json and --quick
  Change change = Change::none;
  bool host = true, container = true;
  int sample_ms = 0;             ///< how often the cgroup's counters are read meanwhile; 0: not
  std::vector<Part> parts = {};  ///< more than one container; `args` are then not used
};

/// What scenarios depend on.
struct ScenarioFacts {
  int cpus = 1;
  std::optional<std::uint64_t> memory_max;  ///< bytes, of the spec
  bool quick = false;
  std::string bridge = {};  ///< the name of the bridge for Change::bridge
  int port = 0;             ///< of the server that is reached over it
};
/// Bytes of swap that this machine must have for a scenario with Change::swap.
[[nodiscard]] std::uint64_t swap_needed(const ScenarioFacts& facts);
[[nodiscard]] std::vector<Scenario> scenarios(std::string_view probe, const ScenarioFacts& facts);

/// The spec for one container: the program is minirun-probe, and `change` is made. Why it cannot
/// be is returned in words ("no cpu.max in the spec"): the scenario is then unsupported.
struct ChangedSpec {
  ContainerSpec spec;
  std::string unsupported;
};
[[nodiscard]] ChangedSpec change_spec(const ContainerSpec& spec, Change change,
                                      const std::string& bridge = "");

}  // namespace minirun::probe
