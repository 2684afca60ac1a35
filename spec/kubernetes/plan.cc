// Owns: putting the pod's plan together: amounts, CRI, OCI, files, paths.
// Must not: know what a user should rather have written; traps.cc does.
#include "spec/kubernetes/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "spec/kubernetes/oci_files.h"
#include "spec/kubernetes/plan_parts.h"

namespace minirun::kubernetes {

namespace {

constexpr std::string_view kubelet = "kubelet";
constexpr std::string_view runtime = "runtime, asked by the kubelet";

std::string joined(const std::string& first, const std::string& second) {
  if (first.empty()) return second;
  return second.empty() ? first : first + "; " + second;
}

std::string underscored(std::string_view text) {
  std::string result(text);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

std::string_view tier(QosClass qos) {
  if (qos == QosClass::burstable) return "burstable";
  return qos == QosClass::best_effort ? "besteffort" : "";
}

/// Every size of the node in the order of the names, 0 unless the list names it.
Result<std::vector<HugepageLimit>> hugepages(const ResourceList& list, const NodeFacts& node) {
  std::vector<HugepageLimit> limits;
  for (const std::string& size : node.huge_page_sizes) limits.push_back({size, 0});
  std::ranges::sort(limits, {}, &HugepageLimit::page_size);
  for (const auto& [name, amount] : list) {
    const std::string size = hugepage_size_name(name);
    for (HugepageLimit& limit : limits)
      if (limit.page_size == size)
        limit.limit_bytes = static_cast<std::uint64_t>(TRY(bytes_of(list, name)));
  }
  return limits;
}

/// The CPU side of the CRI message.
Status plan_cpu(ContainerPlan& plan, const PodManifest& pod, const Container& container,
                const NodeFacts& node) {
  const Quantity* request = find(container.resources.requests, "cpu");
  const Quantity* limit = enforced_limit(pod, container, "cpu");
  const bool from_limit = request == nullptr && limit != nullptr;
  const Quantity amount = from_limit ? *limit : request != nullptr ? *request : Quantity{};
  const std::int64_t milli = TRY(amount.milli_value());
  plan.cri.cpu_shares = milli_cpu_to_shares(milli);
  plan.formulas["cpu.shares"] =
      fmt::format("{} {}: {}", from_limit ? "pod-level cpu limit" : "cpu request",
                  amount.canonical(), shares_formula(milli));
  if (!node.cpu_cfs_quota) {
    plan.formulas["cpu.quota"] = "cpuCFSQuota is false: no quota";
    return {};
  }
  plan.cri.cpu_period_us = node.cpu_cfs_period_us;
  const std::int64_t limit_milli = limit == nullptr ? 0 : TRY(limit->milli_value());
  plan.cri.cpu_quota_us = TRY(quota_of(limit_milli, node.cpu_cfs_period_us));
  plan.formulas["cpu.quota"] =
      limit_milli == 0 ? "no cpu limit"
                       : fmt::format("cpu limit {}: {}", limit->canonical(),
                                     quota_formula(limit_milli, node.cpu_cfs_period_us));
  const auto& exclusive = node.exclusive_cpu_containers;
  if (std::find(exclusive.begin(), exclusive.end(), container.name) != exclusive.end()) {
    plan.cri.cpu_quota_us = -1;
    plan.formulas["cpu.quota"] = "exclusive CPUs: no quota";
  }
  return {};
}

/// linux.resources as containerd and CRI-O derive them from the CRI message.
Resources oci_resources(const CriResources& cri, const NodeFacts& node) {
  Resources oci;
  oci.cpu.shares = cri.cpu_shares;
  if (cri.cpu_quota_us.value_or(0) != 0) oci.cpu.quota_us = cri.cpu_quota_us;
  oci.cpu.period_us = cri.cpu_period_us;
  oci.memory.limit_bytes = cri.memory_limit_bytes;
  // Both set swap to the limit (so: none) where the kernel can count it.
  if (cri.memory_limit_bytes && node.swap_controller)
    oci.memory.swap_bytes = cri.memory_limit_bytes;
  if (node.hugetlb_controller) oci.hugepage_limits = cri.hugepage_limits;
  oci.unified = cri.unified;
  return oci;
}

void plan_cgroup1(ContainerPlan& plan, const NodeFacts& node) {
  auto put = [&plan](const char* name, std::string value, const char* field) {
    plan.cgroup1[name] = {std::move(value), plan.formulas[field], std::string(runtime)};
  };
  const Resources& oci = plan.oci;
  put("cpu.shares", std::to_string(*oci.cpu.shares), "cpu.shares");
  if (oci.cpu.quota_us) {
    const std::uint64_t period = oci.cpu.period_us.value_or(cpu_period_default_us);
    const bool round = node.driver == CgroupDriver::systemd;
    put("cpu.cfs_quota_us",
        std::to_string(round ? systemd_rounded_quota_us(*oci.cpu.quota_us, period)
                             : *oci.cpu.quota_us),
        "cpu.quota");
  }
  if (oci.cpu.period_us) put("cpu.cfs_period_us", std::to_string(*oci.cpu.period_us), "cpu.quota");
  if (oci.memory.limit_bytes)
    put("memory.limit_in_bytes", std::to_string(*oci.memory.limit_bytes), "memory.limit");
  if (oci.memory.swap_bytes)
    put("memory.memsw.limit_in_bytes", std::to_string(*oci.memory.swap_bytes), "memory.limit");
  for (const HugepageLimit& page : oci.hugepage_limits)
    plan.cgroup1["hugetlb." + page.page_size + ".limit_in_bytes"] = {
        std::to_string(page.limit_bytes), "hugepages limit", std::string(runtime)};
}

void plan_cgroup2(ContainerPlan& plan, const NodeFacts& node) {
  FileOptions options;
  options.weight = node.container_weight;
  options.systemd_driver = node.driver == CgroupDriver::systemd;
  options.hugetlb_rsvd = node.writes_hugetlb_rsvd;
  const OciConversion conversion = to_cgroup2_files(plan.oci, {}, options);
  for (const OciFile& file : conversion.files) {
    std::string value;
    for (const std::string& line : file.lines) value += (value.empty() ? "" : "\n") + line;
    const auto origin = plan.formulas.find(file.source);
    plan.cgroup2[file.name] = {
        std::move(value),
        joined(origin == plan.formulas.end() ? std::string() : origin->second, file.formula),
        std::string(runtime)};
  }
  for (const char* name :
       {"memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max"}) {
    const auto file = plan.cgroup2.find(name);
    if (file == plan.cgroup2.end() || file->second.value == "max") continue;
    const std::int64_t written = std::strtoll(file->second.value.c_str(), nullptr, 10);
    const std::int64_t stored = page_floor(written, node.page_size_bytes);
    if (stored != written)
      plan.kernel_readback[name] = {
          std::to_string(stored),
          fmt::format("the kernel floors {} to pages of {}", written, node.page_size_bytes),
          "kernel"};
  }
}

/// ResourceConfig of the pod and the formulas of its parts.
Status plan_pod_config(PodPlan& plan, const NodeFacts& node) {
  const std::int64_t milli = TRY(milli_of(plan.requests.amounts, "cpu"));
  plan.config.cpu_shares =
      plan.qos == QosClass::best_effort ? cpu_shares_min : milli_cpu_to_shares(milli);
  const auto cpu_text = plan.requests.formulas.find("cpu");
  plan.config_formulas["cpuShares"] =
      plan.qos == QosClass::best_effort
          ? "BestEffort: 2 shares"
          : fmt::format("cpu request {}: {}",
                        cpu_text == plan.requests.formulas.end() ? "0" : cpu_text->second,
                        shares_formula(milli));
  if (node.pod_pids_limit > 0) {
    plan.config.pids_limit = node.pod_pids_limit;
    plan.config_formulas["pids"] = "podPidsLimit of the kubelet";
  }
  const UnifiedValues unified =
      TRY(pod_unified(plan.pod, plan.qos, plan.requests, plan.limits, node));
  plan.config.unified = unified.values;
  for (const auto& [name, formula] : unified.formulas) plan.config_formulas[name] = formula;
  if (plan.qos == QosClass::best_effort) return {};

  if (TRY(without_limit(plan.pod, "cpu")).empty()) {
    const std::int64_t limit = TRY(milli_of(plan.limits.amounts, "cpu"));
    plan.config.cpu_quota_us = TRY(quota_of(limit, node.cpu_cfs_period_us));
    plan.config.cpu_period_us = node.cpu_cfs_period_us;
    plan.config_formulas["cpuQuota"] = fmt::format("cpu limit {}: {}", plan.limits.formulas["cpu"],
                                                   quota_formula(limit, node.cpu_cfs_period_us));
    if (!node.cpu_cfs_quota || !node.exclusive_cpu_containers.empty()) {
      plan.config.cpu_quota_us = -1;
      plan.config_formulas["cpuQuota"] =
          node.cpu_cfs_quota ? "exclusive CPUs: no quota" : "cpuCFSQuota is false: no quota";
    }
  }
  if (TRY(without_limit(plan.pod, "memory")).empty()) {
    plan.config.memory_bytes = TRY(bytes_of(plan.limits.amounts, "memory"));
    plan.config_formulas["memory"] = "memory limit " + plan.limits.formulas["memory"];
  }
  return {};
}

/// The kubelet writes these itself, always with the linear weight.
Status plan_pod_files(PodPlan& plan, const NodeFacts& node) {
  const PodConfig& config = plan.config;
  Resources oci;
  oci.cpu.shares = config.cpu_shares;
  oci.cpu.quota_us = config.cpu_quota_us;
  oci.cpu.period_us = config.cpu_period_us;
  oci.memory.limit_bytes = config.memory_bytes;
  oci.pids_limit = config.pids_limit;
  oci.unified = config.unified;
  if (node.hugetlb_controller) oci.hugepage_limits = TRY(hugepages(plan.requests.amounts, node));
  for (const HugepageLimit& page : oci.hugepage_limits)
    plan.config_formulas["hugepageLimits." + page.page_size] =
        fmt::format("sum of hugepages requests: {} bytes", page.limit_bytes);
  FileOptions options;
  options.weight = WeightFormula::linear;
  options.systemd_driver = node.driver == CgroupDriver::systemd;
  std::map<std::string, std::string> origin = {{"cpu.shares", "cpuShares"},
                                               {"cpu.quota", "cpuQuota"},
                                               {"memory.limit", "memory"},
                                               {"pids.limit", "pids"}};
  for (const OciFile& file : to_cgroup2_files(oci, {}, options).files) {
    std::string key = origin.contains(file.source) ? origin[file.source] : file.source;
    if (key.starts_with("unified.")) key = file.name;
    const auto formula = plan.config_formulas.find(key);
    plan.pod_cgroup2[file.name] = {
        file.lines.empty() ? std::string() : file.lines.front(),
        joined(formula == plan.config_formulas.end() ? std::string() : formula->second,
               file.formula),
        std::string(kubelet)};
  }
  auto put = [&plan](const std::string& name, std::string value, const char* key) {
    plan.pod_cgroup1[name] = {std::move(value), plan.config_formulas[key], std::string(kubelet)};
  };
  put("cpu.shares", std::to_string(config.cpu_shares), "cpuShares");
  if (config.cpu_quota_us) {
    const std::int64_t quota =
        options.systemd_driver
            ? systemd_rounded_quota_us(*config.cpu_quota_us, *config.cpu_period_us)
            : *config.cpu_quota_us;
    put("cpu.cfs_quota_us", std::to_string(quota), "cpuQuota");
    put("cpu.cfs_period_us", std::to_string(*config.cpu_period_us), "cpuQuota");
  }
  if (config.memory_bytes)
    put("memory.limit_in_bytes", std::to_string(*config.memory_bytes), "memory");
  if (config.pids_limit) put("pids.max", std::to_string(*config.pids_limit), "pids");
  for (const HugepageLimit& page : oci.hugepage_limits)
    plan.pod_cgroup1["hugetlb." + page.page_size + ".limit_in_bytes"] = {
        std::to_string(page.limit_bytes), "sum of hugepages requests", std::string(kubelet)};
  plan.pod_weight_if_quadratic = shares_to_weight(config.cpu_shares, WeightFormula::quadratic);
  return {};
}

}  // namespace

std::int64_t page_floor(std::int64_t bytes, std::int64_t page_size_bytes) {
  return page_size_bytes <= 0 ? bytes : bytes / page_size_bytes * page_size_bytes;
}

Result<std::int64_t> bytes_of(const ResourceList& list, std::string_view name) {
  const Quantity* amount = find(list, name);
  if (amount == nullptr) return 0;
  auto value = amount->value();
  if (!value) return std::unexpected(std::move(value).error().in(std::string(name)));
  return value;
}

Result<std::int64_t> milli_of(const ResourceList& list, std::string_view name) {
  const Quantity* amount = find(list, name);
  if (amount == nullptr) return 0;
  auto value = amount->milli_value();
  if (!value) return std::unexpected(std::move(value).error().in(std::string(name)));
  return value;
}

Result<std::int64_t> quota_of(std::int64_t milli, std::uint64_t period_us) {
  const std::int64_t quota = milli_cpu_to_quota_us(milli, period_us);
  if (quota > cpu_quota_max_us)
    return plain_error("cpu limit",
                       fmt::format("{}m is a quota of {} us per {} us, the kernel takes at most {}",
                                   milli, quota, period_us, cpu_quota_max_us));
  return quota;
}

std::string shares_formula(std::int64_t milli) {
  const std::uint64_t shares = milli_cpu_to_shares(milli);
  return fmt::format("shares = clamp({} * 1024 / 1000, 2, 262144) = {}", milli, shares);
}

std::string quota_formula(std::int64_t milli, std::uint64_t period_us) {
  const std::int64_t quota = milli_cpu_to_quota_us(milli, period_us);
  return fmt::format("quota = max(1000, {} * {} / 1000) = {} us per {} us", milli, period_us, quota,
                     period_us);
}

const Quantity* enforced_limit(const PodManifest& pod, const Container& container,
                               std::string_view name) {
  if (positive(container.resources.limits, name)) return find(container.resources.limits, name);
  if (pod.resources && positive(pod.resources->limits, name))
    return find(pod.resources->limits, name);
  return nullptr;
}

Result<ContainerPlan> plan_container(const PodManifest& pod, const Container& container,
                                     QosClass qos, const NodeFacts& node) {
  ContainerPlan plan;
  plan.name = container.name;
  TRY(plan_cpu(plan, pod, container, node));
  std::int64_t memory = 0;
  if (const Quantity* limit = enforced_limit(pod, container, "memory")) {
    memory = TRY(limit->value());
    plan.cri.memory_limit_bytes = memory;
    const bool own = positive(container.resources.limits, "memory");
    plan.formulas["memory.limit"] =
        fmt::format("{} {} = {} bytes", own ? "memory limit" : "pod-level memory limit",
                    limit->canonical(), memory);
  }
  plan.cri.hugepage_limits = TRY(hugepages(container.resources.limits, node));
  for (const HugepageLimit& page : plan.cri.hugepage_limits)
    plan.formulas["hugepageLimits." + page.page_size] =
        fmt::format("hugepages limit of the container: {} bytes", page.limit_bytes);
  const OomScore oom = TRY(oom_score_adj(pod, container, qos, node));
  plan.cri.oom_score_adj = oom.value;
  plan.formulas["oomScoreAdj"] = oom.formula;
  UnifiedValues unified = TRY(container_unified(pod, container, qos, memory, node));
  plan.cri.unified = std::move(unified.values);
  for (auto& [name, formula] : unified.formulas)
    plan.formulas["unified." + name] = std::move(formula);
  plan.oci = oci_resources(plan.cri, node);
  plan.weight_linear = shares_to_weight(plan.cri.cpu_shares, WeightFormula::linear);
  plan.weight_quadratic = shares_to_weight(plan.cri.cpu_shares, WeightFormula::quadratic);
  plan_cgroup2(plan, node);
  plan_cgroup1(plan, node);
  return plan;
}

CgroupPaths cgroup_paths(QosClass qos, std::string_view uid, std::string_view container_id,
                         CgroupDriver driver, Cri cri) {
  const std::string_view level = tier(qos);
  if (driver == CgroupDriver::cgroupfs) {
    CgroupPaths paths;
    paths.pod = fmt::format("/kubepods{}{}/pod{}", level.empty() ? "" : "/", level, uid);
    paths.container =
        fmt::format("{}/{}{}", paths.pod, cri == Cri::cri_o ? "crio-" : "", container_id);
    paths.oci_cgroups_path = paths.container;
    return paths;
  }
  const std::string prefix =
      level.empty() ? std::string("kubepods") : fmt::format("kubepods-{}", level);
  const std::string slice = fmt::format("{}-pod{}.slice", prefix, underscored(uid));
  const std::string_view unit = cri == Cri::cri_o ? "crio" : "cri-containerd";
  CgroupPaths paths;
  paths.pod = "/kubepods.slice/" + (level.empty() ? slice : prefix + ".slice/" + slice);
  paths.container = fmt::format("{}/{}-{}.scope", paths.pod, unit, container_id);
  paths.oci_cgroups_path = fmt::format("{}:{}:{}", slice, unit, container_id);
  return paths;
}

const ContainerPlan* PodPlan::find(std::string_view name) const {
  for (const ContainerPlan& container : containers)
    if (container.name == name) return &container;
  return nullptr;
}

Result<PodPlan> plan_pod(const PodManifest& pod, const NodeFacts& node) {
  PodPlan plan;
  plan.pod = TRY(with_defaults(pod, node));
  plan.qos = TRY(qos_class(plan.pod));
  plan.requests = TRY(effective(plan.pod, Which::requests));
  plan.limits = TRY(effective(plan.pod, Which::limits));
  TRY(plan_pod_config(plan, node));
  TRY(plan_pod_files(plan, node));
  plan.cgroupfs =
      cgroup_paths(plan.qos, pod.uid, node.container_id, CgroupDriver::cgroupfs, node.cri);
  plan.systemd =
      cgroup_paths(plan.qos, pod.uid, node.container_id, CgroupDriver::systemd, node.cri);
  auto add = [&](const Container& container, ContainerPlan::Role role) -> Status {
    auto planned = plan_container(plan.pod, container, plan.qos, node);
    if (!planned)
      return std::unexpected(std::move(planned).error().in("container " + container.name));
    planned->role = role;
    plan.containers.push_back(*std::move(planned));
    return {};
  };
  for (const Container& container : plan.pod.init_containers)
    TRY(add(container,
            container.sidecar ? ContainerPlan::Role::sidecar : ContainerPlan::Role::init));
  for (const Container& container : plan.pod.containers)
    TRY(add(container, ContainerPlan::Role::regular));
  plan.traps = find_traps(pod, plan, node);
  return plan;
}

}  // namespace minirun::kubernetes
