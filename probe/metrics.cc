#include "probe/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace minirun::probe {

std::optional<double> number_in(const Json& object, const char* key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

const Json& object_in(const Json& object, const char* key) {
  static const Json empty = Json::object();
  if (!object.is_object()) return empty;
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : empty;
}

const Json& array_in(const Json& object, const char* key) {
  static const Json empty = Json::array();
  if (!object.is_object()) return empty;
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : empty;
}

std::string text_in(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

namespace {

/// Which of the containers that ran together it was. "weight" is of older recordings.
std::string part_of(const Json& run) {
  if (const auto weight = number_in(run, "weight")) return fmt::format("{:.0f}", *weight);
  return text_in(run, "part");
}

}  // namespace

std::string recorded_name(const Json& run, const std::string& metric) {
  const std::string probe = text_in(run, "probe"), scenario = text_in(run, "scenario");
  if (scenario == "all" || !metric.starts_with(probe + ".")) return metric;
  std::string rest = metric.substr(probe.size() + 1);
  std::string middle = scenario;
  if (const std::string part = part_of(run); !part.empty()) middle += "." + part;
  if (probe == "throttle" || probe == "oom" || probe == "net")
    if (const std::size_t dot = rest.find('.'); dot != std::string::npos)
      rest = rest.substr(dot + 1);
  return probe + "." + middle + "." + rest;
}

std::optional<Quota> quota_of(const Json& limits) {
  const std::string text = text_in(limits, "cpu.max");
  Quota quota{};
  if (std::sscanf(text.c_str(), "%lf %lf", &quota.quota_us, &quota.period_us) != 2 ||
      quota.period_us <= 0)
    return std::nullopt;
  return quota;
}

namespace {

/// -1: there is none ("max").
double first_number(const std::string& text) {
  double value = 0;
  return std::sscanf(text.c_str(), "%lf", &value) == 1 ? value : -1;
}

}  // namespace

std::optional<double> memory_max_of(const Json& limits) {
  const double value = first_number(text_in(limits, "memory.max"));
  if (value < 0) return std::nullopt;
  return value;
}

namespace {

std::optional<double> difference(const Json& run, const char* file, const char* key) {
  const auto after = number_in(object_in(object_in(run, "after"), file), key);
  if (!after) return std::nullopt;
  return *after - number_in(object_in(object_in(run, "before"), file), key).value_or(0);
}

/// The median of a metric of the run's document whose name ends with `suffix`.
std::optional<double> documented(const Json& run, std::string_view suffix) {
  const Json& document = object_in(run, "document");
  const auto results = document.find("results");
  if (results == document.end() || !results->is_array()) return std::nullopt;
  for (const Json& result : *results)
    if (text_in(result, "metric").ends_with(suffix)) return number_in(result, "median");
  return std::nullopt;
}

class Deriver {
 public:
  explicit Deriver(const Json& run) : run_(run) {
    prefix_ = text_in(run, "probe") + "." + text_in(run, "scenario") + ".";
    if (const std::string part = part_of(run); !part.empty()) prefix_ += part + ".";
  }

  void throttle() {
    const auto periods = difference(run_, "cpu.stat", "nr_periods");
    const auto throttled = difference(run_, "cpu.stat", "nr_throttled");
    const auto stalled = difference(run_, "cpu.stat", "throttled_usec");
    if (periods) add("periods", "1", "none", *periods);
    if (throttled) add("throttled_periods", "1", "lower", *throttled);
    if (periods && throttled && *periods > 0) add("ratio", "ratio", "lower", *throttled / *periods);
    background();
    const auto seconds = documented(run_, ".seconds"), threads = documented(run_, ".threads");
    if (!seconds || !threads || *seconds <= 0 || *threads < 1) return;
    const auto quota = quota_of(object_in(run_, "limits"));
    if (!quota || !stalled || !periods) return;
    const double expected = std::max(0.0, 1 - quota->quota_us / quota->period_us / *threads);
    add("expected_share", "ratio", "none", expected);
    // Of the periods in which it was throttled, so that the first and the last, which the program
    // has only in part, do not count. Counted by the program itself where it can see its cgroup:
    // without its own start and end.
    const double count = documented(run_, ".burn.throttled").value_or(throttled.value_or(0));
    const double usec = documented(run_, ".burn.throttled_usec").value_or(*stalled);
    const double share = count > 0 ? usec / (count * quota->period_us * *threads) : 0;
    add("throttled_share", "ratio", "lower", share);
    if (expected > 0) add("share_error", "ratio", "lower", std::abs(share / expected - 1));
  }

  /// What was ended with the others could not report: its share is what the kernel counted.
  void background() {
    const auto background = run_.find("background");
    if (background == run_.end() || !background->is_boolean() || !background->get<bool>()) return;
    const auto usec = difference(run_, "cpu.stat", "usage_usec"),
               seconds = number_in(run_, "seconds");
    if (usec && seconds && *seconds > 0)
      add("effective_cores", "cores", "higher", *usec / 1e6 / *seconds);
  }

  void oom() {
    const Json& after = object_in(run_, "after");
    const auto peak = number_in(after, "memory.peak");
    if (peak) add("peak", "bytes", "none", *peak);
    const auto kills = difference(run_, "memory.events", "oom_kill");
    if (kills) add("kills", "1", "none", *kills);
    if (const auto local = difference(run_, "memory.events.local", "oom_kill"))
      add("kills_local", "1", "none", *local);
    if (const auto above = kills_above()) add("kills_above", "1", "none", *above);
    if (const auto group = difference(run_, "memory.events", "oom_group_kill"))
      add("group_kills", "1", "none", *group);
    if (const auto hits = difference(run_, "memory.events", "max"))
      add("max_events", "1", "none", *hits);
    if (const auto high = difference(run_, "memory.events", "high"))
      add("high_events", "1", "none", *high);
    if (const auto psi = difference(run_, "memory.pressure", "full_usec")) {
      add("stalled", "s", "lower", *psi / 1e6);
      const double high = first_number(text_in(object_in(run_, "limits"), "memory.high"));
      const auto reached = documented(run_, ".reached");
      // What could be allocated only by waiting.
      if (high > 0 && reached && *reached > high)
        add("stall", "us/MiB", "lower", *psi / ((*reached - high) / 1048576));
    }
    if (const auto swapped = peak_of("memory.swap.current"))
      add("swapped", "bytes", "none", *swapped);
    const auto limit = memory_max_of(object_in(run_, "limits"));
    if (peak && limit && kills && *kills > 0) add("kill_error", "bytes", "none", *peak - *limit);
  }

  void net() {
    for (const auto& [direction, limit] :
         {std::pair{"upload", "network.egress"}, std::pair{"download", "network.ingress"}}) {
      const auto bits = number_in(object_in(run_, "limits"), limit);
      const auto rate = documented(run_, fmt::format(".{}_average", direction));
      if (!bits || !rate || *bits <= 0) continue;
      // The bucket counts frames: of 1514 bytes 1448 are payload (Ethernet 14, IPv4 20, TCP 20 and
      // its timestamps 12).
      add(fmt::format("{}_of_limit", direction).c_str(), "ratio", "none",
          *rate * 8 * 1514 / 1448 / *bits);
    }
  }

  std::vector<Derived> take() { return std::move(derived_); }

  /// Kills that belong to a limit of a level above the container's.
  [[nodiscard]] std::optional<double> kills_above() const {
    const Json &before = array_in(run_, "levels_before"), &after = array_in(run_, "levels");
    if (after.size() < 2 || before.size() != after.size()) return std::nullopt;
    double sum = 0;
    for (std::size_t i = 1; i < after.size(); ++i) {
      const auto last = number_in(object_in(after[i], "local"), "oom_kill");
      const auto first = number_in(object_in(before[i], "local"), "oom_kill");
      if (last && first) sum += *last - *first;
    }
    return sum;
  }

  [[nodiscard]] std::optional<double> peak_of(const char* file) const {
    std::optional<double> peak;
    for (const Json& value : array_in(object_in(run_, "timeline"), file))
      if (value.is_number()) peak = std::max(peak.value_or(0), value.get<double>());
    return peak;
  }

 private:
  void add(const char* name, const char* unit, const char* better, double value) {
    derived_.push_back({prefix_ + name, unit, better, value});
  }
  const Json& run_;
  std::string prefix_;
  std::vector<Derived> derived_;
};

}  // namespace

std::vector<Derived> derive(const Json& run) {
  Deriver deriver(run);
  const std::string probe = text_in(run, "probe");
  if (probe == "throttle") deriver.throttle();
  if (probe == "oom") deriver.oom();
  if (probe == "net") deriver.net();
  return deriver.take();
}

namespace {

std::string explain_throttle(const Row& row, const Json& limits, double threads) {
  const auto quota = quota_of(limits);
  if (row.scenario == "idle")
    return "cpu.idle 1 beside weight 100 on one CPU: what the other leaves";
  if (row.scenario == "weights") return "cpu.weight: shares of one CPU, here 100 to 300";
  if (row.scenario == "requests+rival") return "beside a burner of the same weight on its CPU";
  if (row.scenario == "requests+weight") return "cpu.weight 1000 beside a burner of 100";
  if (row.scenario == "requests+idle") return "cpu.idle 1 beside a burner of weight 100";
  if (!quota) return "no cpu.max in force";
  const double cores = quota->quota_us / quota->period_us, period_ms = quota->period_us / 1000;
  const std::string limit = text_in(limits, "cpu.max");
  if (row.metric.ends_with(".effective_cores"))
    return fmt::format("cpu.max {}: {:g} ms of CPU time in every {:g} ms = {:.2f} cores", limit,
                       quota->quota_us / 1000, period_ms, cores);
  if (row.metric.ends_with(".ratio"))
    return "periods that ended throttled, of all (nr_throttled / nr_periods)";
  if (row.metric.ends_with("share"))
    return fmt::format("1 - quota / period / threads = {:.3f}", std::max(0.0, 1 - cores / threads));
  if (row.metric.ends_with(".gap") || row.metric.ends_with(".gap.p99"))
    return fmt::format("the quota is used up, the next period begins: {:g} ms",
                       std::max(0.0, period_ms - quota->quota_us / 1000 / threads));
  if (row.scenario.ends_with("+burst"))
    return fmt::format("cpu.max.burst {}: unused quota of earlier periods is kept for a burst",
                       text_in(limits, "cpu.max.burst"));
  if (row.metric.find(".latency") != std::string::npos)
    return fmt::format("what meets the end of the quota waits for the next period of {:g} ms",
                       period_ms);
  return {};
}

std::string explain_oom(const Row& row, const Json& limits) {
  const auto limit = memory_max_of(limits);
  if (row.scenario == "high" && row.metric.ends_with(".pace"))
    return fmt::format("memory.high {}: above it each allocation waits for reclaim",
                       text_in(limits, "memory.high"));
  const bool killed = row.metric.ends_with(".killed") || row.metric.ends_with(".kills");
  if (row.scenario == "high" && row.metric.ends_with(".stall"))
    return "PSI, all tasks stalled, for each MiB above memory.high";
  if (!limit) return killed ? "no memory.max in force" : "";
  if (row.scenario == "high") return {};
  if (row.scenario == "swap" && (killed || row.metric.ends_with(".swapped")))
    return "memory.swap.max takes what memory.max does not hold: slower, and nobody is killed";
  if (killed && row.scenario != "pagecache" && row.container->median == 0)
    return "the limit was not reached: see the warnings";
  if (row.scenario == "pagecache" && (killed || row.metric.ends_with(".peak")))
    return "page cache can be dropped: the limit makes it small, nobody is killed for it";
  if (row.scenario == "group" && killed)
    return "memory.oom.group 1: all processes of the container at once";
  if (row.metric.ends_with(".peak") || killed)
    return fmt::format("memory.max {:.0f}: nothing more to reclaim, the kernel kills", *limit);
  if (row.metric.ends_with(".reached"))
    return "less than the limit: page tables, the parent and the kernel's share are charged too";
  return {};
}

std::string explain_net(const Row& row) {
  if (row.scenario == "bridge")
    return "to the host: a veth pair and a bridge are two more devices on the way";
  if (row.scenario != "bandwidth") return {};
  if (row.metric.ends_with("_of_limit"))
    return "frames on the wire (payload * 1514 / 1448) by limit";
  if (row.metric.ends_with(".latency")) return "nothing queues behind single bytes";
  return "a token bucket of 20 Mbit/s: 2.39 MB/s are payload";
}

std::string explain_call(const Row& row) {
  const auto ratio = row.ratio;
  if (!ratio || *ratio < 1.1) return {};
  if (row.metric == "textbook.files.lookup")
    return "each name is looked up in the layers of the overlay, and the seccomp filter";
  return "the seccomp filter is run at each system call";
}

std::string explain_switch(const Row& row, const Json& limits) {
  const auto ratio = row.ratio;
  if (!ratio || row.unit != "ns") return {};
  if (quota_of(limits) && row.container && row.host && row.container->p99 > 5 * row.host->p99)
    return fmt::format("cpu.max {}: batches that meet the end of the quota wait",
                       text_in(limits, "cpu.max"));
  if (*ratio > 0.9 && *ratio < 1.1)
    return "no difference: namespaces and cgroups are not on this path";
  if (row.host->p5 <= row.container->p95 && row.container->p5 <= row.host->p95)
    return "within the spread of both (p5 to p95)";
  if (*ratio > 1 && row.metric.find(".workingset.") == std::string::npos)
    return "the seccomp filter and cgroup accounting run at each call and switch";
  return "another state of the caches, or of the machine, at the time";
}

}  // namespace

std::string explain(const Row& row, const Json& limits, double threads) {
  if (!row.container) return {};
  if (row.probe == "throttle") return explain_throttle(row, limits, std::max(1.0, threads));
  if (row.probe == "oom") return explain_oom(row, limits);
  if (row.probe == "ctxswitch") return explain_switch(row, limits);
  if (row.probe == "net") return explain_net(row);
  if (row.metric.starts_with("textbook.calls.") || row.metric == "textbook.files.lookup")
    return explain_call(row);
  return {};
}

}  // namespace minirun::probe
