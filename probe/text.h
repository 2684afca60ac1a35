// Owns: the words and tables for people: judgements, comparisons, the table of the textbook.
// Must not: print, or compute what judge.h has not.
#pragma once

#include <string>

#include "probe/judge.h"

namespace minirun::probe {

/// "1.42 us", "64.0 MiB", "0.50 cores": three digits with the unit that fits.
[[nodiscard]] std::string human(double value, std::string_view unit);

/// The table host, container, ratio, explanation; without `all` the rows that only support others
/// (counts, lengths) are left out, and their number is said.
[[nodiscard]] std::string table(const Judgement& judgement, bool all);

[[nodiscard]] std::string table(const Comparison& comparison);

/// Columns of text, padded; the last is not.
[[nodiscard]] std::string columns(const std::vector<std::vector<std::string>>& rows,
                                  std::string_view indent);

}  // namespace minirun::probe
