// Owns: an in-place resize of a pod that runs here: finds it, checks that nothing is shrunk below
// its use, writes the steps of spec/kubernetes/resize.h in their order.
// Must not: decide the order, or print.
#pragma once

#include <string>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/state.h"
#include "spec/kubernetes/node_reader.h"
#include "spec/kubernetes/resize.h"

namespace minirun {

struct ResizeRequest {
  std::string name;      ///< of the pod
  std::string document;  ///< the new file, stored for restarts
  kubernetes::PodManifest after;
  kubernetes::NodeFacts node;
  bool force = false;    ///< shrink memory below its use: the kernel reclaims, then kills
  bool dry_run = false;  ///< checks only
};

/// One write of a step, done or planned: "pod memory.max = 536870912".
struct ResizeWrite {
  std::string step;  ///< as kubernetes::to_string has it
  std::string path, file, value;
};

/// What was written, in order; `state` has the containers, whose new limits are stored there as
/// `update` stores them. Errors: no such pod runs; why Kubernetes would refuse; memory in
/// use above the new limit. A write that fails ends it, as a step of the kubelet does: what stands
/// before it stays, and the manifest is not stored.
[[nodiscard]] Result<std::vector<ResizeWrite>> resize_pod(const ResizeRequest& request,
                                                          const HostFacts& facts,
                                                          const StateRoot& state);

}  // namespace minirun
