// Owns: the way from a pod's plan to words: which field each value is from, its OCI name, its v1
// name, and the levels above the containers.
// Must not: compute a value.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/explain.h"

namespace minirun {
namespace {

using namespace kubernetes;  // NOLINT: this file is about nothing else

std::string dotted(std::string_view pointer) {
  std::string text;
  for (std::size_t at = 0; at < pointer.size();) {
    const std::size_t end = std::min(pointer.find('/', at + 1), pointer.size());
    const std::string_view token = pointer.substr(at + 1, end - at - 1);
    const bool index = !token.empty() && token.find_first_not_of("0123456789") == token.npos;
    text +=
        index ? fmt::format("[{}]", token) : fmt::format("{}{}", text.empty() ? "" : ".", token);
    at = end;
  }
  return text;
}

/// The resource and the list that a file is made from; an empty resource: not from a quantity.
struct Source {
  std::string resource;
  bool request = false;
};
Source source_of(const std::string& file) {
  if (file == "cpu.weight") return {"cpu", true};
  if (file == "cpu.max") return {"cpu", false};
  if (file == "memory.max") return {"memory", false};
  if (file == "memory.min" || file == "memory.low" || file == "memory.high")
    return {"memory", true};
  if (file.starts_with("hugetlb.")) {
    const std::string size = file.substr(8, file.find('.', 8) - 8);
    if (size.size() < 3) return {};
    return {"hugepages-" + size.substr(0, size.size() - 1) + "i", false};
  }
  return {};
}

std::string v1_name(const std::string& file) {
  if (file == "cpu.weight") return "cpu.shares";
  if (file == "cpu.max") return "cpu.cfs_quota_us";
  if (file == "memory.max") return "memory.limit_in_bytes";
  if (file == "memory.swap.max") return "memory.memsw.limit_in_bytes";
  if (file == "memory.low") return "memory.soft_limit_in_bytes";
  if (file == "pids.max") return "pids.max";
  if (file.starts_with("hugetlb.") && !file.ends_with(".rsvd.max"))
    return file.substr(0, file.size() - 3) + "limit_in_bytes";
  return "";
}

const Container* find_container(const PodManifest& pod, std::string_view name) {
  for (const auto* list : {&pod.init_containers, &pod.containers})
    for (const Container& container : *list)
      if (container.name == name) return &container;
  return nullptr;
}

/// What the user wrote that `file` comes from.
std::string field_of(const std::string& file, const PodManifest& pod, const Container& container) {
  const Source source = source_of(file);
  if (source.resource.empty()) {
    if (file == "memory.swap.max") return "the node's swapBehavior";
    if (file == "memory.oom.group") return "the node's singleProcessOOMKill";
    return "";
  }
  const std::string base = dotted(container.pointer) + ".resources.";
  const Quantity* request = find(container.resources.requests, source.resource);
  const Quantity* limit = find(container.resources.limits, source.resource);
  if (source.request && request != nullptr)
    return fmt::format("{}requests.{}: {}", base, source.resource, request->canonical());
  if (limit != nullptr)
    return fmt::format("{}limits.{}: {}{}", base, source.resource, limit->canonical(),
                       source.request ? " (no request: it takes the limit)" : "");
  if (pod.resources)
    if (const Quantity* own = find(pod.resources->limits, source.resource))
      return fmt::format("spec.resources.limits.{}: {} (pod-level)", source.resource,
                         own->canonical());
  return fmt::format("no {}{}.{}", base, source.request ? "requests" : "limits", source.resource);
}

std::string pod_field_of(const std::string& file, const PodManifest& written) {
  const Source source = source_of(file);
  if (source.resource.empty())
    return file == "pids.max" ? "the node's podPidsLimit" : std::string();
  const char* list = source.request ? "requests" : "limits";
  if (written.resources) {
    const auto& stanza = source.request ? written.resources->requests : written.resources->limits;
    if (const Quantity* own = find(stanza, source.resource))
      return fmt::format("spec.resources.{}.{}: {}", list, source.resource, own->canonical());
  }
  return fmt::format("spec.containers[*].resources.{}.{}", list, source.resource);
}

void add_values(ExplainedGroup& group, const PlannedFiles& v2, const PlannedFiles& v1) {
  for (const auto& [file, planned] : v2) {
    ExplainedValue value{.file = file,
                         .value = planned.value,
                         .v1_file = v1_name(file),
                         .formula = planned.formula,
                         .writer = planned.writer,
                         .effect = effect_of(file, planned.value)};
    if (const auto it = v1.find(value.v1_file); it != v1.end()) value.v1_value = it->second.value;
    group.values.push_back(std::move(value));
  }
  std::ranges::stable_sort(group.values, {},
                           [](const ExplainedValue& v) { return explained_rank(v.file); });
}

std::string role_title(const ContainerPlan& plan) {
  switch (plan.role) {
    case ContainerPlan::Role::regular:
      return "container " + plan.name;
    case ContainerPlan::Role::init:
      return "init container " + plan.name;
    case ContainerPlan::Role::sidecar:
      return "sidecar " + plan.name;
  }
  return plan.name;
}

std::string oom_words(int adj) {
  if (adj <= -997) return "the machine's OOM killer takes it last";
  if (adj >= 1000) return "the machine's OOM killer takes it first";
  return "how early the machine's OOM killer takes it: -1000 never, 1000 first";
}

ExplainedGroup container_group(const PodPlan& plan, const ContainerPlan& container,
                               const PodManifest& written, const NodeFacts& node) {
  const bool systemd = node.driver == CgroupDriver::systemd;
  const std::string path = (systemd ? plan.systemd : plan.cgroupfs).container;
  ExplainedGroup group{.title = role_title(container), .path = path, .facts = {}, .values = {}};
  const auto formula = container.formulas.find("oomScoreAdj");
  group.facts.push_back(fmt::format(
      "oom_score_adj {}{}; {}", container.cri.oom_score_adj,
      formula == container.formulas.end() || formula->second.empty() ? "" : " = " + formula->second,
      oom_words(container.cri.oom_score_adj)));
  add_values(group, container.cgroup2, container.cgroup1);
  const Container* own = find_container(written, container.name);
  for (ExplainedValue& value : group.values) {
    value.oci = oci_field(value.file, container.oci);
    if (own != nullptr) value.field = field_of(value.file, written, *own);
    value.by_default = value.field.starts_with("no ") || value.field.starts_with("the node's");
    if (value.file == "cpu.weight")
      value.formula += fmt::format("  ({}: {})",
                                   node.container_weight == WeightFormula::quadratic
                                       ? "linear, runc < 1.3.2 and crun < 1.23"
                                       : "quadratic, runc >= 1.3.2 and crun >= 1.23",
                                   node.container_weight == WeightFormula::quadratic
                                       ? container.weight_linear
                                       : container.weight_quadratic);
    if (const auto it = container.kernel_readback.find(value.file);
        it != container.kernel_readback.end()) {
      value.formula += fmt::format("; the kernel keeps {} (pages)", it->second.value);
      value.effect = effect_of(value.file, it->second.value);
    }
  }
  return group;
}

std::optional<std::uint64_t> limit_in(const PlannedFiles& files, const char* file) {
  const auto it = files.find(file);
  return it == files.end() ? std::nullopt : parse_limit(it->second.value);
}

PathLevel level_of(std::string name, std::string path, const PlannedFiles& files) {
  PathLevel level{.name = std::move(name), .path = std::move(path)};
  if (const auto it = files.find("cpu.max"); it != files.end())
    level.cpus = parse_cpu_max(it->second.value);
  level.weight = limit_in(files, "cpu.weight");
  level.memory_max = limit_in(files, "memory.max");
  level.memory_min = limit_in(files, "memory.min");
  level.memory_low = limit_in(files, "memory.low");
  level.pids_max = limit_in(files, "pids.max");
  return level;
}

/// Who runs beside `container`: regular containers and sidecars; an init step runs with the
/// sidecars before it.
std::uint64_t weight_beside(const PodPlan& plan, const ContainerPlan& container, unsigned& count) {
  std::uint64_t sum = 0;
  const bool regular = container.role != ContainerPlan::Role::init;
  for (const ContainerPlan& other : plan.containers) {
    if (&other == &container && !regular) break;
    if (other.role == ContainerPlan::Role::init) continue;
    if (!regular && other.role != ContainerPlan::Role::sidecar) continue;
    sum += limit_in(other.cgroup2, "cpu.weight").value_or(0);
    ++count;
  }
  if (!regular) {
    sum += limit_in(container.cgroup2, "cpu.weight").value_or(0);
    ++count;
  }
  return sum;
}

class PodLevels {
 public:
  PodLevels(const std::vector<PodPlan>& plans, const NodeFile& node) : plans_(plans), node_(node) {
    std::vector<TierPod> pods;
    for (const PodPlan& plan : plans) {
      const Quantity* cpu = find(plan.requests.amounts, "cpu");
      const Quantity* memory = find(plan.requests.amounts, "memory");
      pods.push_back({plan.qos, cpu == nullptr ? 0 : cpu->milli_value().value_or(0),
                      memory == nullptr ? 0 : memory->value().value_or(0)});
    }
    if (const auto tiers = plan_qos_tiers(pods, node.facts)) tiers_ = *tiers;
  }

  EffectivePath of(const PodPlan& plan, const ContainerPlan& container) const {
    const bool systemd = node_.facts.driver == CgroupDriver::systemd;
    const CgroupPaths& paths = systemd ? plan.systemd : plan.cgroupfs;
    EffectivePath path{.who = container.name, .levels = {}, .conclusions = {}};
    PathLevel own = level_of("the container", paths.container, container.cgroup2);
    unsigned beside = 0;
    const std::uint64_t sum = weight_beside(plan, container, beside);
    if (own.weight && sum > 0) {
      own.share = static_cast<double>(*own.weight) / static_cast<double>(sum);
      own.among = fmt::format("the pod's time ({} of {})", *own.weight, sum);
    }
    path.levels.push_back(std::move(own));
    path.levels.push_back(pod_level(plan, paths.pod));
    tier_level(path, plan, paths.pod);
    path.levels.push_back(kubepods());
    conclude(path);
    if (plans_.size() == 1)
      path.conclusions.emplace_back(
          "above the pod the weights of the other pods decide; name them in the same file to see");
    return path;
  }

 private:
  PathLevel pod_level(const PodPlan& plan, const std::string& pod_path) const {
    PathLevel level = level_of("the pod", pod_path, plan.pod_cgroup2);
    std::uint64_t sum = 0;
    for (const PodPlan& other : plans_)
      if (other.qos == plan.qos) sum += limit_in(other.pod_cgroup2, "cpu.weight").value_or(0);
    if (plans_.size() > 1 && level.weight && sum > 0) {
      level.share = static_cast<double>(*level.weight) / static_cast<double>(sum);
      level.among = fmt::format("the {} pods ({} of {})", to_string(plan.qos), *level.weight, sum);
    }
    return level;
  }

  void tier_level(EffectivePath& path, const PodPlan& plan, const std::string& pod_path) const {
    if (plan.qos == QosClass::guaranteed) return;  // directly below kubepods
    const bool burstable = plan.qos == QosClass::burstable;
    PathLevel level = level_of(burstable ? "the burstable tier" : "the besteffort tier",
                               pod_path.substr(0, pod_path.rfind('/')),
                               burstable ? tiers_.burstable : tiers_.best_effort);
    if (!level.weight)
      level.weight = shares_to_weight(
          burstable ? tiers_.burstable_shares : tiers_.best_effort_shares, WeightFormula::linear);
    path.levels.push_back(std::move(level));
  }

  PathLevel kubepods() const {
    NodeAllocatable allocatable;
    allocatable.cpu_milli = node_.allocatable_cpu_milli.value_or(0);
    allocatable.memory_bytes = node_.facts.allocatable_memory_bytes;
    const KubepodsPlan plan = plan_kubepods(allocatable);
    const bool systemd = node_.facts.driver == CgroupDriver::systemd;
    PathLevel level = level_of("kubepods", systemd ? "/kubepods.slice" : "/kubepods", plan.files);
    if (!node_.allocatable_cpu_milli) level.weight.reset();
    return level;
  }

  const std::vector<PodPlan>& plans_;
  const NodeFile& node_;
  QosTiers tiers_;
};

ExplainedGroup pod_group(const PodPlan& plan, const PodManifest& written, const NodeFacts& node) {
  const bool systemd = node.driver == CgroupDriver::systemd;
  ExplainedGroup group{.title = "pod cgroup",
                       .path = (systemd ? plan.systemd : plan.cgroupfs).pod,
                       .facts = {},
                       .values = {}};
  add_values(group, plan.pod_cgroup2, plan.pod_cgroup1);
  for (ExplainedValue& value : group.values) {
    value.field = pod_field_of(value.file, written);
    value.by_default = value.file.starts_with("hugetlb.") && value.value == "0";
    // Who is a sibling of a pod is another pod.
    if (value.file == "cpu.weight" && plan.pod_weight_if_quadratic != 0)
      value.formula +=
          fmt::format("  (by the quadratic formula it would be {})", plan.pod_weight_if_quadratic);
  }
  for (const char* file : {"cpu.max", "memory.max"})
    if (!plan.pod_cgroup2.contains(file))
      group.facts.push_back(fmt::format("{} is not written: no cap for the pod as a whole", file));
  return group;
}

std::string amounts(const Effective& effective) {
  std::string text;
  for (const auto& [name, amount] : effective.amounts)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, amount.canonical());
  return text.empty() ? "none" : text;
}

}  // namespace

std::vector<Explanation> explain_pods(const std::vector<PodPlan>& plans,
                                      const std::vector<PodManifest>& written,
                                      const NodeFile& node) {
  std::vector<Explanation> result;
  const PodLevels levels(plans, node);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const PodPlan& plan = plans[i];
    const PodManifest& manifest = written[i];
    Explanation one;
    one.title = fmt::format("pod {}   QoS {}", plan.pod.name.empty() ? "(no name)" : plan.pod.name,
                            to_string(plan.qos));
    one.facts.push_back(
        fmt::format("requests {}; limits {}", amounts(plan.requests), amounts(plan.limits)));
    for (const auto* effective : {&plan.requests, &plan.limits})
      for (const auto& [name, formula] : effective->formulas)
        if (!formula.empty() && formula.find('+') != std::string::npos)
          one.facts.push_back(fmt::format(
              "{} {}: {}", effective == &plan.requests ? "requests" : "limits", name, formula));
    one.groups.push_back(pod_group(plan, manifest, node.facts));
    for (const ContainerPlan& container : plan.containers)
      one.groups.push_back(container_group(plan, container, manifest, node.facts));
    for (const ContainerPlan& container : plan.containers)
      one.paths.push_back(levels.of(plan, container));
    one.traps = plan.traps;
    result.push_back(std::move(one));
  }
  return result;
}

}  // namespace minirun
