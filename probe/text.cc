#include "probe/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace minirun::probe {
namespace {

std::string three_digits(double value) {
  const double size = std::abs(value);
  if (size >= 100 || value == std::floor(value)) return fmt::format("{:.0f}", value);
  return size >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

std::string seconds(double value) {
  struct Scale {
    double from;
    double factor;
    const char* unit;
  };
  static constexpr std::array scales = {Scale{1, 1, "s"}, Scale{1e-3, 1e3, "ms"},
                                        Scale{1e-6, 1e6, "us"}, Scale{0, 1e9, "ns"}};
  for (const Scale& scale : scales)
    if (std::abs(value) >= scale.from) return three_digits(value * scale.factor) + " " + scale.unit;
  return "0 s";
}

std::string bytes(double value, const char* suffix) {
  static constexpr std::array units = {"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return three_digits(value) + " " + units[unit] + suffix;
}

/// Rows that back up others.
bool supporting(const Row& row) {
  static constexpr std::array endings = {".voluntary",
                                         ".involuntary",
                                         ".seconds",
                                         ".threads",
                                         ".turns",
                                         ".periods",
                                         ".throttled_periods",
                                         ".kills_local",
                                         ".kills_above",
                                         ".rate",
                                         "_average",
                                         ".victim_child",
                                         ".max_events",
                                         ".group_kills",
                                         ".high_events",
                                         ".burn.periods",
                                         ".burn.throttled",
                                         ".burn.throttled_usec"};
  return std::ranges::any_of(endings,
                             [&row](const char* end) { return row.metric.ends_with(end); });
}

std::string cell_text(const std::optional<Cell>& cell, const std::string& unit) {
  if (!cell) return "-";
  if (unit == "bool") return cell->median != 0 ? "yes" : "no";
  std::string text = human(cell->median, unit);
  if (noisy(*cell)) text += " ~";
  return text;
}

}  // namespace

std::string human(double value, std::string_view unit) {
  if (value == 0 && (unit == "s" || unit == "ms" || unit == "us" || unit == "ns")) return "0 s";
  if (unit == "s") return seconds(value);
  if (unit == "ms") return seconds(value / 1e3);
  if (unit == "us") return seconds(value / 1e6);
  if (unit == "ns") return seconds(value / 1e9);
  if (unit == "us/MiB") return seconds(value / 1e6) + "/MiB";
  if (unit == "bytes") return bytes(value, "");
  if (unit == "bytes/s") return bytes(value, "/s");
  if (unit == "bool") return value != 0 ? "yes" : "no";
  if (unit == "ratio") return fmt::format("{:.3f}", value);
  if (unit == "1") return three_digits(value);
  if (unit == "1/s" && std::abs(value) >= 1e6) return three_digits(value / 1e6) + " M/s";
  if (unit == "1/s") return three_digits(value) + " /s";
  if (unit == "cores") return fmt::format("{:.3f} cores", value);
  return three_digits(value) + " " + std::string(unit);
}

std::string columns(const std::vector<std::vector<std::string>>& rows, std::string_view indent) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i >= widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto& row : rows) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i)
      line += i + 1 < row.size() ? fmt::format("{:<{}}  ", row[i], widths[i]) : row[i];
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  }
  return text;
}

std::string table(const Judgement& judgement, bool all) {
  std::vector<std::vector<std::string>> rows = {
      {"metric", "host", "container", "ratio", "what explains it"}};
  std::size_t hidden = 0;
  for (const Row& row : judgement.rows) {
    if (!all && supporting(row)) {
      ++hidden;
      continue;
    }
    const auto ratio = row.ratio;
    rows.push_back({row.metric, cell_text(row.host, row.unit), cell_text(row.container, row.unit),
                    ratio ? three_digits(*ratio) : "-", row.why});
  }
  std::string text = rows.size() > 1 ? columns(rows, "") : "";
  if (hidden > 0) text += fmt::format("({} supporting numbers: --all shows them)\n", hidden);
  for (const Unsupported& entry : judgement.unsupported)
    text += fmt::format("unsupported {} ({}): {}\n", entry.metric, entry.side, entry.reason);
  for (const std::string& warning : judgement.warnings)
    text += fmt::format("warning: {}\n", warning);
  if (std::ranges::any_of(judgement.rows, [](const Row& row) {
        return (row.host && noisy(*row.host)) || (row.container && noisy(*row.container));
      }))
    text += "warning: ~ marks a result whose middle nine tenths spread by more than its half\n";
  return text;
}

std::string table(const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows = {
      {"metric", "side", "before", "after", "change", "verdict"}};
  std::size_t same = 0;
  for (const Difference& change : comparison.changes) {
    if (change.verdict == "same") {
      ++same;
      continue;
    }
    const std::string percent =
        change.before != 0 ? fmt::format("{:+.1f} %", (change.after / change.before - 1) * 100)
                           : "-";
    rows.push_back({change.metric, change.side, human(change.before, change.unit),
                    human(change.after, change.unit), percent, change.verdict});
  }
  std::string text = rows.size() > 1 ? columns(rows, "") : "";
  text += fmt::format("{} of {} numbers are the same within their spread\n", same,
                      comparison.changes.size());
  for (const std::string& metric : comparison.only_first)
    text += fmt::format("only in the first: {}\n", metric);
  for (const std::string& metric : comparison.only_second)
    text += fmt::format("only in the second: {}\n", metric);
  for (const std::string& note : comparison.notes) text += fmt::format("note: {}\n", note);
  return text;
}

}  // namespace minirun::probe
