#include "probe/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "probe/metrics.h"
#include "probe/text.h"
#include "probe/textbook.h"

extern "C" {
extern const char minirun_probe_page_begin[];
extern const char minirun_probe_page_end[];
}

namespace minirun::probe {
namespace {

constexpr std::array sides = {"host", "container"};

const std::optional<Cell>& side_of(const Row& row, std::string_view side) {
  return side == "host" ? row.host : row.container;
}

/// A bar for each of `rows`, by side; a side without any value has no series.
Json bars(std::string title, std::string unit, const std::vector<std::pair<std::string, Row>>& rows,
          double scale) {
  Json chart = {
      {"kind", "bars"}, {"title", std::move(title)}, {"y_label", std::move(unit)}, {"x_label", ""}};
  Json x = Json::array(), labels = Json::array(), series = Json::array();
  for (const auto& [label, row] : rows) {
    x.push_back(x.size());
    labels.push_back(label);
  }
  for (const char* side : sides) {
    Json y = Json::array();
    bool any = false;
    for (const auto& [label, row] : rows) {
      const std::optional<Cell>& cell = side_of(row, side);
      any = any || cell;
      y.push_back(cell ? Json(cell->median * scale) : Json());
    }
    if (any) series.push_back({{"name", side}, {"side", side}, {"y", std::move(y)}});
  }
  chart["x"] = std::move(x);
  chart["labels"] = std::move(labels);
  chart["series"] = std::move(series);
  return chart;
}

class Charts {
 public:
  Charts(const Json& file, const Judgement& judgement) : file_(file), judgement_(judgement) {}

  Json make() {
    bars_of("Effective cores", "cores", 1, "throttle.", ".effective_cores", "throttle.requests+");
    gaps();
    latency();
    memory_timelines();
    peaks();
    by_size("Handover by working set, with its cache refills", "ctxswitch.workingset.", "us", 1e-3);
    bars_of("Handover on one CPU", "us", 1e-3, "ctxswitch.", ".one_cpu", "ctxswitch.no-");
    bars_of("Handover between two CPUs", "us", 1e-3, "ctxswitch.", ".two_cpus", "ctxswitch.no-");
    by_size("Load latency by working set", "textbook.memory.load.", "ns", 1);
    polling();
    bars_of("TCP, as the receiver counts it", "MiB/s", 1.0 / 1048576, "net.", ".upload");
    bars_of("TCP, 1 byte one way", "us", 1e-3, "net.", ".latency");
    bars_of("Create a process or a thread", "us", 1e-3, "textbook.process.", "");
    return std::move(charts_);
  }

 private:
  void add(Json chart) {
    if (!chart["series"].empty() && !chart["x"].empty()) charts_.push_back(std::move(chart));
  }

  void bars_of(const char* title, const char* unit, double scale, std::string_view prefix,
               std::string_view suffix, std::string_view without = "\n") {
    std::vector<std::pair<std::string, Row>> rows;
    for (const Row& row : judgement_.rows) {
      if (!row.metric.starts_with(prefix) || !row.metric.ends_with(suffix) ||
          row.metric.starts_with(without) || row.metric.size() <= prefix.size() + suffix.size())
        continue;
      rows.emplace_back(
          row.metric.substr(prefix.size(), row.metric.size() - prefix.size() - suffix.size()), row);
    }
    add(bars(title, unit, rows, scale));
  }

  /// The first recorded run of a scenario on a side.
  const Json* run_of(std::string_view probe, std::string_view scenario, std::string_view side) {
    for (const Json& run : file_["runs"])
      if (text_in(run, "probe") == probe && text_in(run, "scenario") == scenario &&
          text_in(run, "side") == side)
        return &run;
    return nullptr;
  }

  /// Merges series with their own x onto one axis, as uPlot wants them.
  static void merge(
      Json& chart,
      const std::vector<std::pair<Json, std::vector<std::pair<double, double>>>>& parts) {
    std::vector<double> x;
    for (const auto& [about, points] : parts)
      for (const auto& [at, value] : points) x.push_back(at);
    std::ranges::sort(x);
    x.erase(std::unique(x.begin(), x.end()), x.end());
    Json series = Json::array();
    for (const auto& [about, points] : parts) {
      Json y = Json::array();
      auto sorted = points;
      std::ranges::sort(sorted);
      std::size_t next = 0;
      for (const double at : x) {
        if (next < sorted.size() && sorted[next].first == at) {
          y.push_back(sorted[next].second);
          while (next < sorted.size() && sorted[next].first == at) ++next;
        } else {
          y.push_back(nullptr);
        }
      }
      Json one = about;
      one["y"] = std::move(y);
      series.push_back(std::move(one));
    }
    chart["x"] = x;
    chart["series"] = std::move(series);
  }

  static std::vector<std::pair<double, double>> points_of(const Json& x, const Json& y,
                                                          double scale) {
    std::vector<std::pair<double, double>> points;
    if (!x.is_array() || !y.is_array()) return points;
    const std::size_t count = std::min(x.size(), y.size());
    // A chart of a few hundred pixels shows no more than this.
    const std::size_t step = std::max<std::size_t>(1, count / 600);
    for (std::size_t i = 0; i < count; i += step)
      if (x[i].is_number() && y[i].is_number())
        points.emplace_back(x[i].get<double>(), y[i].get<double>() * scale);
    return points;
  }

  void gaps() {
    for (const char* scenario : {"1t", "nt"}) {
      std::vector<std::pair<Json, std::vector<std::pair<double, double>>>> parts;
      for (const char* side : sides)
        if (const Json* run = run_of("throttle", scenario, side))
          for (const Json& series : array_in(object_in(*run, "document"), "series"))
            if (auto points = points_of(series["x"], series["y"], 1); !points.empty())
              parts.emplace_back(Json{{"name", side}, {"side", side}}, std::move(points));
      Json chart = {{"kind", "points"},
                    {"title", fmt::format("Stalls of the first thread over time ({})", scenario)},
                    {"note", "each point is a hole of 1 ms and more in its clock"},
                    {"x_label", "ms"},
                    {"y_label", "ms"}};
      merge(chart, parts);
      add(std::move(chart));
    }
  }

  /// Quantiles of the request handler.
  void latency() {
    constexpr std::array labels = {"p5", "median", "p95", "p99", "max"};
    Json chart = {{"kind", "lines"},
                  {"title", "Latency of a request handler, 4 ms of work, 100 requests a second"},
                  {"x_label", ""},
                  {"y_label", "ms"},
                  {"log_y", true},
                  {"labels", labels},
                  {"x", {0, 1, 2, 3, 4}}};
    Json series = Json::array();
    for (const auto& [metric, name] :
         {std::pair{"throttle.requests.latency", ""},
          {"throttle.requests+burst.latency", ", cpu.max.burst"},
          {"throttle.requests+rival.latency", ", beside a burner"},
          {"throttle.requests+weight.latency", ", beside one, cpu.weight 1000"},
          {"throttle.requests+idle.latency", ", beside one, cpu.idle"}})
      if (const Row* row = judgement_.find(metric))
        for (const char* side : sides)
          if (const auto& cell = side_of(*row, side))
            series.push_back({{"name", fmt::format("{}{}", side, name)},
                              {"side", side},
                              {"y", {cell->p5, cell->median, cell->p95, cell->p99, cell->max}}});
    chart["series"] = std::move(series);
    add(std::move(chart));
  }

  void memory_timelines() {
    for (const char* scenario :
         {"anon", "tmpfs", "pagecache", "kernel", "processes", "cow", "group", "high", "swap"}) {
      std::vector<std::pair<Json, std::vector<std::pair<double, double>>>> parts;
      Json marks = Json::array();
      for (const char* side : sides) {
        const Json* run = run_of("oom", scenario, side);
        if (run == nullptr) continue;
        const Json& timeline = object_in(*run, "timeline");
        auto points = points_of(array_in(timeline, "t_ms"), array_in(timeline, "memory.current"),
                                1.0 / 1048576);
        if (points.empty()) continue;
        parts.emplace_back(Json{{"name", side}, {"side", side}}, std::move(points));
        for (const char* file : {"memory.max", "memory.high"})
          if (const std::string text = text_in(object_in(*run, "limits"), file);
              !text.empty() && text != "max")
            marks.push_back({{"y", std::atof(text.c_str()) / 1048576}, {"label", file}});
      }
      Json chart = {{"kind", "lines"},
                    {"title", fmt::format("Memory over time: {}", scenario)},
                    {"x_label", "ms"},
                    {"y_label", "MiB"},
                    {"marks", std::move(marks)}};
      merge(chart, parts);
      add(std::move(chart));
    }
  }

  void peaks() { bars_of("Highest memory of the cgroup", "MiB", 1.0 / 1048576, "oom.", ".peak"); }

  /// Metrics that end with a size like "256k".
  void by_size(const char* title, std::string_view prefix, const char* unit, double scale) {
    std::vector<std::pair<Json, std::vector<std::pair<double, double>>>> parts;
    for (const char* side : sides) {
      std::vector<std::pair<double, double>> points;
      for (const Row& row : judgement_.rows) {
        if (!row.metric.starts_with(prefix) || !row.metric.ends_with('k') || !side_of(row, side))
          continue;
        const double kib = std::atof(row.metric.c_str() + prefix.size());
        if (kib > 0) points.emplace_back(kib, side_of(row, side)->median * scale);
      }
      if (!points.empty()) parts.emplace_back(Json{{"name", side}, {"side", side}}, points);
    }
    Json chart = {{"kind", "lines"}, {"title", title}, {"x_label", "KiB"},
                  {"y_label", unit}, {"log_x", true},  {"marks", caches()}};
    merge(chart, parts);
    add(std::move(chart));
  }

  Json caches() {
    Json marks = Json::array();
    for (const Json& run : file_["runs"]) {
      for (const Json& cache : array_in(object_in(object_in(run, "document"), "machine"), "caches"))
        if (const auto bytes = number_in(cache, "bytes"), level = number_in(cache, "level");
            bytes && level)
          marks.push_back({{"x", *bytes / 1024}, {"label", fmt::format("L{:.0f}", *level)}});
      if (!marks.empty()) break;
    }
    return marks;
  }

  void polling() {
    std::vector<std::pair<Json, std::vector<std::pair<double, double>>>> parts;
    for (const char* call : {"select", "poll", "epoll", "io_uring"}) {
      std::vector<std::pair<double, double>> points;
      const std::string prefix = fmt::format("textbook.polling.{}.", call);
      for (const Row& row : judgement_.rows)
        if (row.metric.starts_with(prefix) && row.host)
          points.emplace_back(std::atof(row.metric.c_str() + prefix.size()),
                              row.host->median / 1000);
      const char* side = call == std::string_view("select") || call == std::string_view("poll")
                             ? "container"
                             : "host";  // only a colour: those that grow, and those that do not
      if (!points.empty()) parts.emplace_back(Json{{"name", call}, {"side", side}}, points);
    }
    Json chart = {{"kind", "lines"},
                  {"title", "Finding one ready descriptor of many, host"},
                  {"x_label", "descriptors"},
                  {"y_label", "us"},
                  {"log_x", true},
                  {"log_y", true}};
    merge(chart, parts);
    add(std::move(chart));
  }

  const Json& file_;
  const Judgement& judgement_;
  Json charts_ = Json::array();
};

std::string range_text(const std::optional<Cell>& cell, const std::string& unit) {
  if (!cell) return "-";
  if (cell->n < 2) return "";
  return human(cell->p5, unit) + " to " + human(cell->p95, unit);
}

Json table_rows(const Judgement& judgement) {
  Json rows = Json::array();
  for (const Row& row : judgement.rows) {
    const auto ratio = row.ratio;
    const std::size_t n =
        std::max(row.host ? row.host->n : 0, row.container ? row.container->n : 0);
    rows.push_back({row.metric, row.host ? human(row.host->median, row.unit) : "-",
                    row.container ? human(row.container->median, row.unit) : "-",
                    ratio ? fmt::format("{:.2f}", *ratio) : "-", range_text(row.host, row.unit),
                    range_text(row.container, row.unit), fmt::format("{}", n), row.why});
  }
  return rows;
}

std::string about(const Json& file) {
  std::string text =
      fmt::format("minirun {}, {}, spec: {}{}", text_in(file, "minirun"), text_in(file, "time"),
                  text_in(file, "spec"), file.value("quick", false) ? ", --quick" : "");
  for (const Json& run : file["runs"]) {
    const Json& machine = object_in(object_in(run, "document"), "machine");
    if (machine.empty()) continue;
    return text + fmt::format("; kernel {}, {}, {:.0f} CPUs, clock {}", text_in(machine, "kernel"),
                              text_in(machine, "cpu_model"),
                              number_in(machine, "cpus_allowed").value_or(0),
                              text_in(machine, "clock"));
  }
  return text;
}

Json describe(const NamedRecording& recording) {
  const Judgement judgement = judge(recording.file);
  Json notes = Json::array();
  for (const Unsupported& entry : judgement.unsupported)
    notes.push_back(
        fmt::format("unsupported: {} ({}): {}", entry.metric, entry.side, entry.reason));
  for (const std::string& warning : judgement.warnings) notes.push_back("warning: " + warning);
  Json textbook = Json::array();
  for (const std::vector<std::string>& row : textbook_rows(judgement)) textbook.push_back(row);
  return {{"name", recording.name},
          {"about", about(recording.file)},
          {"charts", charts(recording.file, judgement)},
          {"textbook", std::move(textbook)},
          {"rows", table_rows(judgement)},
          {"notes", std::move(notes)}};
}

}  // namespace

Json charts(const Json& file, const Judgement& judgement) {
  return Charts(file, judgement).make();
}

std::string fill_page(std::string_view page, const Json& data) {
  constexpr std::string_view place = "@DATA@";
  // Strings with bytes that are no UTF-8 must not end the program: they are replaced.
  std::string text = data.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string safe;
  for (const char c : text) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  std::string result(page);
  if (const std::size_t at = result.find(place); at != std::string::npos)
    result.replace(at, place.size(), safe);
  return result;
}

Result<std::string> report_page(const std::vector<NamedRecording>& recordings) {
  const std::string_view page(
      minirun_probe_page_begin,
      static_cast<std::size_t>(minirun_probe_page_end - minirun_probe_page_begin));
  if (page.empty())
    return plain_error("--html",
                       "this minirun was built without the chart library: npm was missing "
                       "or could not install it (probe/html/bundle)");
  Json data = {{"files", Json::array()}};
  for (const NamedRecording& recording : recordings) data["files"].push_back(describe(recording));
  return fill_page(page, data);
}

}  // namespace minirun::probe
