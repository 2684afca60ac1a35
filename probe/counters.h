// Owns: the counters and limits of a cgroup as JSON, in the kernel's own names.
// Must not: compute anything from them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/fd.h"
#include "base/host_facts.h"

namespace minirun::probe {

/// cpu.stat, memory.events(.local), memory.peak, pressure ...: members are named by the file, flat
/// files are objects of numbers. What the cgroup does not have is left out.
[[nodiscard]] nlohmann::ordered_json read_counters(const CgroupFd& cgroup);

/// The limits in force: cpu.max, cpu.weight, memory.max ..., as the kernel prints them.
[[nodiscard]] nlohmann::ordered_json read_limits(const CgroupFd& cgroup);

/// memory.events and memory.events.local of the cgroup and of each level above it.
[[nodiscard]] nlohmann::ordered_json read_level_events(const CgroupFacts& facts,
                                                       const std::string& path);

/// One number of a file ("memory.current"), or of a key in it; -1 when it is not there.
[[nodiscard]] double read_number(const CgroupFd& cgroup, const char* file, const char* key);

}  // namespace minirun::probe
