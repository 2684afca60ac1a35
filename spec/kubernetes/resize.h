// Owns: the order of an in-place resize (KEP-1287): which cgroup is written when.
// Must not: write; the steps are data.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "spec/kubernetes/plan.h"

namespace minirun::kubernetes {

struct ResizeStep {
  enum class Kind {
    pod_file,           ///< the kubelet writes `file` of the pod cgroup
    update_container,   ///< CRI UpdateContainerResources, all resources of the container
    restart_container,  ///< resizePolicy RestartContainer
  };
  Kind kind = Kind::pod_file;
  std::string resource;   ///< "memory" or "cpu"
  std::string container;  ///< empty for pod_file
  std::string file, value;
  std::string reason;
  bool operator==(const ResizeStep&) const = default;
};

/// "pod memory.max=536870912", "UpdateContainerResources a", "restart a".
[[nodiscard]] std::string to_string(const ResizeStep& step);

/// Memory first, then cpu; each: raise the pod, decrease containers, lower the pod, increase
/// containers. An error says why Kubernetes would refuse (QoS class changes, a limit is removed,
/// containers differ, a container that may swap changes its memory request ...).
[[nodiscard]] Result<std::vector<ResizeStep>> plan_resize(const PodManifest& before,
                                                          const PodManifest& after,
                                                          const NodeFacts& node);

}  // namespace minirun::kubernetes
