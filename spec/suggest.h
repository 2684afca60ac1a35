// Owns: "did you mean": the known word that is closest to what a user wrote.
// Must not: know any format or print anything.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace minirun {

/// The candidate closest to `word`, if one is close enough to be a slip: at most two edits (one in
/// words of up to four letters), where an edit is a letter more, less, other or two swapped. Case,
/// '_' and '-' do not count, so that "oomScoreAdj" finds "oom_score_adj". Words of more than 64
/// bytes find nothing.
[[nodiscard]] std::optional<std::string_view> suggest(std::string_view word,
                                                      std::span<const std::string_view> candidates);

}  // namespace minirun
