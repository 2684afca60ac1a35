#include "runtime/live.h"

#include <algorithm>

#include "base/text.h"
#include "cgroups/control.h"
#include "cgroups/files.h"
#include "runtime/explain.h"

namespace minirun {
namespace {

template <class T>
void least(std::optional<T>& target, const std::optional<T>& value) {
  if (value && (!target || *value < *target)) target = value;
}

/// A counter only grows; a smaller one is of another cgroup with the same name.
std::uint64_t grown(std::uint64_t before, std::uint64_t after) {
  return after >= before ? after - before : after;
}

std::optional<double> pressure_share(const std::optional<Pressure>& before,
                                     const std::optional<Pressure>& after, double seconds) {
  if (!before || !after || seconds <= 0) return std::nullopt;
  const auto micros = static_cast<double>(grown(before->some_usec, after->some_usec));
  return std::min(1.0, micros / 1e6 / seconds);
}

}  // namespace

Result<LiveReading> read_live(const HostFacts& facts, const std::string& id,
                              const std::string& cgroup_path) {
  LiveReading reading;
  reading.id = id;
  std::string path = cgroup_path;
  while (path.size() > 1) {
    const CgroupFd cgroup = TRY(open_cgroup(facts.cgroup, path));
    if (path == cgroup_path) {
      reading.stats = TRY(read_stats(cgroup));
      reading.at = std::chrono::steady_clock::now();
    }
    const auto limit = [&cgroup](const char* file) -> std::optional<std::uint64_t> {
      const auto text = read_beneath(cgroup.get(), file);
      return text ? parse_limit(trimmed(*text)) : std::nullopt;
    };
    if (const auto text = read_beneath(cgroup.get(), "cpu.max"))
      least(reading.cpus_allowed, parse_cpu_max(*text));
    least(reading.memory_max, limit("memory.max"));
    least(reading.pids_max, limit("pids.max"));
    path.resize(path.rfind('/'));
  }
  return reading;
}

LiveUsage usage_between(const LiveReading& before, const LiveReading& after) {
  LiveUsage usage;
  usage.id = after.id;
  usage.seconds = std::chrono::duration<double>(after.at - before.at).count();
  usage.cpus_allowed = after.cpus_allowed;
  const double seconds = std::max(usage.seconds, 1e-6);
  const CpuStats &cpu0 = before.stats.cpu, &cpu1 = after.stats.cpu;
  usage.cpus = static_cast<double>(grown(cpu0.usage_usec, cpu1.usage_usec)) / 1e6 / seconds;
  const auto periods = grown(cpu0.nr_periods.value_or(0), cpu1.nr_periods.value_or(0));
  const auto throttled = grown(cpu0.nr_throttled.value_or(0), cpu1.nr_throttled.value_or(0));
  // A timer that just fired may count the throttling before its period.
  if (periods > 0)
    usage.throttled_share =
        std::min(1.0, static_cast<double>(throttled) / static_cast<double>(periods));
  usage.throttled_seconds =
      static_cast<double>(grown(cpu0.throttled_usec.value_or(0), cpu1.throttled_usec.value_or(0))) /
      1e6 / seconds;
  if (const auto& memory = after.stats.memory) {
    usage.memory = memory->current;
    const auto inactive = memory->stat.find("inactive_file");
    const std::uint64_t cold = inactive == memory->stat.end() ? 0 : inactive->second;
    // What the kubelet evicts by: usage less the file pages that nobody used lately.
    usage.working_set = memory->current > cold ? memory->current - cold : 0;
    usage.memory_max = after.memory_max;
    const auto kills = memory->events.find("oom_kill");
    usage.oom_kills = kills == memory->events.end() ? 0 : kills->second;
  }
  usage.cpu_pressure = pressure_share(before.stats.cpu_pressure, after.stats.cpu_pressure, seconds);
  usage.memory_pressure =
      pressure_share(before.stats.memory_pressure, after.stats.memory_pressure, seconds);
  usage.io_pressure = pressure_share(before.stats.io_pressure, after.stats.io_pressure, seconds);
  if (after.stats.pids) {
    usage.pids = after.stats.pids->current;
    usage.pids_max = after.pids_max;
  }
  const auto bytes = [](const LiveReading& reading, std::uint64_t IoStats::* member) {
    std::uint64_t sum = 0;
    if (reading.stats.io)
      for (const auto& [device, io] : *reading.stats.io) sum += io.*member;
    return sum;
  };
  usage.read_bytes =
      static_cast<double>(grown(bytes(before, &IoStats::rbytes), bytes(after, &IoStats::rbytes))) /
      seconds;
  usage.written_bytes =
      static_cast<double>(grown(bytes(before, &IoStats::wbytes), bytes(after, &IoStats::wbytes))) /
      seconds;
  return usage;
}

}  // namespace minirun
