// Owns: the result of pods for people and machines.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "runtime/pod_run.h"
#include "runtime/report.h"

namespace minirun {

std::string pods_report_json(const std::vector<PodResult>& results) {
  using json = nlohmann::ordered_json;
  json pods = json::array();
  for (const PodResult& pod : results) {
    json containers = json::array();
    for (const PodResult::Container& container : pod.containers) {
      json one = {{"name", container.name},
                  {"role", container.role},
                  {"restarts", container.restarts},
                  {"problem", container.problem.empty() ? json(nullptr) : json(container.problem)},
                  {"last", nullptr}};
      if (container.last) one["last"] = json::parse(report_json(*container.last));
      containers.push_back(std::move(one));
    }
    json cpu = {{"usageUsec", pod.stats.cpu.usage_usec}};
    if (pod.stats.cpu.nr_throttled) {
      cpu["nrPeriods"] = pod.stats.cpu.nr_periods.value_or(0);
      cpu["nrThrottled"] = *pod.stats.cpu.nr_throttled;
      cpu["throttledUsec"] = pod.stats.cpu.throttled_usec.value_or(0);
    }
    json memory = nullptr;
    if (pod.stats.memory) {
      const MemoryStats::Peak peak = pod.stats.memory->highest();
      memory = {{"peakBytes", peak.bytes}, {"peakSource", peak.source}};
      memory["events"] = json::object();
      for (const auto& [name, count] : pod.stats.memory->events) memory["events"][name] = count;
      memory["eventsLocal"] = json::object();
      for (const auto& [name, count] : pod.stats.memory->events_local)
        memory["eventsLocal"][name] = count;
    }
    pods.push_back({{"name", pod.name},
                    {"uid", pod.uid},
                    {"qosClass", pod.qos},
                    {"cgroup", pod.cgroup},
                    {"seconds", pod.seconds},
                    {"status", pod.status},
                    {"reason", pod.reason},
                    {"cpu", std::move(cpu)},
                    {"memory", std::move(memory)},
                    {"containers", std::move(containers)}});
  }
  return json{{"schema", report_schema}, {"pods", std::move(pods)}}.dump(
             2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

std::string pods_summary(const std::vector<PodResult>& results, bool color) {
  std::string text;
  for (const PodResult& pod : results) {
    text += fmt::format("pod {} ({}) ended {} after {}{}\n", pod.name, pod.qos, pod.status,
                        human_duration(pod.seconds), pod.reason.empty() ? "" : ": " + pod.reason);
    for (const PodResult::Container& container : pod.containers) {
      std::string part;
      if (container.last)
        part = summary(*container.last, color);
      else
        part = fmt::format("{} did not run{}\n", container.name,
                           container.problem.empty() ? "" : ": " + container.problem);
      std::size_t line = 0;
      for (std::size_t at = 0; at < part.size(); ++line) {
        const std::size_t end = std::min(part.find('\n', at), part.size() - 1);
        std::string words = part.substr(at, end - at);
        if (line == 0 && container.role != "container")
          words += fmt::format("  [{}]", container.role);
        if (line == 0 && container.restarts > 0)
          words += fmt::format("  [{} restart{}]", container.restarts,
                               container.restarts == 1 ? "" : "s");
        text += "  " + words + "\n";
        at = end + 1;
      }
    }
  }
  return text;
}

}  // namespace minirun
