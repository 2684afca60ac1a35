// Owns: what a reader or validator has to say about a user's document: all of it, not only the
// first. Must not: decide what to do about it.
#pragma once

#include <string>
#include <vector>

namespace minirun {

/// One remark about a document. `pointer` is an RFC 6901 JSON pointer ("/mounts/2/destination").
struct Finding {
  enum class Level { warning, error };
  Level level = Level::error;
  std::string pointer;
  std::string message;  ///< one sentence without a final stop: the value, what was expected
  int line = 0;         ///< in the document, from 1; 0 when the format's reader has no positions
  int column = 0;       ///< from 1, in bytes

  bool operator==(const Finding&) const = default;
};

using Findings = std::vector<Finding>;

[[nodiscard]] inline bool has_errors(const Findings& findings) {
  for (const Finding& finding : findings)
    if (finding.level == Finding::Level::error) return true;
  return false;
}

}  // namespace minirun
