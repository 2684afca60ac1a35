// Owns: what the API server and the scheduler make of a manifest: defaults, QoS class, effective
// requests and limits of the pod. Pure functions.
// Must not: know cgroups.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "spec/kubernetes/pod.h"

namespace minirun::kubernetes {

enum class QosClass { guaranteed, burstable, best_effort };
[[nodiscard]] std::string_view to_string(QosClass qos);

/// A missing request takes the limit, per container and resource; then the pod-level stanza is
/// completed from the containers (KEP-2837). Everything below wants a manifest treated so.
[[nodiscard]] Result<PodManifest> with_defaults(PodManifest pod, const NodeFacts& node);

[[nodiscard]] Result<QosClass> qos_class(const PodManifest& pod);

/// Amounts with the text of how each came about.
struct Effective {
  ResourceList amounts;
  std::map<std::string, std::string> formulas;
};

enum class Which { requests, limits };

/// max over the init steps and the running set, pod-level values, then overhead
/// (k8s.io/component-helpers/resource).
[[nodiscard]] Result<Effective> effective(const PodManifest& pod, Which which);
/// The same from the containers alone: no pod-level values, no overhead.
[[nodiscard]] Result<Effective> aggregated(const PodManifest& pod, Which which);

/// Containers whose missing limit of `resource` takes the cap from the pod cgroup: empty when all
/// declare it, or when the pod-level stanza does. An init step counts the sidecars before it.
[[nodiscard]] Result<std::vector<std::string>> without_limit(const PodManifest& pod,
                                                             std::string_view resource);

/// Priority of 2000000000 and above, or a static or mirror pod.
[[nodiscard]] bool critical(const PodManifest& pod);
/// Critical and of class system-node-critical: gets the oom_score_adj of Guaranteed.
[[nodiscard]] bool node_critical(const PodManifest& pod);

/// The quantity under `name`, nullptr when the key is absent.
[[nodiscard]] const Quantity* find(const ResourceList& list, std::string_view name);
[[nodiscard]] bool positive(const ResourceList& list, std::string_view name);

/// "hugepages-2Mi" gives "2MB", the name of OCI and of the cgroup files; empty for other names.
[[nodiscard]] std::string hugepage_size_name(std::string_view resource);
/// The page size in bytes, 0 for other names.
[[nodiscard]] std::int64_t hugepage_size_bytes(std::string_view resource);

}  // namespace minirun::kubernetes
