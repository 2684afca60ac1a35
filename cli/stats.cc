// Owns: `minirun stats` and `minirun top`.
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/containers.h"
#include "cli/or_null.h"
#include "runtime/live.h"
#include "runtime/report.h"
#include "spec/duration.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

std::string json_line(const LiveUsage& usage) {
  const json line = {
      {"time", timestamp()},
      {"id", usage.id},
      {"seconds", usage.seconds},
      {"cpu",
       {{"cores", usage.cpus},
        {"limitCores", or_null(usage.cpus_allowed)},
        {"throttledPeriods", usage.throttled_share},
        {"throttledSecondsPerSecond", usage.throttled_seconds}}},
      {"memory",
       {{"bytes", or_null(usage.memory)},
        {"workingSetBytes", or_null(usage.working_set)},
        {"limitBytes", or_null(usage.memory_max)},
        {"oomKills", usage.oom_kills}}},
      {"pressure",
       {{"cpu", or_null(usage.cpu_pressure)},
        {"memory", or_null(usage.memory_pressure)},
        {"io", or_null(usage.io_pressure)}}},
      {"pids", {{"current", or_null(usage.pids)}, {"limit", or_null(usage.pids_max)}}},
      {"io",
       {{"readBytesPerSecond", usage.read_bytes}, {"writtenBytesPerSecond", usage.written_bytes}}}};
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

/// "12.3M": at most five characters and no blank, for columns.
std::string short_bytes(double bytes) {
  constexpr std::string_view units = "BKMGT";
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 || bytes >= 99.95 ? fmt::format("{:.0f}{}", bytes, units[unit])
                                     : fmt::format("{:.1f}{}", bytes, units[unit]);
}
std::string short_bytes(const std::optional<std::uint64_t>& bytes, const char* absent) {
  return bytes ? short_bytes(static_cast<double>(*bytes)) : absent;
}
std::string percent(const std::optional<double>& share) {
  return share ? fmt::format("{:.0f}%", *share * 100) : "-";
}

/// One column; on a narrow terminal those with the highest `rank` go first.
struct Column {
  const char* title;
  std::size_t width;
  int rank;
  std::string (*cell)(const LiveUsage&);
  bool (*bad)(const LiveUsage&);
};

bool never(const LiveUsage&) {
  return false;
}
bool nearly_full(const LiveUsage& usage) {
  return usage.working_set && usage.memory_max && *usage.working_set / 9 * 10 >= *usage.memory_max;
}

constexpr auto columns = std::to_array<Column>({
    {"CPU/LIMIT", 11, 0,
     [](const LiveUsage& u) {
       return fmt::format("{:.2f}/{}", u.cpus,
                          u.cpus_allowed ? fmt::format("{:.4g}", *u.cpus_allowed) : "-");
     },
     never},
    {"THR", 5, 0, [](const LiveUsage& u) { return percent(u.throttled_share); },
     [](const LiveUsage& u) { return u.throttled_share > 0.05; }},
    {"STALL/s", 7, 1,
     [](const LiveUsage& u) { return fmt::format("{:.0f}ms", u.throttled_seconds * 1000); }, never},
    {"MEM/LIMIT", 13, 0,
     [](const LiveUsage& u) {
       return fmt::format("{}/{}", short_bytes(u.memory, "-"), short_bytes(u.memory_max, "-"));
     },
     nearly_full},
    {"WSET", 6, 0, [](const LiveUsage& u) { return short_bytes(u.working_set, "-"); }, never},
    {"PSI cpu mem io", 15, 2,
     [](const LiveUsage& u) {
       return fmt::format("{:>4} {:>4} {:>4}", percent(u.cpu_pressure), percent(u.memory_pressure),
                          percent(u.io_pressure));
     },
     never},
    {"PIDS/MAX", 9, 1,
     [](const LiveUsage& u) {
       return fmt::format("{}/{}", u.pids ? std::to_string(*u.pids) : "-",
                          u.pids_max ? std::to_string(*u.pids_max) : "-");
     },
     never},
    {"IO r/w per s", 13, 3,
     [](const LiveUsage& u) {
       return fmt::format("{}/{}", short_bytes(u.read_bytes), short_bytes(u.written_bytes));
     },
     never},
    {"OOM", 4, 0,
     [](const LiveUsage& u) { return u.oom_kills > 0 ? std::to_string(u.oom_kills) : "-"; },
     [](const LiveUsage& u) { return u.oom_kills > 0; }},
});

/// `width` columns of a terminal; 0: all, for who is no terminal.
class Table {
 public:
  Table(bool color, std::size_t width) : color_(color) {
    if (width == 0) return;
    id_ = 17;    // so that 80 columns have all but pressure and I/O
    width -= 1;  // a line that ends in the last column would lose its last character
    while (used() > width && rank_ > 0) --rank_;
    // A wide terminal shows long ids in full.
    if (width > used()) id_ = std::min<std::size_t>(id_ + width - used(), 40);
  }

  [[nodiscard]] std::string header() const {
    std::string text = fmt::format("{:<{}}", "CONTAINER", id_);
    for (const Column& column : columns)
      if (column.rank <= rank_) text += fmt::format(" {:>{}}", column.title, column.width);
    return text;
  }
  [[nodiscard]] std::string row(const LiveUsage& usage) const {
    std::string id = usage.id;
    // The end tells the containers of a pod apart.
    if (id.size() > id_) id = id.substr(0, 5) + ".." + id.substr(id.size() - (id_ - 7));
    std::string text = fmt::format("{:<{}}", id, id_);
    for (const Column& column : columns) {
      if (column.rank > rank_) continue;
      const std::string cell = fmt::format(" {:>{}}", column.cell(usage), column.width);
      text += color_ && column.bad(usage) ? "\x1b[1;31m" + cell + "\x1b[0m" : cell;
    }
    return text;
  }

 private:
  [[nodiscard]] std::size_t used() const {
    std::size_t sum = id_;
    for (const Column& column : columns)
      if (column.rank <= rank_) sum += 1 + column.width;
    return sum;
  }
  bool color_;
  int rank_ = 3;
  std::size_t id_ = 20;
};

class Stats : public Command {
 public:
  explicit Stats(bool top) : top_(top) {}

  void declare(App app) override {
    app.add_option("ID", ids_, "containers (default: all that run)");
    app.add_option("-f,--format", format_, "table or json: one line per container and reading")
        .one_of({"table", "json"});
    app.add_option("-i,--interval", interval_text_, "between two readings (default 1s)");
    if (!top_) app.add_flag("-w,--watch", watch_, "go on until interrupted");
    app.add_option("-n,--count", count_, "end after so many readings").range(1, 1 << 30);
  }

  int run(const GlobalOptions& options, Output& output) override {
    const auto interval = parse_duration(interval_text_);
    if (!interval || *interval < std::chrono::milliseconds(10)) {
      output.error(
          fmt::format("--interval: \"{}\" is not a duration of 10ms or more", interval_text_));
      return 1;
    }
    interval_ = std::chrono::ceil<std::chrono::milliseconds>(*interval);
    if (!top_ && !watch_ && count_ == 0) count_ = 1;
    Result<Ground> ground = prepare(options);
    if (!ground && ground.error().errnum == ENOENT && ids_.empty())
      return print(format_ == "table" ? Table(false, 0).header() + "\n" : "") ? 0 : 1;
    if (!ground) return report(std::unexpected(ground.error()), output);
    return loop(*ground, output);
  }

 private:
  using Readings = std::map<std::string, LiveReading>;

  Result<Readings> read(const Ground& ground) const {
    Readings readings;
    for (const ContainerView& view : TRY(list_containers(ground.root, ground.facts))) {
      const bool named = std::find(ids_.begin(), ids_.end(), view.id) != ids_.end();
      if (!ids_.empty() && !named) continue;
      if (view.status != ContainerStatus::running && view.status != ContainerStatus::paused &&
          view.status != ContainerStatus::created)
        continue;
      // One that ends between the list and the reading is not an error.
      if (auto reading = read_live(ground.facts, view.id, view.cgroup_path()))
        readings.emplace(view.id, std::move(*reading));
    }
    return readings;
  }

  int loop(const Ground& ground, Output& output) {
    Result<Readings> before = read(ground);
    if (!before) return report(std::unexpected(before.error()), output);
    for (const std::string& id : ids_)
      if (!before->contains(id)) {
        output.error(id + ": no such container runs");
        return 1;
      }
    const bool screen = top_ && format_ == "table" && ::isatty(STDOUT_FILENO) == 1;
    for (unsigned done = 0; count_ == 0 || done < count_; ++done) {
      // A closed output ends us, not only the next write.
      pollfd closed{STDOUT_FILENO, 0, 0};
      (void)::poll(&closed, 1, static_cast<int>(interval_.count()));
      if ((closed.revents & POLLERR) != 0) return 0;
      Result<Readings> after = read(ground);
      if (!after) return report(std::unexpected(after.error()), output);
      if (!show(*before, *after, screen, done)) return 1;
      before = std::move(after);
    }
    return 0;
  }

  bool show(const Readings& before, const Readings& after, bool screen, unsigned number) const {
    std::vector<LiveUsage> rows;
    for (const auto& [id, reading] : after)
      if (const auto earlier = before.find(id); earlier != before.end())
        rows.push_back(usage_between(earlier->second, reading));
    if (top_) std::ranges::stable_sort(rows, std::ranges::greater{}, &LiveUsage::cpus);
    std::string text;
    if (format_ == "json") {
      for (const LiveUsage& usage : rows) text += json_line(usage);
      return print(text);
    }
    winsize size{};
    const bool terminal =
        ::isatty(STDOUT_FILENO) == 1 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    const Table table(terminal, terminal ? size.ws_col : 0);
    if (screen) return print(frame(table, rows, size.ws_row));
    if (number % 20 == 0) text += table.header() + "\n";
    for (const LiveUsage& usage : rows) text += table.row(usage) + "\n";
    return print(text);
  }

  /// A whole screen: each line is written over the old one, so that nothing flickers.
  static std::string frame(const Table& table, const std::vector<LiveUsage>& rows,
                           std::size_t height) {
    constexpr std::size_t around = 4;  // title, blank, header, and the line of the cursor
    std::size_t room = height > around + 1 ? height - around : rows.size();
    if (rows.size() > room) --room;  // for the line that says so
    std::string text = fmt::format("\x1b[Hminirun top   {}   {} running\x1b[K\n\x1b[K\n",
                                   timestamp(), rows.size());
    text += table.header() + "\x1b[K\n";
    for (std::size_t i = 0; i < rows.size() && i < room; ++i)
      text += table.row(rows[i]) + "\x1b[K\n";
    if (rows.size() > room)
      text += fmt::format("... and {} more that use less CPU\x1b[K\n", rows.size() - room);
    return text + "\x1b[J";
  }

  bool top_;
  std::vector<std::string> ids_;
  std::string format_ = "table", interval_text_ = "1s";
  std::chrono::milliseconds interval_{1000};
  bool watch_ = false;
  unsigned count_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_stats() {
  return std::make_unique<Stats>(false);
}
std::unique_ptr<Command> make_top() {
  return std::make_unique<Stats>(true);
}

}  // namespace minirun::cli
