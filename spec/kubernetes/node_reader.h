// Owns: reading a node file: NodeFacts as JSON or YAML, every part of it optional.
// Must not: look at this machine.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/findings.h"
#include "spec/kubernetes/pod.h"

namespace minirun::kubernetes {

struct NodeFile {
  NodeFacts facts;      ///< the defaults, and over them what the file says
  std::string pod_uid;  ///< of pods without one; empty: the file names none
  /// CPUs that pods may use, in thousandths: decides the weight of kubepods. Absent: not known.
  std::optional<std::int64_t> allocatable_cpu_milli;
  Findings findings;
};

/// Objects `node`, `kubelet` and `runtime` with the names of docs/kubernetes-limits.md. Amounts of
/// bytes are integers or quantities ("16Gi").
[[nodiscard]] NodeFile read_node(std::string_view text);

}  // namespace minirun::kubernetes
