// Owns: the plan of a pod: what the kubelet, the CRI runtime and the OCI runtime would make of a
// manifest on a node, every value with its formula. Pure functions over PodManifest + NodeFacts.
// Must not: make a system call, or decide what minirun itself enforces.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "spec/kubernetes/effective.h"
#include "spec/kubernetes/pod.h"
#include "spec/model.h"

namespace minirun::kubernetes {

/// A value as it is written, and why.
struct Planned {
  std::string value;
  std::string formula;  ///< with the numbers put in; empty when the value is copied
  std::string writer;   ///< "kubelet", "kernel" or "runtime, asked by the kubelet"
  bool operator==(const Planned&) const = default;
};

/// File name -> value.
using PlannedFiles = std::map<std::string, Planned>;

struct CgroupPaths {
  std::string pod;               ///< below the cgroup root, starts with a slash
  std::string container;         ///< the same
  std::string oci_cgroups_path;  ///< linux.cgroupsPath of config.json
  bool operator==(const CgroupPaths&) const = default;
};

/// Paths of one container. `uid` must be a safe directory name (the reader checks it); its dashes
/// become underscores for systemd, which reads a dash as a level.
[[nodiscard]] CgroupPaths cgroup_paths(QosClass qos, std::string_view uid,
                                       std::string_view container_id, CgroupDriver driver, Cri cri);

/// LinuxContainerResources as the kubelet sends them.
struct CriResources {
  std::uint64_t cpu_shares = 0;
  std::optional<std::int64_t> memory_limit_bytes;
  std::optional<std::int64_t> cpu_quota_us;  ///< 0: no limit; absent: cpuCFSQuota is off
  std::optional<std::uint64_t> cpu_period_us;
  int oom_score_adj = 0;
  std::vector<HugepageLimit> hugepage_limits;  ///< every size of the node
  std::map<std::string, std::string> unified;
  bool operator==(const CriResources&) const = default;
};

struct ContainerPlan {
  enum class Role { regular, init, sidecar };
  std::string name;
  Role role = Role::regular;
  CriResources cri;
  Resources oci;  ///< linux.resources as the CRI runtime puts it into config.json
  /// Keyed by the OCI field ("cpu.shares", "unified.memory.high"); also "oomScoreAdj".
  std::map<std::string, std::string> formulas;
  PlannedFiles cgroup2;  ///< cpu.weight by NodeFacts::container_weight
  PlannedFiles cgroup1;
  std::uint64_t weight_linear = 0, weight_quadratic = 0;
  /// Where the kernel stores something else than what was written (it floors to pages).
  PlannedFiles kernel_readback;
};

/// ResourceConfig: what the kubelet hands to its own cgroup manager for the pod.
struct PodConfig {
  std::uint64_t cpu_shares = cpu_shares_min;
  std::optional<std::int64_t> cpu_quota_us;  ///< -1: no limit, written as such
  std::optional<std::uint64_t> cpu_period_us;
  std::optional<std::int64_t> memory_bytes;
  std::optional<std::int64_t> pids_limit;
  std::map<std::string, std::string> unified;
  bool operator==(const PodConfig&) const = default;
};

/// Something that surprises people, found in this manifest.
struct Trap {
  enum class Level { note, warning };
  Level level = Level::warning;
  std::string id;       ///< stable: "pod-uncapped"
  std::string pointer;  ///< JSON pointer of the field
  std::string message;  ///< one sentence with the numbers
  bool operator==(const Trap&) const = default;
};

struct PodPlan {
  PodManifest pod;  ///< with defaults
  QosClass qos = QosClass::best_effort;
  Effective requests, limits;
  PodConfig config;
  std::map<std::string, std::string> config_formulas;  ///< "cpuShares", "cpuQuota", "memory" ...
  PlannedFiles pod_cgroup2, pod_cgroup1;
  std::uint64_t pod_weight_if_quadratic = 0;
  CgroupPaths cgroupfs, systemd;
  std::vector<ContainerPlan> containers;  ///< init containers first, in the manifest's order
  std::vector<Trap> traps;

  [[nodiscard]] const ContainerPlan* find(std::string_view name) const;
};

/// Plans the whole pod. An error is an amount that no file can hold (where Kubernetes would
/// silently wrap); what is merely unwise is a trap.
[[nodiscard]] Result<PodPlan> plan_pod(const PodManifest& pod, const NodeFacts& node);

/// The traps of a plan; plan_pod calls it.
[[nodiscard]] std::vector<Trap> find_traps(const PodManifest& written, const PodPlan& plan,
                                           const NodeFacts& node);

/// Page floor of the kernel (measured: 107374183 -> 107372544, 1 -> 0).
[[nodiscard]] std::int64_t page_floor(std::int64_t bytes, std::int64_t page_size_bytes);

/// What a pod adds to the tiers above it.
struct TierPod {
  QosClass qos = QosClass::best_effort;
  std::int64_t cpu_request_milli = 0;
  std::int64_t memory_request_bytes = 0;
};

struct QosTiers {
  std::uint64_t burstable_shares = cpu_shares_min;
  std::uint64_t best_effort_shares = cpu_shares_min;
  PlannedFiles kubepods;  ///< what the pods change there: protections of MemoryQoS
  PlannedFiles burstable, best_effort;
};

/// kubepods/burstable and kubepods/besteffort; the kubelet refreshes them every minute.
[[nodiscard]] Result<QosTiers> plan_qos_tiers(const std::vector<TierPod>& pods,
                                              const NodeFacts& node);

/// kubepods itself, from the allocatable: capacity less kube- and system-reserved. Eviction
/// thresholds are not subtracted from memory.max. No quota.
struct NodeAllocatable {
  std::int64_t cpu_milli = 0;
  std::optional<std::int64_t> memory_bytes;
  std::optional<std::int64_t> pids;
};
struct KubepodsPlan {
  std::uint64_t cpu_shares = cpu_shares_min;
  PlannedFiles files;
};
[[nodiscard]] KubepodsPlan plan_kubepods(const NodeAllocatable& allocatable);

}  // namespace minirun::kubernetes
