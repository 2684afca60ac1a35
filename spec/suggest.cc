// Owns: the edit distance behind "did you mean".
// Must not: allocate without bound; the word comes from an untrusted document.
#include "spec/suggest.h"

#include <algorithm>
#include <array>
#include <string>

namespace minirun {
namespace {

constexpr std::size_t kLongestWord = 64;

std::string folded(std::string_view word) {
  std::string out;
  for (char c : word) {
    if (c == '_' || c == '-') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return out;
}

/// Optimal string alignment distance.
unsigned distance(std::string_view a, std::string_view b) {
  using Row = std::array<unsigned, kLongestWord + 1>;
  Row before_previous{}, previous{}, current{};
  for (unsigned j = 0; j <= b.size(); ++j) previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = static_cast<unsigned>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const unsigned other = a[i - 1] == b[j - 1] ? 0 : 1;
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + other});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], before_previous[j - 2] + 1);
    }
    before_previous = previous;
    previous = current;
  }
  return previous[b.size()];
}

}  // namespace

std::optional<std::string_view> suggest(std::string_view word,
                                        std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > kLongestWord) return std::nullopt;
  const std::string wanted = folded(word);
  std::optional<std::string_view> best;
  unsigned best_distance = wanted.size() <= 4 ? 2 : 3;  // one more than accepted
  for (std::string_view candidate : candidates) {
    const std::string known = folded(candidate);
    if (known.size() > kLongestWord || known.empty()) continue;
    const std::size_t longer = std::max(known.size(), wanted.size());
    if (longer - std::min(known.size(), wanted.size()) >= best_distance) continue;
    const unsigned found = distance(wanted, known);
    if (found < best_distance && found < known.size()) {
      best = candidate;
      best_distance = found;
    }
  }
  return best;
}

}  // namespace minirun
