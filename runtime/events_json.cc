// The statistics in the words of runc's `events` (types.Stats), and our own further keys.
#include <nlohmann/json.hpp>

#include "runtime/events.h"

namespace minirun {
namespace {

using json = nlohmann::ordered_json;

constexpr std::uint64_t no_limit = UINT64_MAX;  // what runc says where the kernel says "max"

std::uint64_t nanoseconds(std::uint64_t microseconds) {
  return microseconds * 1000;
}

std::uint64_t value_of(const FlatKeys& keys, std::string_view key) {
  const auto it = keys.find(key);
  return it == keys.end() ? 0 : it->second;
}

json pressure_line(const std::array<double, 3>& percent, std::uint64_t total) {
  return {{"avg10", percent[0]}, {"avg60", percent[1]}, {"avg300", percent[2]}, {"total", total}};
}

void put_pressure(json& object, const std::optional<Pressure>& pressure) {
  if (!pressure) return;
  object["psi"] = {
      {"some", pressure_line(pressure->some_percent, pressure->some_usec)},
      {"full", pressure_line(pressure->full_percent, pressure->full_usec.value_or(0))}};
}

json cpu(const CgroupStats& stats) {
  const CpuStats& cpu = stats.cpu;
  json object = {{"usage",
                  {{"total", nanoseconds(cpu.usage_usec)},
                   {"kernel", nanoseconds(cpu.system_usec)},
                   {"user", nanoseconds(cpu.user_usec)}}},
                 {"throttling",
                  {{"periods", cpu.nr_periods.value_or(0)},
                   {"throttledPeriods", cpu.nr_throttled.value_or(0)},
                   {"throttledTime", nanoseconds(cpu.throttled_usec.value_or(0))}}}};
  if (cpu.nr_bursts)
    object["burst"] = {{"periods", *cpu.nr_bursts},
                       {"time", nanoseconds(cpu.burst_usec.value_or(0))}};
  put_pressure(object, stats.cpu_pressure);
  return object;
}

json memory_entry(std::uint64_t usage, std::optional<std::uint64_t> limit,
                  std::optional<std::uint64_t> peak, std::uint64_t failures) {
  json entry = {{"limit", limit.value_or(no_limit)}, {"usage", usage}};
  if (peak) entry["max"] = *peak;
  entry["failcnt"] = failures;
  return entry;
}

json memory(const CgroupStats& stats) {
  if (!stats.memory) return json::object();
  const MemoryStats& memory = *stats.memory;
  const std::uint64_t swap = memory.swap_current.value_or(0);
  // As cgroup v1 counted and clients read it: memory and swap together.
  std::optional<std::uint64_t> both_limit;
  if (memory.max && memory.swap_max) both_limit = *memory.max + *memory.swap_max;
  json object = {
      {"cache", value_of(memory.stat, "file")},
      {"usage",
       memory_entry(memory.current, memory.max, memory.peak, value_of(memory.events, "max"))},
      {"swap", memory_entry(memory.current + swap, both_limit, std::nullopt,
                            value_of(memory.swap_events, "fail"))},
      {"kernel", {{"usage", value_of(memory.stat, "kernel")}, {"failcnt", 0}, {"limit", 0}}},
      {"kernelTCP", {{"usage", value_of(memory.stat, "sock")}, {"failcnt", 0}, {"limit", 0}}},
      {"raw", memory.stat},
      {"swapOnly",
       memory_entry(swap, memory.swap_max, memory.swap_peak, value_of(memory.swap_events, "max"))},
      {"events", memory.events},
      {"eventsLocal", memory.events_local}};
  if (memory.peak) object["peak"] = *memory.peak;
  put_pressure(object, stats.memory_pressure);
  return object;
}

json pids(const CgroupStats& stats) {
  if (!stats.pids) return json::object();
  json object = {{"current", stats.pids->current}};
  if (stats.pids->max) object["limit"] = *stats.pids->max;
  object["events"] = {{"max", stats.pids->max_events}};
  if (stats.pids->peak) object["peak"] = *stats.pids->peak;
  return object;
}

json io(const CgroupStats& stats) {
  json bytes = json::array(), operations = json::array();
  if (stats.io)
    for (const auto& [device, io] : *stats.io) {
      const std::size_t colon = device.find(':');
      const auto entry = [&](const char* op, std::uint64_t value) -> json {
        return {{"major", std::strtoull(device.c_str(), nullptr, 10)},
                {"minor", colon == std::string::npos
                              ? 0
                              : std::strtoull(device.c_str() + colon + 1, nullptr, 10)},
                {"op", op},
                {"value", value}};
      };
      bytes.insert(bytes.end(), {entry("Read", io.rbytes), entry("Write", io.wbytes),
                                 entry("Discard", io.dbytes)});
      operations.insert(operations.end(), {entry("Read", io.rios), entry("Write", io.wios),
                                           entry("Discard", io.dios)});
    }
  json object = {{"ioServiceBytesRecursive", bytes}, {"ioServicedRecursive", operations}};
  put_pressure(object, stats.io_pressure);
  return object;
}

/// "0-2,5" as numbers, as runc lists them.
json list_of(const std::string& text) {
  json numbers = json::array();
  for (const char* at = text.c_str(); *at >= '0' && *at <= '9';) {
    char* end = nullptr;
    const unsigned long first = std::strtoul(at, &end, 10);
    const unsigned long last = *end == '-' ? std::strtoul(end + 1, &end, 10) : first;
    // The kernel has at most 8192 CPUs.
    for (unsigned long cpu = first; cpu <= last && numbers.size() < 8192; ++cpu)
      numbers.push_back(cpu);
    at = *end == ',' ? end + 1 : end;
  }
  return numbers;
}

json hugetlb(const DetailedStats& details) {
  json object = json::object();
  for (const auto& [size, pages] : details.hugetlb) {
    object[size] = {{"usage", pages.current}, {"failcnt", pages.failures}};
    if (pages.max) object[size]["limit"] = *pages.max;
  }
  return object;
}

}  // namespace

std::string stats_event(const std::string& id, const CgroupStats& stats,
                        const DetailedStats& details) {
  json data = {{"cpu", cpu(stats)},
               {"cpuset", {{"cpus", list_of(details.cpus)}, {"mems", list_of(details.mems)}}},
               {"memory", memory(stats)},
               {"pids", pids(stats)},
               {"blkio", io(stats)},
               {"hugetlb", hugetlb(details)},
               {"intel_rdt", json::object()},
               {"network_interfaces", nullptr}};
  if (!details.rdma.empty()) data["rdma"] = details.rdma;
  if (!details.misc.empty()) data["misc"] = details.misc;
  data["contextSwitches"] = {{"voluntary", details.voluntary_switches},
                             {"involuntary", details.involuntary_switches},
                             {"processes", details.processes},
                             {"threads", details.threads},
                             {"truncated", details.switches_truncated}};
  const json event = {{"type", "stats"}, {"id", id}, {"data", data}};
  return event.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string oom_event(const std::string& id) {
  return json{{"type", "oom"}, {"id", id}}.dump();
}

}  // namespace minirun
