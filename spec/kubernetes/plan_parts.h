// Owns: the pieces that plan.cc puts together; private to the planner.
// Must not: be included outside spec/kubernetes.
#pragma once

#include "spec/kubernetes/plan.h"

namespace minirun::kubernetes {

/// The largest quota that the kernel's fixed-point bandwidth can hold: 2^44 - 1 us
/// (kernel/sched/core.c, max_cfs_runtime).
inline constexpr std::int64_t cpu_quota_max_us = (std::int64_t{1} << 44) - 1;

struct OomScore {
  int value = 0;
  std::string formula;
};
[[nodiscard]] Result<OomScore> oom_score_adj(const PodManifest& pod, const Container& container,
                                             QosClass qos, const NodeFacts& node);

/// Keys of `unified` with their formulas.
struct UnifiedValues {
  std::map<std::string, std::string> values, formulas;
  void set(const std::string& name, std::string value, std::string formula);
};
[[nodiscard]] Result<UnifiedValues> container_unified(const PodManifest& pod,
                                                      const Container& container, QosClass qos,
                                                      std::int64_t memory_limit_bytes,
                                                      const NodeFacts& node);
[[nodiscard]] Result<UnifiedValues> pod_unified(const PodManifest& pod, QosClass qos,
                                                const Effective& requests, const Effective& limits,
                                                const NodeFacts& node);

[[nodiscard]] Result<ContainerPlan> plan_container(const PodManifest& pod,
                                                   const Container& container, QosClass qos,
                                                   const NodeFacts& node);

/// 0 when absent; errors carry the resource name.
[[nodiscard]] Result<std::int64_t> bytes_of(const ResourceList& list, std::string_view name);
[[nodiscard]] Result<std::int64_t> milli_of(const ResourceList& list, std::string_view name);
[[nodiscard]] Result<std::int64_t> quota_of(std::int64_t milli, std::uint64_t period_us);

[[nodiscard]] std::string shares_formula(std::int64_t milli);
[[nodiscard]] std::string quota_formula(std::int64_t milli, std::uint64_t period_us);

/// A limit for `name`: the container's, else the pod-level one. nullptr when there is none.
[[nodiscard]] const Quantity* enforced_limit(const PodManifest& pod, const Container& container,
                                             std::string_view name);

}  // namespace minirun::kubernetes
