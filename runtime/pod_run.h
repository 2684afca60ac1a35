// Owns: `run` of pods from their plans to the end: the order of init containers, sidecars and
// containers, restarts, the end in the kubelet's order, signals, the result.
// Must not: read arguments or print.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/pod_container.h"
#include "runtime/pod_sandbox.h"
#include "spec/kubernetes/plan.h"
#include "spec/kubernetes/pod_run.h"

namespace minirun {

struct PodOptions {
  std::string cgroup_root = "/minirun";  ///< what the kubelet calls cgroupRoot
  std::map<std::string, std::string> images;
  std::chrono::milliseconds backoff{10000};  ///< before the second restart
  std::optional<std::chrono::milliseconds> timeout;
  WeightFormula formula = WeightFormula::quadratic;
  bool color = false;
};

/// One pod, planned.
struct PlannedPod {
  kubernetes::PodPlan plan;
  kubernetes::PodRun run;
  kubernetes::PodManifest written;
  std::string document;  ///< the file, for `resize`
  kubernetes::NodeFacts node;
  std::optional<NetworkLaunch> network = std::nullopt;  ///< absent: loopback, or the host's
  std::vector<std::string> network_commands = {};       ///< the same for --dry-run
};

struct PodResult {
  std::string name, uid, cgroup;
  std::string qos;
  double seconds = 0;
  int status = 0;      ///< see pod_status in docs/kubernetes-limits.md
  std::string reason;  ///< "", "killed by SIGTERM", "activeDeadlineSeconds" ...
  struct Container {
    std::string name, role;
    int restarts = 0;
    std::optional<RunResult> last;  ///< absent: it never ran
    std::string problem;            ///< why it could not start
  };
  std::vector<Container> containers;
  CgroupStats stats;  ///< of the pod's cgroup
};

/// Runs them all at once and returns when all have ended. Errors: nothing was started.
[[nodiscard]] Result<std::vector<PodResult>> run_pods(const std::vector<PlannedPod>& pods,
                                                      const PodOptions& options,
                                                      const HostFacts& facts, const StateRoot& root,
                                                      const PodLog& log, const PodOutput& output);

/// The plans of all starts without doing any, for --dry-run.
struct PodDryRun {
  CgroupPlan pod;
  std::vector<LaunchPlan> containers;
};
[[nodiscard]] Result<PodDryRun> plan_pod_run(const PlannedPod& pod, const PodOptions& options,
                                             const HostFacts& facts);

[[nodiscard]] std::string pods_report_json(const std::vector<PodResult>& results);
[[nodiscard]] std::string pods_summary(const std::vector<PodResult>& results, bool color);

}  // namespace minirun
