// Owns: reading and checking resource stanzas: containers', pod-level, overhead.
// Must not: be used outside the Pod reader.
#pragma once

#include "spec/kubernetes/pod.h"
#include "spec/kubernetes/reader_context.h"

namespace minirun::kubernetes {

enum class Stanza { container, pod_level };

[[nodiscard]] ResourceRequirements read_resources(ReaderContext& context, const Node& node,
                                                  Stanza stanza, const std::string& pointer);
[[nodiscard]] ResourceList read_resource_list(ReaderContext& context, const Node& node,
                                              const std::string& pointer);
/// Sums and pod-level rules, on a manifest whose parts are right.
void check_pod_resources(ReaderContext& context, const PodManifest& pod, const Node& spec,
                         const std::string& pointer);

}  // namespace minirun::kubernetes
