#include "runtime/report.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

namespace minirun {
namespace {

using json = nlohmann::ordered_json;

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

const CgroupWrite* find_write(const CgroupPlan& plan, std::string_view file) {
  for (const CgroupWrite& write : plan.writes)
    if (write.file == file) return &write;
  return nullptr;
}

/// The cores that cpu.max allows; absent without a limit.
std::optional<double> allowed_cores(const CgroupPlan& plan) {
  const CgroupWrite* write = find_write(plan, "cpu.max");
  if (write == nullptr) return std::nullopt;
  char* rest = nullptr;
  const double quota = std::strtod(write->value.c_str(), &rest);
  if (rest == write->value.c_str()) return std::nullopt;  // "max 100000"
  const double period = std::strtod(rest, nullptr);
  return quota / (period > 0 ? period : 100'000.0);
}

std::string_view cause_name(OomCause cause) {
  switch (cause) {
    case OomCause::none:
      return "none";
    case OomCause::own_limit:
      return "own_limit";
    case OomCause::below:
      return "below";
    case OomCause::ancestor:
      return "ancestor";
    case OomCause::host:
      return "host";
  }
  return "?";
}

template <class T>
json optional_json(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json flat_json(const FlatKeys& keys) {
  json object = json::object();
  for (const auto& [key, value] : keys) object[key] = value;
  return object;
}

json pressure_json(const std::optional<Pressure>& pressure) {
  if (!pressure) return nullptr;
  return {{"someUsec", pressure->some_usec}, {"fullUsec", optional_json(pressure->full_usec)}};
}

json cpu_json(const RunResult& result) {
  const CpuStats& cpu = result.stats.cpu;
  return {{"usageUsec", cpu.usage_usec},
          {"userUsec", cpu.user_usec},
          {"systemUsec", cpu.system_usec},
          {"cores",
           result.seconds > 0 ? static_cast<double>(cpu.usage_usec) / 1e6 / result.seconds : 0.0},
          {"limitCores", optional_json(allowed_cores(result.cgroup))},
          {"nrPeriods", optional_json(cpu.nr_periods)},
          {"nrThrottled", optional_json(cpu.nr_throttled)},
          {"throttledUsec", optional_json(cpu.throttled_usec)},
          {"nrBursts", optional_json(cpu.nr_bursts)},
          {"burstUsec", optional_json(cpu.burst_usec)}};
}

json memory_json(const RunResult& result) {
  if (!result.stats.memory) return nullptr;
  const MemoryStats& memory = *result.stats.memory;
  return {{"peakBytes", memory.highest().bytes},
          {"peakSource", memory.highest().source},
          {"limitBytes", optional_json(memory.max)},
          {"events", flat_json(memory.events)},
          {"eventsLocal", flat_json(memory.events_local)},
          {"swapPeakBytes", optional_json(memory.swap_peak)},
          {"swapEvents", flat_json(memory.swap_events)}};
}

json io_json(const RunResult& result) {
  if (!result.stats.io) return nullptr;
  json devices = json::object();
  for (const auto& [device, io] : *result.stats.io)
    devices[device] = {{"rbytes", io.rbytes}, {"wbytes", io.wbytes}, {"rios", io.rios},
                       {"wios", io.wios},     {"dbytes", io.dbytes}, {"dios", io.dios}};
  return devices;
}

json pids_json(const RunResult& result) {
  if (!result.stats.pids) return nullptr;
  const PidsStats& pids = *result.stats.pids;
  return {{"peak", optional_json(pids.peak)},
          {"limit", optional_json(pids.max)},
          {"maxEvents", pids.max_events}};
}

json limits_json(const RunResult& result) {
  json limits = json::array();
  for (const CgroupWrite& write : result.cgroup.writes)
    limits.push_back({{"file", write.file},
                      {"value", write.value},
                      {"v1", write.v1_name},
                      {"field", write.source},
                      {"formula", write.formula}});
  return limits;
}

}  // namespace

int RunResult::status() const {
  if (signal) return 128 + *signal;
  return exit_code.value_or(125);
}

std::string report_json(const RunResult& result) {
  json phases = json::array();
  for (const PhaseClock::Phase& phase : result.phases)
    phases.push_back({{"name", phase.name}, {"usec", phase.microseconds}});
  const json report = {
      {"schema", report_schema},
      {"id", result.id},
      {"name", result.name},
      {"started", result.started},
      {"finished", result.finished},
      {"seconds", result.seconds},
      {"status", result.status()},
      {"exitCode", optional_json(result.exit_code)},
      {"signal", optional_json(result.signal)},
      {"signalName", result.signal ? json(signal_name(*result.signal)) : json(nullptr)},
      {"timedOut", result.timed_out},
      {"oom",
       {{"cause", cause_name(result.verdict.oom)},
        {"kills", result.verdict.oom_kills},
        {"group", result.verdict.group_kill},
        {"cgroup", result.verdict.oom_path},
        {"limitBytes", optional_json(result.verdict.oom_limit_bytes)}}},
      {"pidsRefused", result.verdict.pids_hits},
      {"cgroup", result.cgroup.path},
      {"limits", limits_json(result)},
      {"cpu", cpu_json(result)},
      {"memory", memory_json(result)},
      {"pids", pids_json(result)},
      {"io", io_json(result)},
      {"pressure",
       {{"cpu", pressure_json(result.stats.cpu_pressure)},
        {"memory", pressure_json(result.stats.memory_pressure)},
        {"io", pressure_json(result.stats.io_pressure)}}},
      {"layer", result.layer.empty() ? json(nullptr) : json(result.layer)},
      {"phases", std::move(phases)}};
  return report.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// ---------------------------------------------------------------- for people

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0 || value == static_cast<double>(static_cast<std::uint64_t>(value)))
    return fmt::format("{:.0f} {}", value, units[unit]);
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_duration(double seconds) {
  if (seconds >= 1) return fmt::format("{:.2f} s", seconds);
  if (seconds >= 0.001) return fmt::format("{:.1f} ms", seconds * 1e3);
  return fmt::format("{:.0f} us", seconds * 1e6);
}

namespace {

class Summary {
 public:
  Summary(const RunResult& result, bool color) : result_(result), color_(color) {}

  std::string make() {
    headline();
    cpu();
    memory();
    pids_and_io();
    if (!result_.layer.empty()) text_ += fmt::format("  layer   {}\n", result_.layer);
    return std::move(text_);
  }

 private:
  std::string mark(const std::string& words) const {
    return color_ ? "\x1b[1;31m" + words + "\x1b[0m" : words;
  }

  std::string field_of(std::string_view file) const {
    const CgroupWrite* write = find_write(result_.cgroup, file);
    return write == nullptr || write->source.empty() ? "" : fmt::format(" ({})", write->source);
  }

  void headline() {
    const std::string& who = result_.name.empty() ? result_.id : result_.name;
    text_ += fmt::format("{} exited {} after {}", who, result_.status(),
                         human_duration(result_.seconds));
    if (const std::string reason = why(); !reason.empty()) text_ += ": " + mark(reason);
    text_ += '\n';
  }

  std::string why() const {
    const LimitVerdict& verdict = result_.verdict;
    const bool killed = result_.signal == 9 || result_.exit_code == 137;
    if (result_.timed_out) return "killed at its timeout";
    if (verdict.oom != OomCause::none && verdict.oom_kills > 0) {
      const std::string what =
          killed ? "killed by the OOM killer"
                 : fmt::format("the OOM killer took {} process{}", verdict.oom_kills,
                               verdict.oom_kills == 1 ? "" : "es");
      const std::string limit =
          verdict.oom_limit_bytes ? " = " + human_bytes(*verdict.oom_limit_bytes) : "";
      switch (verdict.oom) {
        case OomCause::own_limit:
          return fmt::format("{} at memory.max{}{}", what, limit, field_of("memory.max"));
        case OomCause::below:
          return what + " at a limit that the container set for itself";
        case OomCause::ancestor:
          return fmt::format("{} at memory.max{} of {}, above the container", what, limit,
                             verdict.oom_path);
        case OomCause::host:
          return what + " because the host ran out of memory";
        case OomCause::none:
          break;
      }
    }
    if (verdict.pids_hits > 0)
      return fmt::format("{} forks refused at pids.max{}", verdict.pids_hits, field_of("pids.max"));
    if (result_.signal) return "killed by " + signal_name(*result_.signal);
    return "";
  }

  void cpu() {
    const CpuStats& cpu = result_.stats.cpu;
    const double cores =
        result_.seconds > 0 ? static_cast<double>(cpu.usage_usec) / 1e6 / result_.seconds : 0;
    text_ += fmt::format("  cpu     {:.2f}", cores);
    if (const auto limit = allowed_cores(result_.cgroup))
      text_ += fmt::format(" of {:.2f} cores", *limit);
    else
      text_ += " cores";
    if (cpu.nr_periods && *cpu.nr_periods > 0) {
      const std::string throttled = fmt::format(
          "throttled in {} of {} periods, {} stalled", *cpu.nr_throttled, *cpu.nr_periods,
          human_duration(static_cast<double>(*cpu.throttled_usec) / 1e6));
      text_ += "     " + (*cpu.nr_throttled > 0 ? mark(throttled) : throttled);
    }
    text_ += '\n';
  }

  void memory() {
    if (!result_.stats.memory) return;
    const MemoryStats& memory = *result_.stats.memory;
    const MemoryStats::Peak peak = memory.highest();
    text_ += fmt::format("  memory  {} {}", peak.source == "memory.peak" ? "peak" : "at the end",
                         human_bytes(peak.bytes));
    if (memory.max) text_ += " of " + human_bytes(*memory.max);
    auto event = [&memory](const char* name) {
      const auto it = memory.events.find(name);
      return it == memory.events.end() ? std::uint64_t{0} : it->second;
    };
    if (memory.max || event("oom_kill") > 0)
      text_ += fmt::format("     oom_kill {}, max {}", event("oom_kill"), event("max"));
    text_ += '\n';
  }

  void pids_and_io() {
    std::string line;
    if (result_.stats.pids) {
      const PidsStats& pids = *result_.stats.pids;
      line += pids.peak ? fmt::format("  pids    peak {}", *pids.peak) : "  pids    peak unknown";
      if (pids.max) line += fmt::format(" of {}", *pids.max);
      line += "        ";
    }
    if (result_.stats.io) {
      std::uint64_t read = 0, written = 0;
      for (const auto& [device, io] : *result_.stats.io) {
        read += io.rbytes;
        written += io.wbytes;
      }
      if (line.empty()) line = "  ";
      line += fmt::format("io  read {}, written {}", read == 0 ? "0" : human_bytes(read),
                          written == 0 ? "0" : human_bytes(written));
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (!line.empty()) text_ += line + '\n';
  }

  const RunResult& result_;
  bool color_;
  std::string text_;
};

}  // namespace

std::string summary(const RunResult& result, bool color) {
  return Summary(result, color).make();
}

}  // namespace minirun
