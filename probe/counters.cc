#include "probe/counters.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/text.h"
#include "cgroups/files.h"
#include "cgroups/stats.h"

namespace minirun::probe {

using Json = nlohmann::ordered_json;

namespace {

Json flat(std::string_view text) {
  Json object = Json::object();
  for (const auto& [key, value] : parse_flat_keyed(text)) object[key] = value;
  return object;
}

double number(std::string_view text) {
  const auto value = leading_number(text);
  return value ? static_cast<double>(*value) : -1;
}

}  // namespace

Json read_counters(const CgroupFd& cgroup) {
  Json counters = Json::object();
  for (const char* file : {"cpu.stat", "memory.events", "memory.events.local", "memory.swap.events",
                           "pids.events", "memory.stat"})
    if (const Result<std::string> text = read_beneath(cgroup.get(), file))
      counters[file] = flat(*text);
  for (const char* file : {"memory.peak", "memory.current", "memory.swap.current", "pids.peak"})
    if (const Result<std::string> text = read_beneath(cgroup.get(), file))
      if (const double value = number(*text); value >= 0)
        counters[file] = static_cast<std::uint64_t>(value);
  for (const char* file : {"cpu.pressure", "memory.pressure"})
    if (const Result<std::string> text = read_beneath(cgroup.get(), file))
      if (const auto pressure = parse_pressure(*text)) {
        counters[file] = {{"some_usec", pressure->some_usec}};
        if (pressure->full_usec) counters[file]["full_usec"] = *pressure->full_usec;
      }
  return counters;
}

Json read_limits(const CgroupFd& cgroup) {
  static constexpr std::array files = {"cpu.max",    "cpu.max.burst",        "cpu.weight",
                                       "cpu.idle",   "memory.max",           "memory.high",
                                       "memory.low", "memory.swap.max",      "memory.oom.group",
                                       "pids.max",   "cpuset.cpus.effective"};
  Json limits = Json::object();
  for (const char* file : files)
    if (const Result<std::string> text = read_beneath(cgroup.get(), file))
      limits[file] = std::string(trimmed(*text));
  return limits;
}

Json read_level_events(const CgroupFacts& facts, const std::string& path) {
  Json levels = Json::array();
  const Result<std::vector<LevelCounters>> read = read_levels(facts, path);
  if (!read) return levels;
  for (const LevelCounters& level : *read) {
    Json entry = {{"path", level.path}, {"events", Json::object()}, {"local", Json::object()}};
    for (const auto& [key, value] : level.memory_events) entry["events"][key] = value;
    for (const auto& [key, value] : level.memory_events_local) entry["local"][key] = value;
    if (level.memory_max) entry["memory.max"] = *level.memory_max;
    levels.push_back(std::move(entry));
  }
  return levels;
}

double read_number(const CgroupFd& cgroup, const char* file, const char* key) {
  const Result<std::string> text = read_beneath(cgroup.get(), file);
  if (!text) return -1;
  if (key == nullptr) return number(*text);
  const FlatKeys keys = parse_flat_keyed(*text);
  const auto found = keys.find(std::string_view(key));
  return found == keys.end() ? -1 : static_cast<double>(found->second);
}

}  // namespace minirun::probe
