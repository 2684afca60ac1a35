// Owns: what `events` tells about a live container: its statistics as JSON, and the watch for kills
// by memory.
// Must not: print.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/stats.h"
#include "runtime/container.h"

namespace minirun {

/// {"type":"stats","id":ID,"data":{...}}: the keys of runc's events, times in nanoseconds, and as
/// further keys what those lack (memory events and peak, refused forks, bursts, pressure, context
/// switches). One line without its end.
[[nodiscard]] std::string stats_event(const std::string& id, const CgroupStats& stats,
                                      const DetailedStats& details);

/// {"type":"oom","id":ID}
[[nodiscard]] std::string oom_event(const std::string& id);

/// Both readings of a live container. Errors: "container not running"; it has no cgroup.
[[nodiscard]] Result<std::string> read_stats_event(const ContainerView& view,
                                                   const HostFacts& facts);

/// Calls `emit` with a line every `interval` and for each process that the kernel killed because a
/// memory limit was reached, once per process: the counter of memory.events is compared, since the
/// file also changes for other reasons. Returns when the container's first process has ended, or
/// when `emit` returns false. Kills before the call are not told.
[[nodiscard]] Status watch_events(const ContainerView& view, std::chrono::milliseconds interval,
                                  const HostFacts& facts,
                                  const std::function<bool(const std::string&)>& emit);

}  // namespace minirun
