// Owns: reading files of Pod manifests, YAML or JSON, with all findings at once: which document is
// a Pod, or makes one, and the data that Pods name. Must not: know a field of a Pod; pod_reader.h
// does.
#pragma once

#include <string_view>
#include <vector>

#include "base/findings.h"
#include "spec/kubernetes/pod.h"
#include "spec/kubernetes/pod_run.h"

namespace minirun::kubernetes {

struct PodFile {
  /// One per Pod of the file, in its order, also the items of a List. Use them only when
  /// findings have no error. A pod whose manifest has no uid has an empty one.
  std::vector<PodManifest> pods;
  std::vector<PodRun> runs;  ///< how each of them runs
  Findings findings;         ///< in the order of the lines, with pointer, line and column
};

/// Reads every document of a file. Unknown properties are warnings; a known one with a bad value
/// is an error. Limits: see document.h.
[[nodiscard]] PodFile read_pods(std::string_view text);

}  // namespace minirun::kubernetes
