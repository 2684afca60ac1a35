#include "probe/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "probe/metrics.h"

namespace minirun::probe {

const Row* Judgement::find(std::string_view metric) const {
  for (const Row& row : rows)
    if (row.metric == metric) return &row;
  return nullptr;
}

Status check_recording(const Json& file) {
  if (!file.is_object()) return plain_error("", "is not a JSON object");
  const auto schema = number_in(file, "schema");
  if (!schema) return plain_error("/schema", "is missing: not a recording of `probe run --json`");
  if (*schema != run_schema)
    return plain_error("/schema",
                       fmt::format("is {:g}, this minirun reads {}", *schema, run_schema));
  const auto runs = file.find("runs");
  if (runs == file.end() || !runs->is_array()) return plain_error("/runs", "is not an array");
  for (std::size_t i = 0; i < runs->size(); ++i) {
    const Json& run = (*runs)[i];
    for (const char* key : {"probe", "scenario", "side"})
      if (text_in(run, key).empty())
        return plain_error(fmt::format("/runs/{}/{}", i, key), "is missing or not a string");
    if (const std::string side = text_in(run, "side"); side != "host" && side != "container")
      return plain_error(fmt::format("/runs/{}/side", i), fmt::format("\"{}\" is no side", side));
  }
  return {};
}

namespace {

Cell cell_of(const Json& result) {
  auto get = [&result](const char* key) { return number_in(result, key).value_or(0); };
  return {static_cast<std::size_t>(std::max(0.0, get("n"))),
          get("min"),
          get("p5"),
          get("median"),
          get("p95"),
          get("p99"),
          get("max"),
          get("mean")};
}

Cell single(double value) {
  return {1, value, value, value, value, value, value, value};
}

double middle(std::vector<double> values) {
  std::ranges::sort(values);
  return quantile(values, 0.5);
}

/// Several repeats of one metric.
Cell merge(const std::vector<Cell>& cells) {
  if (cells.size() == 1) return cells.front();
  auto of = [&cells](double Cell::* member) {
    std::vector<double> values;
    values.reserve(cells.size());
    for (const Cell& cell : cells) values.push_back(cell.*member);
    return middle(std::move(values));
  };
  Cell merged{0,
              cells[0].min,
              of(&Cell::p5),
              of(&Cell::median),
              of(&Cell::p95),
              of(&Cell::p99),
              cells[0].max,
              of(&Cell::mean)};
  for (const Cell& cell : cells) {
    merged.n += cell.n;
    merged.min = std::min(merged.min, cell.min);
    merged.max = std::max(merged.max, cell.max);
  }
  return merged;
}

/// See Row::ratio. Where one side has fewer runs there are no pairs, but for their medians.
std::optional<double> ratio_of(const std::vector<Cell>& host, const std::vector<Cell>& container) {
  if (host.empty() || container.empty()) return std::nullopt;
  if (host.size() != container.size()) return ratio_of({merge(host)}, {merge(container)});
  std::vector<double> ratios;
  for (std::size_t i = 0; i < host.size(); ++i) {
    if (host[i].median == 0) return std::nullopt;
    ratios.push_back(container[i].median / host[i].median);
  }
  return middle(std::move(ratios));
}

class Judge {
 public:
  Judgement run(const Json& file) {
    for (const Json& one : file["runs"]) take(one);
    for (std::size_t i = 0; i < rows_.size(); ++i) finish(i);
    add_short_names();
    return std::move(judgement_);
  }

 private:
  struct Building {
    Row row;
    std::vector<Cell> host, container;
    Json limits = Json::object();
    double threads = 1;
  };

  Building& building(const std::string& metric, const std::string& unit, const std::string& better,
                     const Json& run) {
    const auto [at, made] = index_.try_emplace(metric, rows_.size());
    if (made) {
      Building fresh;
      fresh.row = {metric, unit, better, text_in(run, "probe"), text_in(run, "scenario"), {},
                   {},     {},   {}};
      rows_.push_back(std::move(fresh));
    }
    return rows_[at->second];
  }

  void add(const Json& run, const std::string& metric, const std::string& unit,
           const std::string& better, const Cell& cell) {
    Building& entry = building(metric, unit, better, run);
    const bool container = text_in(run, "side") == "container";
    (container ? entry.container : entry.host).push_back(cell);
    if (container) entry.limits = object_in(run, "limits");
  }

  void warn(const std::string& text) {
    if (std::ranges::find(judgement_.warnings, text) == judgement_.warnings.end())
      judgement_.warnings.push_back(text);
  }

  void refuse(const Json& run, std::string metric, std::string reason) {
    Unsupported entry{std::move(metric), text_in(run, "side"), std::move(reason)};
    if (std::ranges::find(judgement_.unsupported, entry) == judgement_.unsupported.end())
      judgement_.unsupported.push_back(std::move(entry));
  }

  static std::string scenario_name(const Json& run) {
    const std::string scenario = text_in(run, "scenario");
    return text_in(run, "probe") + (scenario == "all" ? "" : "." + scenario);
  }

  void take_document(const Json& run, const Json& document) {
    double threads = 1;
    for (const Json& result : array_in(document, "results"))
      if (text_in(result, "metric").ends_with(".threads"))
        threads = number_in(result, "median").value_or(1);
    for (const Json& result : array_in(document, "results")) {
      const std::string metric = recorded_name(run, text_in(result, "metric"));
      if (metric.empty()) continue;
      add(run, metric, text_in(result, "unit"), text_in(result, "better"), cell_of(result));
      rows_[index_[metric]].threads = threads;
      // What a stall does is in the tail.
      if (metric.ends_with(".gap") || metric.ends_with(".latency")) {
        add(run, metric + ".p99", text_in(result, "unit"), "lower",
            single(number_in(result, "p99").value_or(0)));
        rows_[index_[metric + ".p99"]].threads = threads;
      }
    }
    for (const Json& entry : array_in(document, "unsupported"))
      refuse(run, recorded_name(run, text_in(entry, "metric")), text_in(entry, "reason"));
    for (const Json& warning : array_in(document, "warnings"))
      if (warning.is_string()) warn(warning.get<std::string>());
  }

  void take(const Json& run) {
    for (const Json& warning : array_in(run, "warnings"))
      if (warning.is_string()) warn(warning.get<std::string>());
    if (const std::string reason = text_in(run, "unsupported"); !reason.empty())
      return refuse(run, scenario_name(run), reason);
    const Json& document = object_in(run, "document");
    // memory.oom.group ends the workload with its parent, and one in the background is ended with
    // the others: the counters are all there is.
    if (document.empty() && text_in(run, "change") != "memory.oom.group" &&
        !run.value("background", false)) {
      refuse(run, scenario_name(run), why_no_document(run));
    }
    take_document(run, document);
    for (const Derived& derived : derive(run)) {
      add(run, derived.metric, derived.unit, derived.better, single(derived.value));
      rows_[index_[derived.metric]].threads = threads_of(document);
    }
  }

  static double threads_of(const Json& document) {
    for (const Json& result : array_in(document, "results"))
      if (text_in(result, "metric").ends_with(".threads"))
        return number_in(result, "median").value_or(1);
    return 1;
  }

  static std::string why_no_document(const Json& run) {
    std::string words = text_in(run, "stderr");
    words = words.substr(0, words.find('\n'));
    if (!words.empty()) return words;
    if (const auto signal = number_in(run, "signal"))
      return fmt::format("the workload was killed by signal {:.0f} before it could report",
                         *signal);
    return "the workload gave no result";
  }

  void finish(std::size_t index) {
    Building& entry = rows_[index];
    if (!entry.host.empty()) entry.row.host = merge(entry.host);
    if (!entry.container.empty()) entry.row.container = merge(entry.container);
    entry.row.ratio = ratio_of(entry.host, entry.container);
    entry.row.why = explain(entry.row, entry.limits, entry.threads);
    judgement_.rows.push_back(std::move(entry.row));
  }

  /// "throttle.ratio" is that of as many threads as CPUs, or of one.
  void add_short_names() {
    for (const char* name : {"effective_cores", "ratio", "throttled_share", "expected_share",
                             "share_error", "stalled_share", "gap", "gap.p99"})
      for (const char* scenario : {"nt", "1t"})
        if (const Row* row = judgement_.find(fmt::format("throttle.{}.{}", scenario, name))) {
          Row copy = *row;
          copy.metric = fmt::format("throttle.{}", name);
          judgement_.rows.push_back(std::move(copy));
          break;
        }
  }

  std::vector<Building> rows_;
  std::map<std::string, std::size_t> index_;
  Judgement judgement_;
};

}  // namespace

Judgement judge(const Json& file) {
  return Judge().run(file);
}

namespace {

bool separate(const Cell& a, const Cell& b) {
  return a.p95 < b.p5 || b.p95 < a.p5;
}

Difference difference_of(const Row& row, const char* side, const Cell& before, const Cell& after) {
  Difference result{row.metric, row.unit, side, before.median, after.median, "same"};
  // Beyond the spread of both, and by more than one part in fifty.
  const double change = std::abs(after.median - before.median);
  if (!separate(before, after) || change <= 0.02 * std::abs(before.median)) return result;
  if (row.better == "none" || row.better.empty())
    result.verdict = "changed";
  else
    result.verdict = (after.median < before.median) == (row.better == "lower") ? "better" : "worse";
  return result;
}

/// The machine of the first document.
const Json& machine_of(const Json& file) {
  static const Json none = Json::object();
  for (const Json& run : file["runs"])
    if (const Json& machine = object_in(object_in(run, "document"), "machine"); !machine.empty())
      return machine;
  return none;
}

}  // namespace

Comparison compare(const Json& first, const Json& second) {
  const Judgement a = judge(first), b = judge(second);
  Comparison result;
  for (const char* key : {"kernel", "cpu_model", "clock"}) {
    const std::string before = text_in(machine_of(first), key);
    const std::string after = text_in(machine_of(second), key);
    if (before != after) result.notes.push_back(fmt::format("{}: {} and {}", key, before, after));
  }
  if (first.value("quick", false) != second.value("quick", false))
    result.notes.emplace_back("one of them is --quick: its spread is larger");
  for (const Row& row : a.rows) {
    const Row* other = b.find(row.metric);
    if (other == nullptr) {
      result.only_first.push_back(row.metric);
      continue;
    }
    if (row.host && other->host)
      result.changes.push_back(difference_of(row, "host", *row.host, *other->host));
    if (row.container && other->container)
      result.changes.push_back(difference_of(row, "container", *row.container, *other->container));
  }
  for (const Row& row : b.rows)
    if (a.find(row.metric) == nullptr) result.only_second.push_back(row.metric);
  return result;
}

}  // namespace minirun::probe
