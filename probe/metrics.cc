#include "probe/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

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

std::string text_in(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string recorded_name(const Json& run, const std::string& metric) {
  const std::string probe = text_in(run, "probe"), scenario = text_in(run, "scenario");
  if (scenario == "all" || !metric.starts_with(probe + ".")) return metric;
  std::string rest = metric.substr(probe.size() + 1);
  std::string middle = scenario;
  if (const auto weight = number_in(run, "weight")) middle += fmt::format(".{:.0f}", *weight);
  if (probe == "throttle" || probe == "oom")
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

std::optional<double> memory_max_of(const Json& limits) {
  const std::string text = text_in(limits, "memory.max");
  double value = 0;
  if (std::sscanf(text.c_str(), "%lf", &value) != 1) return std::nullopt;
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
    if (const auto weight = number_in(run, "weight")) prefix_ += fmt::format("{:.0f}.", *weight);
  }

  void throttle() {
    const auto periods = difference(run_, "cpu.stat", "nr_periods");
    const auto throttled = difference(run_, "cpu.stat", "nr_throttled");
    const auto stalled = difference(run_, "cpu.stat", "throttled_usec");
    if (periods) add("periods", "1", "none", *periods);
    if (throttled) add("throttled_periods", "1", "lower", *throttled);
    if (periods && throttled && *periods > 0) add("ratio", "ratio", "lower", *throttled / *periods);
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

  void oom() {
    const Json& after = object_in(run_, "after");
    const auto peak = number_in(after, "memory.peak");
    if (peak) add("peak", "bytes", "none", *peak);
    const auto kills = difference(run_, "memory.events", "oom_kill");
    if (kills) add("kills", "1", "none", *kills);
    if (const auto local = difference(run_, "memory.events.local", "oom_kill"))
      add("kills_local", "1", "none", *local);
    if (const auto group = difference(run_, "memory.events", "oom_group_kill"))
      add("group_kills", "1", "none", *group);
    if (const auto hits = difference(run_, "memory.events", "max"))
      add("max_events", "1", "none", *hits);
    if (const auto high = difference(run_, "memory.events", "high"))
      add("high_events", "1", "none", *high);
    if (const auto psi = difference(run_, "memory.pressure", "full_usec"))
      add("stalled", "s", "lower", *psi / 1e6);
    const auto limit = memory_max_of(object_in(run_, "limits"));
    if (peak && limit && kills && *kills > 0) add("kill_error", "bytes", "none", *peak - *limit);
  }

  std::vector<Derived> take() { return std::move(derived_); }

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
  return deriver.take();
}

namespace {

std::string explain_throttle(const Row& row, const Json& limits, double threads) {
  const auto quota = quota_of(limits);
  if (row.scenario == "idle") return "cpu.idle 1: runs when nobody else wants the CPU";
  if (row.scenario == "weights") return "cpu.weight: shares of one CPU, here 100 to 300";
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
  if (row.scenario == "bursts+burst")
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
  if (!limit) return killed ? "no memory.max in force" : "";
  if (row.scenario == "high") return {};
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

std::string explain_call(const Row& row) {
  const auto ratio = row.ratio();
  if (!ratio || *ratio < 1.1) return {};
  if (row.metric == "textbook.files.lookup")
    return "each name is looked up in the layers of the overlay, and the seccomp filter";
  return "the seccomp filter is run at each system call";
}

std::string explain_switch(const Row& row, const Json& limits) {
  const auto ratio = row.ratio();
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
  if (row.metric.starts_with("textbook.calls.") || row.metric == "textbook.files.lookup")
    return explain_call(row);
  return {};
}

}  // namespace minirun::probe
