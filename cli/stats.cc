// Owns: `minirun stats` and `minirun top`.
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "cli/command.h"
#include "cli/containers.h"
#include "runtime/live.h"
#include "runtime/report.h"
#include "spec/duration.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

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

class Table {
 public:
  explicit Table(bool color) : color_(color) {}

  static std::string header() {
    return fmt::format("{:<20} {:>11} {:>5} {:>7} {:>13} {:>6} {:>15} {:>9} {:>13}\n", "CONTAINER",
                       "CPU/LIMIT", "THR", "STALL/s", "MEM/LIMIT", "WSET", "PSI cpu mem io",
                       "PIDS/MAX", "IO r/w per s");
  }
  [[nodiscard]] std::string row(const LiveUsage& usage) const {
    const std::string cpu =
        fmt::format("{:.2f}/{}", usage.cpus,
                    usage.cpus_allowed ? fmt::format("{:.4g}", *usage.cpus_allowed) : "-");
    const std::string memory =
        fmt::format("{}/{}", short_bytes(usage.memory, "-"), short_bytes(usage.memory_max, "-"));
    const std::string pressure =
        fmt::format("{:>4} {:>4} {:>4}", percent(usage.cpu_pressure),
                    percent(usage.memory_pressure), percent(usage.io_pressure));
    const std::string pids = fmt::format("{}/{}", usage.pids ? std::to_string(*usage.pids) : "-",
                                         usage.pids_max ? std::to_string(*usage.pids_max) : "-");
    const std::string io =
        fmt::format("{}/{}", short_bytes(usage.read_bytes), short_bytes(usage.written_bytes));
    std::string id = usage.id;
    if (id.size() > 20) id = id.substr(0, 17) + "...";
    return fmt::format(
        "{:<20} {:>11} {} {:>7} {} {:>6} {:>15} {:>9} {:>13}{}\n", id, cpu,
        mark(fmt::format("{:>5}", percent(usage.throttled_share)), usage.throttled_share > 0.05),
        fmt::format("{:.0f}ms", usage.throttled_seconds * 1000),
        mark(fmt::format("{:>13}", memory), nearly_full(usage)),
        short_bytes(usage.working_set, "-"), pressure, pids, io,
        usage.oom_kills > 0 ? mark(fmt::format(" OOM {}", usage.oom_kills), true) : "");
  }

 private:
  static bool nearly_full(const LiveUsage& usage) {
    return usage.working_set && usage.memory_max &&
           *usage.working_set / 9 * 10 >= *usage.memory_max;
  }
  [[nodiscard]] std::string mark(const std::string& words, bool bad) const {
    return color_ && bad ? "\x1b[1;31m" + words + "\x1b[0m" : words;
  }
  bool color_;
};

class Stats : public Command {
 public:
  explicit Stats(bool top) : top_(top) {}

  void declare(CLI::App& app) override {
    app.add_option("ID", ids_, "containers (default: all that run)");
    app.add_option("-f,--format", format_, "table or json: one line per container and reading")
        ->check(CLI::IsMember({"table", "json"}));
    app.add_option("-i,--interval", interval_text_, "between two readings (default 1s)");
    if (!top_) app.add_flag("-w,--watch", watch_, "go on until interrupted");
    app.add_option("-n,--count", count_, "end after so many readings")
        ->check(CLI::Range(1, 1 << 30));
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
      return print(format_ == "table" ? Table::header() : "") ? 0 : 1;
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
    std::string text = screen ? "\x1b[H\x1b[2J" : "";
    if (format_ == "json") {
      for (const LiveUsage& usage : rows) text += json_line(usage);
      return print(text);
    }
    const Table table(::isatty(STDOUT_FILENO) == 1);
    if (screen) text += fmt::format("minirun top   {}   {} running\n\n", timestamp(), rows.size());
    if (screen || number % 20 == 0) text += Table::header();
    std::size_t room = rows.size();
    if (winsize size{}; screen && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 5)
      room = size.ws_row - 5U;
    for (std::size_t i = 0; i < rows.size() && i < room; ++i) text += table.row(rows[i]);
    return print(text);
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
