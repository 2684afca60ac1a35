// Owns: linux.resources.unified: files of cgroup v2 by their own names, "even if unknown to the
// runtime" (OCI config-linux.md). Must not: interpret a value.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "cgroups/files.h"
#include "cgroups/planners.h"

namespace minirun {
namespace {

// Of the core files these are limits. The others move, kill or freeze processes, or enable
// controllers below: cgroup.procs with the value 0 would move the runtime itself.
constexpr std::array<std::string_view, 3> kCoreFiles{"cgroup.max.depth", "cgroup.max.descendants",
                                                     "cgroup.pressure"};

// Why a key is refused; empty when it is fine.
std::string bad_key(const PlanContext& context, std::string_view key) {
  if (key.find('/') != std::string_view::npos) return "must be a file name without \"/\"";
  if (key.find('\0') != std::string_view::npos) return "contains a zero byte";
  const std::size_t dot = key.find('.');
  if (dot == 0 || dot == std::string_view::npos || dot + 1 == key.size())
    return "is not of the form CONTROLLER.FILE";
  const std::string_view controller = key.substr(0, dot);
  if (controller == "cgroup") {
    const bool core = std::find(kCoreFiles.begin(), kCoreFiles.end(), key) != kCoreFiles.end();
    return core ? "" : "is managed by the runtime";
  }
  const auto known = known_controllers();
  const auto& offered = context.host.cgroup.controllers;
  if (std::any_of(known.begin(), known.end(),
                  [&](const ControllerInfo& info) { return info.name == controller; }) ||
      std::find(offered.begin(), offered.end(), controller) != offered.end())
    return "";
  return fmt::format("belongs to the controller {}, which neither minirun nor this host knows",
                     controller);
}

// Files that keep one line per device or name: a second write adds to the first.
bool is_keyed(std::string_view file) {
  constexpr std::array<std::string_view, 7> kKeyed{
      "io.max", "io.weight", "io.bfq.weight", "rdma.max", "misc.max", "dmem.max", "io.latency"};
  return std::find(kKeyed.begin(), kKeyed.end(), file) != kKeyed.end();
}

// `unified` wins; what it replaces is not written at all ("never write a file twice").
void drop_replaced(CgroupPlan& plan, std::string_view file) {
  if (is_keyed(file)) return;
  std::erase_if(plan.writes, [&](const CgroupWrite& write) { return write.file == file; });
}

}  // namespace

void plan_unified(PlanContext& context) {
  for (const auto& [key, text] : context.spec.resources.unified) {
    const std::string field = "unified." + key;
    if (std::string why = bad_key(context, key); !why.empty()) {
      context.error(field, fmt::format("\"{}\" {}", key, why));
      continue;
    }
    drop_replaced(context.plan, key);
    std::size_t written = 0;
    for (std::string_view line : split(text, '\n')) {
      if (line.empty()) continue;
      context.write(field, key, std::string(line), "");
      ++written;
    }
    if (written == 0) context.error(field, fmt::format("\"{}\" has no value", key));
  }
}

}  // namespace minirun
