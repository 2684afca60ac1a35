// Owns: this machine as a Kubernetes node.
// Must not: know a kubelet's configuration: that stays at its defaults.
#pragma once

#include "base/host_facts.h"
#include "spec/kubernetes/pod.h"

namespace minirun {

/// Memory, swap, huge pages and controllers of this machine. All of its memory is allocatable.
[[nodiscard]] kubernetes::NodeFacts read_node_facts(const HostFacts& facts);

}  // namespace minirun
