// Owns: reading the fields of a Pod that the model has, and which others exist.
// Must not: compute amounts beyond what a check needs; plan.h does.
#pragma once

#include <string>

#include "spec/kubernetes/document.h"
#include "spec/kubernetes/pod.h"
#include "spec/kubernetes/reader_context.h"

namespace minirun::kubernetes {

/// Reads metadata and spec of a Pod or of a template; `base` is the JSON pointer of the document.
[[nodiscard]] PodManifest read_pod(ReaderContext& context, const Node& document,
                                   const std::string& base);

}  // namespace minirun::kubernetes
