// The table of controllers, and what is common to them. Each controller's conversions are in the
// file of its name. Must not: convert values.
#include "cgroups/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "cgroups/planners.h"
#include "cgroups/systemd.h"

namespace minirun {
namespace {

void plan_nothing(PlanContext&) {}  // a controller that only `unified` reaches

struct Row {
  ControllerInfo info;
  void (*plan)(PlanContext&);
  bool accounts;  // counts something worth having without a limit
};

// runc's order of writes; the order of controllers does not matter to the kernel.
constexpr std::array<Row, 9> kRows{{
    {{"pids", "pids", "number of processes and threads"}, plan_pids, true},
    {{"memory", "memory", "memory and swap"}, plan_memory, true},
    {{"io", "blkio", "bandwidth and weight of block devices"}, plan_io, true},
    {{"cpu", "cpu", "share, quota and burst of CPU time"}, plan_cpu, true},
    {{"cpuset", "cpuset", "which CPUs and memory nodes"}, plan_cpuset, false},
    {{"hugetlb", "hugetlb", "huge pages"}, plan_hugetlb, false},
    {{"rdma", "rdma", "RDMA handles and objects"}, plan_rdma, false},
    {{"misc", "misc", "scalar resources of the host, by unified"}, plan_nothing, false},
    {{"dmem", "", "device memory, by unified (Linux 6.14)"}, plan_nothing, false},
}};

constexpr auto kInfos = [] {
  std::array<ControllerInfo, kRows.size()> infos{};
  for (std::size_t i = 0; i < kRows.size(); ++i) infos[i] = kRows[i].info;
  return infos;
}();

template <class List>
bool contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

std::string v1_controller(std::string_view name) {
  for (const ControllerInfo& info : kInfos)
    if (info.name == name) return std::string(info.v1_name);
  return std::string(name);
}

// "resources.limits.cpu" and "mounts[4].size" as pointers into the user's document.
std::string to_pointer(std::string_view field) {
  if (field.starts_with('/')) return std::string(field);
  std::string pointer = "/";
  for (const char c : field) {
    if (c == '.' || c == '[')
      pointer += '/';
    else if (c != ']')
      pointer += c;
  }
  return pointer;
}

// A write is only possible where its controller is; one finding per controller and field.
void require_controllers(const CgroupPlanResult& result, const HostFacts& host,
                         Findings& findings) {
  std::string last;
  for (const CgroupWrite& write : result.plan.writes) {
    if (write.controller == "cgroup" || contains(host.cgroup.controllers, write.controller))
      continue;
    const std::string pointer = to_pointer(write.source);
    if (pointer == std::exchange(last, pointer)) continue;
    findings.push_back({Finding::Level::error, pointer,
                        fmt::format("{} cannot be set: {}", write.file,
                                    why_missing(host.cgroup, write.controller))});
  }
}

void collect_controllers(CgroupPlan& plan, const HostFacts& host, bool account) {
  const auto used = [&](std::string_view name) {
    return std::any_of(plan.writes.begin(), plan.writes.end(),
                       [&](const CgroupWrite& write) { return write.controller == name; });
  };
  for (const Row& row : kRows)
    if (used(row.info.name) ||
        (account && row.accounts && contains(host.cgroup.controllers, row.info.name)))
      plan.controllers.emplace_back(row.info.name);
  for (const CgroupWrite& write : plan.writes)  // one that is newer than the table
    if (write.controller != "cgroup" && !contains(plan.controllers, write.controller))
      plan.controllers.push_back(write.controller);
}

}  // namespace

CgroupWrite& PlanContext::write(std::string_view key, std::string_view file, std::string value,
                                std::string_view v1_name, std::string_view formula) {
  CgroupWrite write;
  write.controller = file.substr(0, file.find('.'));
  write.file = file;
  write.value = std::move(value);
  write.v1_name = v1_name;
  write.source = source(key);
  const auto origin = spec.origins.find(std::string(key));
  if (origin != spec.origins.end() && !origin->second.formula.empty())
    write.formula = origin->second.formula;
  if (!formula.empty()) write.formula.append(write.formula.empty() ? "" : "; ").append(formula);
  return plan.writes.emplace_back(std::move(write));
}

void PlanContext::error(std::string_view key, std::string message) {
  findings.push_back({Finding::Level::error, pointer(key), std::move(message)});
}

void PlanContext::warn(std::string_view key, std::string message) {
  findings.push_back({Finding::Level::warning, pointer(key), std::move(message)});
}

bool PlanContext::kernel_has(std::string_view key, std::string_view file, int major, int minor) {
  if (host.kernel_major == 0 || host.kernel_at_least(major, minor)) return true;
  error(key, fmt::format("{} needs Linux {}.{}, this is {}.{}", file, major, minor,
                         host.kernel_major, host.kernel_minor));
  return false;
}

std::string PlanContext::source(std::string_view key) const {
  const auto origin = spec.origins.find(std::string(key));
  if (origin != spec.origins.end() && !origin->second.field.empty()) return origin->second.field;
  return fmt::format("linux.resources.{}", key);
}

std::string PlanContext::pointer(std::string_view key) const {
  const std::string field = source(key);
  // The keys of `unified` contain dots of their own.
  constexpr std::string_view kUnified = "linux.resources.unified.";
  if (field.starts_with(kUnified))
    return "/linux/resources/unified/" + field.substr(kUnified.size());
  return to_pointer(field);
}

std::string limit_text(std::int64_t limit) {
  return limit < 0 ? "max" : std::to_string(limit);
}

std::span<const ControllerInfo> known_controllers() {
  return kInfos;
}

std::string why_missing(const CgroupFacts& facts, std::string_view controller) {
  constexpr std::string_view kVm = "or run it in the project's VM: make vm";
  if (contains(facts.controllers, controller)) return "";
  const std::string v1_name = v1_controller(controller);
  for (const CgroupV1Mount& v1 : facts.v1)
    if (contains(v1.controllers, v1_name))
      return fmt::format(
          "the {} controller is bound to cgroup v1 at {}; boot with cgroup_no_v1=all or "
          "systemd.unified_cgroup_hierarchy=1, {}",
          v1_name, v1.mount_point.empty() ? "a place that is not mounted here" : v1.mount_point,
          kVm);
  if (facts.mount_point.empty())
    return fmt::format("no cgroup2 file system is mounted; mount one at /sys/fs/cgroup, {}", kVm);
  if (contains(facts.disabled, controller) || contains(facts.disabled, v1_name))
    return fmt::format("the {} controller was disabled with cgroup_disable= at boot", controller);
  if (!facts.hierarchy_root)
    return fmt::format(
        "the {} controller is not delegated: the parent of the cgroup mounted at {} lacks it in "
        "cgroup.subtree_control; with systemd set Delegate=yes on our unit, {}",
        controller, facts.mount_point, kVm);
  return fmt::format("the {} controller is not compiled into this kernel; boot another, {}",
                     controller, kVm);
}

namespace {

/// The container stays in the caller's cgroup: a limit has nothing to stand on.
CgroupPlanResult plan_without_cgroup(const ContainerSpec& spec, HostFacts host, std::string_view id,
                                     std::string_view why) {
  host.cgroup.delegated = true;  // what would be planned if it could be made
  CgroupPlanResult planned = plan_cgroup(spec, host, id);
  CgroupPlanResult result;
  for (const CgroupWrite& write : planned.plan.writes)
    result.findings.push_back({Finding::Level::error, to_pointer(write.source),
                               fmt::format("{} cannot be set: {}", write.file, why)});
  if (planned.plan.attach_devices)
    result.findings.push_back({Finding::Level::warning, "/linux/resources/devices",
                               fmt::format("are not enforced: {}", why)});
  return result;
}

void plan_scope(const ContainerSpec& spec, const HostFacts& host, std::string_view id,
                CgroupPlanResult& result) {
  const auto fail = [&result](const Error& error) {
    result.findings.push_back({Finding::Level::error, "/linux/cgroupsPath", error.detail});
  };
  Result<ScopeName> name = parse_scope_name(spec.cgroups_path, id, host.euid == 0);
  if (!name) return fail(name.error());
  const Result<std::string> slice = slice_path(name->slice);
  if (!slice) return fail(slice.error());
  result.plan.path = fmt::format("{}{}/{}", manager_root(host), *slice, name->unit);
  result.plan.scope = ScopeUnit{
      std::move(name->unit), std::move(name->slice), fmt::format("minirun container {}", id), {}};
}

}  // namespace

CgroupPlanResult plan_cgroup(const ContainerSpec& spec, const HostFacts& host, std::string_view id,
                             CgroupPlanOptions options) {
  CgroupPlanResult result;
  if (options.manager == CgroupManager::disabled)
    return plan_without_cgroup(spec, host, id,
                               "--cgroup-manager=disabled leaves the container without a cgroup of "
                               "its own");
  // Without a limit nothing is lost by staying where the caller is; with one it is an error.
  if (options.manager == CgroupManager::cgroupfs && !host.cgroup.delegated)
    return plan_without_cgroup(
        spec, host, id,
        "this user may not make cgroups here; log in through systemd and use "
        "--systemd-cgroup, or have a subtree delegated");
  if (options.manager == CgroupManager::systemd)
    plan_scope(spec, host, id, result);
  else
    result.plan.path = plan_path(spec, host, id, result.findings);
  if (host.cgroup.mount_point.empty())
    result.findings.push_back(
        {Finding::Level::error, "", why_missing(host.cgroup, "container's cgroup")});
  PlanContext context{spec, host, options, result.plan, result.findings};
  for (const Row& row : kRows) row.plan(context);
  plan_unified(context);
  plan_devices(context);
  if (!host.cgroup.mount_point.empty()) require_controllers(result, host, result.findings);
  collect_controllers(result.plan, host, options.account);
  result.plan.check_memory = spec.resources.memory.check_before_update;
  if (result.plan.scope) result.plan.scope->properties = unit_properties(result.plan.writes);
  return result;
}

}  // namespace minirun
