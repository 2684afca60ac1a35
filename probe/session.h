// Owns: running minirun-probe once or at several places at the same time: in containers made from
// specs, or on the host in a transient cgroup; reading its document and the cgroup's counters
// before, during and after. What comes back is a record in JSON that judge.h can judge again.
// Must not: judge, or print.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/plan.h"
#include "runtime/state.h"
#include "spec/model.h"

namespace minirun::probe {

using Json = nlohmann::ordered_json;

/// The embedded minirun-probe in a sealed memory file: nothing of it must be in a root, no path is
/// looked up for a program that runs as root, and it is always the one that fits to this minirun.
/// Executed in a container it is no file of the host, and cannot be written to (CVE-2019-5736).
[[nodiscard]] Result<Fd> open_probe_program();

struct SessionRequest {
  std::string id;                            ///< of the container or the transient cgroup
  std::vector<std::string> arguments;        ///< of minirun-probe, the workload first
  const ContainerSpec* spec = nullptr;       ///< null: on the host
  int sample_ms = 0;                         ///< how often counters are read meanwhile; 0: not
  bool background = false;                   ///< ended when all others have ended
  std::chrono::milliseconds limit{120'000};  ///< killed after it
};

/// What a container with a network of its own needs, before and after plan_launch(). The caller has
/// it: it is the same that `minirun run` does.
struct NetworkPlanner {
  std::function<Status(ContainerSpec&, const std::string& id, LaunchOptions&)> adapt;
  std::function<Status(const ContainerSpec&, const std::string& id, LaunchPlan&)> plan;
};

struct SessionHost {
  const HostFacts& facts;
  const StateRoot& root;
  const Fd& program;
  const NetworkPlanner& network;
  int signal_fd = -1;  ///< SIGINT or SIGTERM here ends the sessions
};

/// One record per request, in order; they run at the same time. A record has "unsupported" with
/// the reason when the host cannot make such a container; then nothing ran.
/// Errors: what no record can say (interrupted, no state directory, a fault of minirun).
[[nodiscard]] Result<std::vector<Json>> run_sessions(const SessionHost& host,
                                                     std::span<const SessionRequest> requests);

}  // namespace minirun::probe
