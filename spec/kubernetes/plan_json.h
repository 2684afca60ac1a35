// Owns: a pod's plan as JSON, with the key names of the golden vectors.
// Must not: compute.
#pragma once

#include <string>
#include <vector>

#include "spec/kubernetes/plan.h"

namespace minirun::kubernetes {

/// One object for one pod, else an array. Indented by two blanks, with a final newline.
[[nodiscard]] std::string plans_json(const std::vector<PodPlan>& plans);

/// linux.resources as config.json has them, one line.
[[nodiscard]] std::string oci_resources_json(const Resources& resources);

}  // namespace minirun::kubernetes
