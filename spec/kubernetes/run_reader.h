// Owns: reading what a run needs from a Pod's document. Private to the reader.
// Must not: repeat what pod_reader.cc checks.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "spec/kubernetes/pod.h"
#include "spec/kubernetes/pod_run.h"
#include "spec/kubernetes/reader_context.h"

namespace minirun::kubernetes {

/// The ConfigMaps and Secrets of the same file.
class DataMaps {
 public:
  enum class Kind { config_map, secret };
  using Data = std::map<std::string, std::string>;  ///< key -> content

  [[nodiscard]] static const char* name(Kind kind) {
    return kind == Kind::config_map ? "ConfigMap" : "Secret";
  }
  /// nullptr: there is none.
  [[nodiscard]] const Data* find(Kind kind, const std::string& name) const {
    const auto it = maps_.find({kind, name});
    return it == maps_.end() ? nullptr : &it->second;
  }
  Data& make(Kind kind, const std::string& name) { return maps_[{kind, name}]; }

 private:
  std::map<std::pair<Kind, std::string>, Data> maps_;
};

/// `pod` is what was read of the same document: names and amounts for the downward API. `claims`:
/// names of volumes that the manifest's owner would make (volumeClaimTemplates).
[[nodiscard]] PodRun read_pod_run(ReaderContext& context, const Node& document,
                                  const std::string& base, const PodManifest& pod,
                                  const DataMaps& maps, const std::vector<std::string>& claims);

}  // namespace minirun::kubernetes
