// Owns: the vectors of tests/data/kubernetes-vectors.json. Must not: check them.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>

namespace minirun {

inline const nlohmann::json& vectors() {
  static const nlohmann::json document = [] {
    std::ifstream file(MINIRUN_SOURCE_DIR "/tests/data/kubernetes-vectors.json");
    return nlohmann::json::parse(file);
  }();
  return document;
}

}  // namespace minirun
