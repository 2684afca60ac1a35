// Owns: the numbers that textbooks on operating systems quote, beside the metrics that measure
// them, and what is to be said where they are out of date. Pure.
// Must not: measure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "probe/judge.h"

namespace minirun::probe {

struct Claim {
  std::string_view subject;  ///< "create a process"
  std::string_view metric;   ///< the first of these that was measured, separated by spaces
  std::string_view text;     ///< "about 10 ms"
  double low, high;          ///< the range that the text means, in the unit of the metric
  std::string_view remark;   ///< why it is otherwise today; empty: nothing to say
  /// Not empty: the claim is about metric / base, a factor.
  std::string_view base = "";
};
[[nodiscard]] std::span<const Claim> claims();

/// "as the text says", "12 times less", "3.1 times more": within a factor of two of the range it
/// is what the text says.
[[nodiscard]] std::string verdict(const Claim& claim, double value);

/// Its rows: subject, the text says, this host, this container, found.
[[nodiscard]] std::vector<std::vector<std::string>> textbook_rows(const Judgement& judgement);

/// The table "the text says / this host / this container".
[[nodiscard]] std::string textbook_table(const Judgement& judgement);

}  // namespace minirun::probe
