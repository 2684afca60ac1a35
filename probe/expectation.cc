// Owns: reading, checking and reporting expectations (judge.h).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "probe/judge.h"

namespace minirun::probe {
namespace {

std::string_view strip(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::optional<double> factor(std::string_view unit) {
  struct Unit {
    std::string_view name;
    double factor;
  };
  static constexpr std::array units = {
      Unit{"", 1},      Unit{"k", 1e3},      Unit{"M", 1e6},           Unit{"G", 1e9},
      Unit{"Ki", 1024}, Unit{"Mi", 1048576}, Unit{"Gi", 1073741824.0}, Unit{"m", 1e-3},
      Unit{"u", 1e-6},  Unit{"n", 1e-9},     Unit{"%", 0.01}};
  for (const Unit& known : units)
    if (known.name == unit) return known.factor;
  return std::nullopt;
}

std::unexpected<Error> unreadable(std::string_view text, std::string_view why) {
  return plain_error("--expect", fmt::format("\"{}\": {}", text, why));
}

}  // namespace

Result<Expectation> parse_expectation(std::string_view text) {
  Expectation result;
  result.text = strip(text);
  const std::size_t at = text.find_first_of("<>=!");
  if (at == std::string_view::npos)
    return unreadable(text, "has no comparison; write METRIC>=NUMBER");
  const std::size_t end = text.find_first_not_of("<>=!", at);
  result.op = text.substr(at, end == std::string_view::npos ? end : end - at);
  static constexpr std::array<std::string_view, 6> ops = {">=", "<=", ">", "<", "==", "!="};
  if (std::ranges::find(ops, result.op) == ops.end())
    return unreadable(text, fmt::format("\"{}\" is not one of >= <= > < == !=", result.op));
  std::string_view metric = strip(text.substr(0, at));
  if (const std::size_t side = metric.find('@'); side != std::string_view::npos) {
    const std::string_view name = metric.substr(side + 1);
    if (name == "host")
      result.side = Expectation::Side::host;
    else if (name == "container")
      result.side = Expectation::Side::container;
    else if (name == "ratio")
      result.side = Expectation::Side::ratio;
    else
      return unreadable(text, fmt::format("\"@{}\" is not @host, @container or @ratio", name));
    metric = metric.substr(0, side);
  }
  if (metric.find('.') == std::string_view::npos)
    return unreadable(text, "names no metric; `minirun probe list` has some");
  result.metric = metric;
  const std::string_view number =
      strip(end == std::string_view::npos ? std::string_view() : text.substr(end));
  const auto [rest, error] =
      std::from_chars(number.data(), number.data() + number.size(), result.value);
  const std::string_view unit(rest, static_cast<std::size_t>(number.data() + number.size() - rest));
  const std::optional<double> scale = factor(strip(unit));
  if (error != std::errc() || !scale || !std::isfinite(result.value))
    return unreadable(text, fmt::format("\"{}\" is not a number", number));
  result.value *= *scale;
  return result;
}

namespace {

bool holds(double found, const std::string& op, double value) {
  if (op == ">=") return found >= value;
  if (op == "<=") return found <= value;
  if (op == ">") return found > value;
  if (op == "<") return found < value;
  return (found == value) == (op == "==");
}

std::optional<double> side_of(const Row& row, Expectation::Side side) {
  auto median = [](const std::optional<Cell>& cell) -> std::optional<double> {
    if (!cell) return std::nullopt;
    return cell->median;
  };
  switch (side) {
    case Expectation::Side::automatic:
      return row.container ? median(row.container) : median(row.host);
    case Expectation::Side::host:
      return median(row.host);
    case Expectation::Side::container:
      return median(row.container);
    case Expectation::Side::ratio:
      return row.ratio;
  }
  return std::nullopt;
}

/// Why there is no such number: the host's reason when it gave one for this metric or its scenario.
std::string missing(const Expectation& expectation, const Judgement& judgement) {
  for (const Unsupported& entry : judgement.unsupported)
    if (expectation.metric.starts_with(entry.metric) ||
        entry.metric.starts_with(expectation.metric))
      return fmt::format("{} is unsupported on the {}: {}", expectation.metric, entry.side,
                         entry.reason);
  const std::string probe = expectation.metric.substr(0, expectation.metric.find('.'));
  for (const Unsupported& entry : judgement.unsupported)
    if (entry.metric.starts_with(probe))
      return fmt::format("{} is unsupported on the {}: {}", expectation.metric, entry.side,
                         entry.reason);
  return fmt::format("there is no {} in these results", expectation.metric);
}

}  // namespace

Outcome check(const Expectation& expectation, const Judgement& judgement) {
  const Row* row = judgement.find(expectation.metric);
  // A number of the other side must not stand for a container that could not be made.
  const bool refused = expectation.side == Expectation::Side::automatic && row != nullptr &&
                       !row->container &&
                       std::ranges::any_of(judgement.unsupported, [row](const Unsupported& entry) {
                         return entry.side == "container" && entry.metric.starts_with(row->probe);
                       });
  const std::optional<double> found =
      row == nullptr || refused ? std::nullopt : side_of(*row, expectation.side);
  if (!found) return {Outcome::State::unsupported, missing(expectation, judgement)};
  const bool met = holds(*found, expectation.op, expectation.value);
  return {met ? Outcome::State::met : Outcome::State::failed,
          fmt::format("{} is {:.6g} {}, expected {} {:.6g}", expectation.metric, *found, row->unit,
                      expectation.op, expectation.value)};
}

namespace {

std::string xml(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        // XML 1.0 has no form for other control characters.
        result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result;
}

}  // namespace

std::string junit(const std::vector<Expectation>& expectations,
                  const std::vector<Outcome>& outcomes) {
  std::size_t failures = 0, errors = 0;
  std::string cases;
  for (std::size_t i = 0; i < expectations.size(); ++i) {
    const std::string message = xml(outcomes[i].message);
    cases += fmt::format("  <testcase classname=\"minirun.probe\" name=\"{}\">",
                         xml(expectations[i].text));
    switch (outcomes[i].state) {
      case Outcome::State::met:
        break;
      case Outcome::State::failed:
        ++failures;
        cases += fmt::format("<failure message=\"{}\"/>", message);
        break;
      case Outcome::State::unsupported:
        ++errors;
        cases += fmt::format("<error type=\"unsupported\" message=\"{}\"/>", message);
        break;
    }
    cases += "</testcase>\n";
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"minirun probe\" "
      "tests=\"{}\" failures=\"{}\" errors=\"{}\">\n{}</testsuite>\n",
      expectations.size(), failures, errors, cases);
}

}  // namespace minirun::probe
