#include "spec/kubernetes/plan_json.h"

#include <nlohmann/json.hpp>

namespace minirun::kubernetes {
namespace {

using json = nlohmann::ordered_json;

json files_json(const PlannedFiles& files) {
  json object = json::object();
  for (const auto& [name, planned] : files) object[name] = planned.value;
  return object;
}

json reasons_json(const PlannedFiles& files) {
  json object = json::object();
  for (const auto& [name, planned] : files)
    object[name] = {{"formula", planned.formula}, {"writer", planned.writer}};
  return object;
}

json paths_json(const CgroupPaths& paths) {
  return {{"pod", paths.pod},
          {"container", paths.container},
          {"ociCgroupsPath", paths.oci_cgroups_path}};
}

json amounts_json(const Effective& effective) {
  json object = json::object();
  // Both were computed without overflow by the planner.
  for (const auto& [name, amount] : effective.amounts) {
    if (name == "cpu")
      object[name] = {{"milli", amount.milli_value().value_or(0)}};
    else
      object[name] = {{"value", amount.value().value_or(0)}};
  }
  return object;
}

json cri_json(const CriResources& cri) {
  json object = {{"cpu_shares", cri.cpu_shares}, {"oom_score_adj", cri.oom_score_adj}};
  if (cri.memory_limit_bytes) object["memory_limit_in_bytes"] = *cri.memory_limit_bytes;
  if (cri.cpu_quota_us) object["cpu_quota"] = *cri.cpu_quota_us;
  if (cri.cpu_period_us) object["cpu_period"] = *cri.cpu_period_us;
  object["hugepage_limits"] = json::object();
  for (const HugepageLimit& page : cri.hugepage_limits)
    object["hugepage_limits"][page.page_size] = page.limit_bytes;
  object["unified"] = json(cri.unified);
  return object;
}

json oci_json(const Resources& oci) {
  json object = {{"cpu", json::object()}, {"memory", json::object()}, {"unified", oci.unified}};
  if (oci.cpu.shares) object["cpu"]["shares"] = *oci.cpu.shares;
  if (oci.cpu.quota_us) object["cpu"]["quota"] = *oci.cpu.quota_us;
  if (oci.cpu.period_us) object["cpu"]["period"] = *oci.cpu.period_us;
  if (oci.memory.limit_bytes) object["memory"]["limit"] = *oci.memory.limit_bytes;
  if (oci.memory.swap_bytes) object["memory"]["swap"] = *oci.memory.swap_bytes;
  if (oci.memory.reservation_bytes) object["memory"]["reservation"] = *oci.memory.reservation_bytes;
  if (oci.pids_limit) object["pids"]["limit"] = *oci.pids_limit;
  object["hugepageLimits"] = json::array();
  for (const HugepageLimit& page : oci.hugepage_limits)
    object["hugepageLimits"].push_back({{"pageSize", page.page_size}, {"limit", page.limit_bytes}});
  return object;
}

std::string_view role_name(ContainerPlan::Role role) {
  switch (role) {
    case ContainerPlan::Role::regular:
      return "container";
    case ContainerPlan::Role::init:
      return "init";
    case ContainerPlan::Role::sidecar:
      return "sidecar";
  }
  return "";
}

json container_json(const ContainerPlan& plan) {
  json object = {{"cri", cri_json(plan.cri)},
                 {"oci", oci_json(plan.oci)},
                 {"oomScoreAdj", plan.cri.oom_score_adj},
                 {"cgroup2", files_json(plan.cgroup2)},
                 {"cgroup1", files_json(plan.cgroup1)}};
  object["cgroup2"]["cpu.weight"] = {{"linear", std::to_string(plan.weight_linear)},
                                     {"quadratic", std::to_string(plan.weight_quadratic)}};
  if (!plan.kernel_readback.empty()) object["kernelReadback"] = files_json(plan.kernel_readback);
  return object;
}

json config_json(const PodConfig& config) {
  json object = {{"cpuShares", config.cpu_shares}};
  if (config.cpu_quota_us) object["cpuQuota"] = *config.cpu_quota_us;
  if (config.cpu_period_us) object["cpuPeriod"] = *config.cpu_period_us;
  if (config.memory_bytes) object["memory"] = *config.memory_bytes;
  if (config.pids_limit) object["pidsLimit"] = *config.pids_limit;
  if (!config.unified.empty()) object["unified"] = config.unified;
  return object;
}

json traps_json(const std::vector<Trap>& traps) {
  json array = json::array();
  for (const Trap& trap : traps)
    array.push_back({{"level", trap.level == Trap::Level::warning ? "warning" : "note"},
                     {"id", trap.id},
                     {"pointer", trap.pointer},
                     {"message", trap.message}});
  return array;
}

json plan_json(const PodPlan& plan) {
  json object = {
      {"name", plan.pod.name},
      {"uid", plan.pod.uid},
      {"qosClass", to_string(plan.qos)},
      {"cgroup", {{"cgroupfs", paths_json(plan.cgroupfs)}, {"systemd", paths_json(plan.systemd)}}},
      {"effective",
       {{"requests", amounts_json(plan.requests)}, {"limits", amounts_json(plan.limits)}}},
      {"podConfig", config_json(plan.config)},
      {"podCgroup",
       {{"v2", files_json(plan.pod_cgroup2)},
        {"v1", files_json(plan.pod_cgroup1)},
        {"cpuWeightIfQuadratic", std::to_string(plan.pod_weight_if_quadratic)}}},
      {"containers", json::object()}};
  json roles = json::object(), reasons = json::object();
  for (const ContainerPlan& container : plan.containers) {
    object["containers"][container.name] = container_json(container);
    roles[container.name] = role_name(container.role);
    reasons[container.name] = reasons_json(container.cgroup2);
  }
  object["roles"] = std::move(roles);
  object["reasons"] = {{"pod", reasons_json(plan.pod_cgroup2)}, {"containers", reasons}};
  object["traps"] = traps_json(plan.traps);
  return object;
}

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string plans_json(const std::vector<PodPlan>& plans) {
  if (plans.size() == 1) return dump(plan_json(plans.front()), 2) + "\n";
  json array = json::array();
  for (const PodPlan& plan : plans) array.push_back(plan_json(plan));
  return dump(array, 2) + "\n";
}

std::string oci_resources_json(const Resources& resources) {
  return dump(oci_json(resources), -1);
}

}  // namespace minirun::kubernetes
