// Owns: reading what a run needs from a Pod's document. Private to the reader.
// Must not: repeat what pod_reader.cc checks.
#pragma once

#include <map>
#include <string>

#include "spec/kubernetes/pod.h"
#include "spec/kubernetes/pod_run.h"
#include "spec/kubernetes/reader_context.h"

namespace minirun::kubernetes {

/// name -> key -> text, of the ConfigMaps in the same file.
using ConfigMaps = std::map<std::string, std::map<std::string, std::string>>;

/// `pod` is what was read of the same document: names and uid for the downward API.
[[nodiscard]] PodRun read_pod_run(ReaderContext& context, const Node& document,
                                  const std::string& base, const PodManifest& pod,
                                  const ConfigMaps& maps);

}  // namespace minirun::kubernetes
