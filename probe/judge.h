// Owns: what recorded runs mean: metrics with host, container, ratio and the limit that explains
// the difference; expectations over them; the comparison of two recordings. Pure functions over
// the JSON that `probe run --json` writes, so that saved files can be judged again.
// Must not: run, read a file, or take an absent number for zero.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "probe/statistics.h"

namespace minirun::probe {

inline constexpr int run_schema = 1;  ///< of the file of `probe run --json`

using Json = nlohmann::ordered_json;

/// One metric on one side. With repeats: the medians of their numbers, the extremes of all.
using Cell = Summary;

struct Row {
  std::string metric;  ///< "throttle.nt.effective_cores"
  std::string unit;    ///< "ns", "ms", "cores", "bytes", ...
  std::string better;  ///< "lower", "higher", "none"
  std::string probe, scenario;
  std::optional<Cell> host, container;
  /// Container by host; with repeats the median over the pairs of runs, each beside its own: a
  /// shared machine changes its speed within seconds.
  std::optional<double> ratio;
  std::string why;  ///< the limit or mechanism behind the difference; may be empty
};

struct Unsupported {
  std::string metric;  ///< or a scenario: "throttle.weights"
  std::string side;    ///< "host" or "container"
  std::string reason;
  bool operator==(const Unsupported&) const = default;
};

struct Judgement {
  std::vector<Row> rows;
  std::vector<Unsupported> unsupported;
  std::vector<std::string> warnings;
  [[nodiscard]] const Row* find(std::string_view metric) const;
};

/// Whether `file` is a recording of this schema. Errors: what is wrong with it, with a pointer.
[[nodiscard]] Status check_recording(const Json& file);

/// `file` has passed check_recording().
[[nodiscard]] Judgement judge(const Json& file);

// ---- expectations

struct Expectation {
  enum class Side { automatic, host, container, ratio };
  std::string text;    ///< as given
  std::string metric;  ///< "throttle.ratio"
  Side side = Side::automatic;
  std::string op;  ///< ">=", "<=", ">", "<", "==", "!="
  double value = 0;
};
/// METRIC[@host|@container|@ratio] OP NUMBER[unit]; the unit is k, M, G, Ki, Mi, Gi, m, u, n or %.
/// Errors: what cannot be read.
[[nodiscard]] Result<Expectation> parse_expectation(std::string_view text);

struct Outcome {
  enum class State { met, failed, unsupported };
  State state = State::unsupported;
  std::string message;  ///< "throttle.ratio is 0.98, expected >= 0.4"
};
/// Without a side it is about the container, or about the host where no container ran.
[[nodiscard]] Outcome check(const Expectation& expectation, const Judgement& judgement);

/// JUnit XML with one test case for each expectation.
[[nodiscard]] std::string junit(const std::vector<Expectation>& expectations,
                                const std::vector<Outcome>& outcomes);

// ---- comparison

struct Difference {
  std::string metric, unit, side;
  double before = 0, after = 0;
  /// "same": within the spread of both; "better", "worse", "changed" (no direction) beyond it.
  std::string verdict;
};
struct Comparison {
  std::vector<Difference> changes;
  std::vector<std::string> only_first, only_second;  ///< metrics
  std::vector<std::string> notes;                    ///< another kernel, CPU, quick or not
};
[[nodiscard]] Comparison compare(const Json& first, const Json& second);

}  // namespace minirun::probe
