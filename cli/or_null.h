// Owns: an absent number in JSON. Must not: know a document.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

namespace minirun::cli {

template <class T>
[[nodiscard]] nlohmann::ordered_json or_null(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace minirun::cli
