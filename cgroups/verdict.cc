// Owns: which limit was hit, and at which level. What the kernel counts where (mm/memcontrol.c):
// `oom` and `max` belong to the cgroup whose limit it is, `oom_kill` to the victim's; the files
// without ".local" add up what is below. Must not: read files.
#include <fmt/format.h>

#include <algorithm>

#include "cgroups/stats.h"

namespace minirun {
namespace {

// What `keys` gained since `before`.
std::uint64_t gained(const FlatKeys& before, const FlatKeys& after, std::string_view key) {
  const std::uint64_t old = count_of(before, key), now = count_of(after, key);
  return now > old ? now - old : 0;
}

const LevelCounters& before_of(const std::vector<LevelCounters>& before, const std::string& path) {
  static const LevelCounters kNothing;
  const auto it = std::find_if(before.begin(), before.end(),
                               [&](const LevelCounters& level) { return level.path == path; });
  return it == before.end() ? kNothing : *it;
}

bool ran_out(const LevelCounters& before, const LevelCounters& after) {
  return gained(before.memory_events_local, after.memory_events_local, "oom") > 0;
}

void judge_oom(LimitVerdict& verdict, const std::vector<LevelCounters>& before,
               const std::vector<LevelCounters>& after) {
  const LevelCounters& own = after.front();
  const LevelCounters& own_before = before_of(before, own.path);
  if (verdict.oom_kills == 0) return;
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (!ran_out(before_of(before, after[i].path), after[i])) continue;
    verdict.oom = i == 0 ? OomCause::own_limit : OomCause::ancestor;
    verdict.oom_path = after[i].path;
    verdict.oom_limit_bytes = after[i].memory_max;
    return;
  }
  const bool below = gained(own_before.memory_events, own.memory_events, "oom") > 0;
  verdict.oom = below ? OomCause::below : OomCause::host;
}

void judge_pids(LimitVerdict& verdict, const std::vector<LevelCounters>& before,
                const std::vector<LevelCounters>& after) {
  // Since Linux 6.11 pids.events.local counts where the limit is. Before that, pids.events counts
  // where the fork was, whoever's limit it hit.
  for (const LevelCounters& level : after) {
    const std::uint64_t hits =
        gained(before_of(before, level.path).pids_events, level.pids_events, "max");
    if (hits == 0) continue;
    verdict.pids_hits = hits;
    if (level.pids_local) verdict.pids_path = level.path;
    break;
  }
  if (verdict.pids_hits == 0 || !verdict.pids_path.empty()) return;
  // With a single pids.max on the way there is no doubt.
  const auto limited = [](const LevelCounters& level) { return level.pids_max.has_value(); };
  if (std::count_if(after.begin(), after.end(), limited) == 1)
    verdict.pids_path = std::find_if(after.begin(), after.end(), limited)->path;
}

}  // namespace

LimitVerdict judge_limits(const std::vector<LevelCounters>& before,
                          const std::vector<LevelCounters>& after) {
  LimitVerdict verdict;
  if (after.empty()) return verdict;
  const LevelCounters& own = after.front();
  const LevelCounters& own_before = before_of(before, own.path);
  verdict.oom_kills = gained(own_before.memory_events, own.memory_events, "oom_kill");
  verdict.group_kill = gained(own_before.memory_events, own.memory_events, "oom_group_kill") > 0;
  verdict.memory_max_hits = gained(own_before.memory_events_local, own.memory_events_local, "max");
  judge_oom(verdict, before, after);
  judge_pids(verdict, before, after);
  return verdict;
}

std::string describe(const LimitVerdict& verdict) {
  std::string text;
  if (verdict.oom != OomCause::none) {
    text = fmt::format("killed {} process{}{}: out of memory ", verdict.oom_kills,
                       verdict.oom_kills == 1 ? "" : "es",
                       verdict.group_kill ? " as a group (memory.oom.group)" : "");
    switch (verdict.oom) {
      case OomCause::none:
        break;
      case OomCause::own_limit:
      case OomCause::ancestor:
        text += fmt::format("at memory.max of {}{}", verdict.oom_path,
                            verdict.oom == OomCause::ancestor ? ", above the container" : "");
        if (verdict.oom_limit_bytes) text += fmt::format(", {} bytes", *verdict.oom_limit_bytes);
        break;
      case OomCause::below:
        text += "at a memory.max that the container set itself";
        break;
      case OomCause::host:
        text += "on the host, at no limit of the container";
        break;
    }
  }
  if (verdict.pids_hits > 0) {
    if (!text.empty()) text += "; ";
    text += fmt::format("{} fork{} refused at pids.max", verdict.pids_hits,
                        verdict.pids_hits == 1 ? "" : "s");
    if (!verdict.pids_path.empty()) text += " of " + verdict.pids_path;
  }
  return text;
}

}  // namespace minirun
