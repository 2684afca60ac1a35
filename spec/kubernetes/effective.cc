// Owns: the arithmetic over lists of resources. Quantities are added exactly before anything is
// rounded, as upstream does: two containers of 0.5m are 1m, not 2m.
// Must not: drop an overflow; a sum beyond the range is an error.
#include "spec/kubernetes/effective.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

namespace minirun::kubernetes {

namespace {

constexpr std::int32_t critical_priority = 2'000'000'000;
constexpr std::string_view node_critical_class = "system-node-critical";
constexpr std::string_view cluster_critical_class = "system-cluster-critical";

const ResourceList& pick(const ResourceRequirements& resources, Which which) {
  return which == Which::requests ? resources.requests : resources.limits;
}

std::set<std::string> names_in(const PodManifest& pod, Which which) {
  std::set<std::string> names;
  for (const auto* list : {&pod.init_containers, &pod.containers})
    for (const Container& container : *list)
      for (const auto& [name, amount] : pick(container.resources, which)) names.insert(name);
  return names;
}

Status add(Quantity& sum, const Quantity& amount, std::string_view what) {
  auto result = sum.plus(amount);
  if (!result) return std::unexpected(std::move(result).error().in(std::string(what)));
  sum = *std::move(result);
  return {};
}

/// Sum with its terms as text: "a 500m + b 250m".
struct Terms {
  Quantity sum;
  std::vector<std::string> texts;
  Status push(const std::string& label, const Quantity& amount) {
    texts.push_back(fmt::format("{} {}", label, amount.canonical()));
    return add(sum, amount, label);
  }
  [[nodiscard]] std::string text() const {
    std::string line = fmt::format("{}", fmt::join(texts, " + "));
    if (texts.size() > 1) line += " = " + sum.canonical();
    return line;
  }
};

/// One resource over all containers.
Result<std::pair<Quantity, std::string>> aggregate(const PodManifest& pod, Which which,
                                                   const std::string& name) {
  Terms running;
  Quantity largest_init;
  std::vector<std::string> steps;
  for (const Container& container : pod.init_containers) {
    const Quantity* amount = find(pick(container.resources, which), name);
    if (amount == nullptr) continue;
    if (container.sidecar) {
      TRY(running.push("sidecar " + container.name, *amount));
      largest_init = std::max(largest_init, running.sum);
      continue;
    }
    Terms step = running;
    TRY(step.push("init " + container.name, *amount));
    largest_init = std::max(largest_init, step.sum);
    steps.push_back(step.text());
  }
  for (const Container& container : pod.containers)
    if (const Quantity* amount = find(pick(container.resources, which), name))
      TRY(running.push(container.name, *amount));
  const Quantity most = std::max(largest_init, running.sum);
  if (steps.empty()) return std::pair(most, running.text());
  steps.push_back(running.texts.empty() ? "containers 0" : running.text());
  return std::pair(most, fmt::format("max({}) = {}", fmt::join(steps, "; "), most.canonical()));
}

Status default_pod_limits(PodManifest& pod) {
  for (const char* name : {"cpu", "memory"}) {
    if (find(pod.resources->limits, name) != nullptr) continue;
    bool all = true;
    for (const auto* list : {&pod.init_containers, &pod.containers})
      for (const Container& container : *list)
        all = all && positive(container.resources.limits, name);
    if (!all) continue;
    const auto [amount, text] = TRY(aggregate(pod, Which::limits, name));
    pod.resources->limits.emplace(name, amount);
  }
  return {};
}

Status default_pod_requests(PodManifest& pod) {
  if (pod.resources->limits.empty()) return {};
  ResourceList& requests = pod.resources->requests;
  const Effective containers = TRY(aggregated(pod, Which::requests));
  // Hugepages cannot be overcommitted: their request is the limit, never a sum.
  for (const char* name : {"cpu", "memory"})
    if (const Quantity* amount = find(containers.amounts, name)) requests.emplace(name, *amount);
  for (const auto& [name, limit] : pod.resources->limits) requests.emplace(name, limit);
  return {};
}

bool static_or_mirror(const PodManifest& pod) {
  const auto source = pod.annotations.find("kubernetes.io/config.source");
  return pod.annotations.contains("kubernetes.io/config.mirror") ||
         (source != pod.annotations.end() && source->second != "api");
}

}  // namespace

std::string_view to_string(QosClass qos) {
  switch (qos) {
    case QosClass::guaranteed:
      return "Guaranteed";
    case QosClass::burstable:
      return "Burstable";
    case QosClass::best_effort:
      return "BestEffort";
  }
  return {};
}

const Quantity* find(const ResourceList& list, std::string_view name) {
  const auto it = list.find(std::string(name));
  return it == list.end() ? nullptr : &it->second;
}

bool positive(const ResourceList& list, std::string_view name) {
  const Quantity* amount = find(list, name);
  return amount != nullptr && *amount > Quantity{};
}

Result<PodManifest> with_defaults(PodManifest pod, const NodeFacts& node) {
  for (auto* list : {&pod.init_containers, &pod.containers})
    for (Container& container : *list)
      for (const auto& [name, limit] : container.resources.limits)
        container.resources.requests.emplace(name, limit);
  if (!pod.resources || pod.resources->empty()) return pod;
  if (node.pod_level_limit_defaulting) TRY(default_pod_limits(pod));
  TRY(default_pod_requests(pod));
  return pod;
}

Result<QosClass> qos_class(const PodManifest& pod) {
  std::vector<const ResourceRequirements*> entries;
  if (pod.resources && !pod.resources->empty()) {
    entries.push_back(&*pod.resources);
  } else {
    for (const auto* list : {&pod.containers, &pod.init_containers})
      for (const Container& container : *list) entries.push_back(&container.resources);
  }
  bool anything = false;
  bool guaranteed = true;
  for (const char* name : {"cpu", "memory"}) {
    Quantity requests;
    Quantity limits;
    for (const ResourceRequirements* entry : entries) {
      if (positive(entry->requests, name)) TRY(add(requests, entry->requests.at(name), name));
      if (positive(entry->limits, name))
        TRY(add(limits, entry->limits.at(name), name));
      else
        guaranteed = false;
    }
    anything = anything || !requests.zero() || !limits.zero();
    guaranteed = guaranteed && requests == limits;
  }
  if (!anything) return QosClass::best_effort;
  return guaranteed ? QosClass::guaranteed : QosClass::burstable;
}

Result<Effective> aggregated(const PodManifest& pod, Which which) {
  Effective result;
  for (const std::string& name : names_in(pod, which)) {
    auto [amount, text] = TRY(aggregate(pod, which, name));
    result.amounts.emplace(name, amount);
    result.formulas.emplace(name, std::move(text));
  }
  return result;
}

Result<Effective> effective(const PodManifest& pod, Which which) {
  Effective result = TRY(aggregated(pod, which));
  if (pod.resources) {
    for (const auto& [name, amount] : pick(*pod.resources, which)) {
      result.amounts[name] = amount;
      result.formulas[name] = "pod-level " + amount.canonical();
    }
  }
  for (const auto& [name, extra] : pod.overhead) {
    if (which == Which::limits && !positive(result.amounts, name)) continue;
    Quantity& amount = result.amounts[name];
    TRY(add(amount, extra, "overhead of " + name));
    std::string& text = result.formulas[name];
    text = fmt::format("{}{}overhead {} = {}", text, text.empty() ? "" : " + ", extra.canonical(),
                       amount.canonical());
  }
  return result;
}

Result<std::vector<std::string>> without_limit(const PodManifest& pod, std::string_view resource) {
  std::vector<std::string> missing;
  if (pod.resources && positive(pod.resources->limits, resource)) return missing;
  bool sidecar_limited = false;
  for (const Container& container : pod.init_containers) {
    const bool own = positive(container.resources.limits, resource);
    if (!own && !sidecar_limited) missing.push_back(container.name);
    sidecar_limited = sidecar_limited || (container.sidecar && own);
  }
  for (const Container& container : pod.containers)
    if (!positive(container.resources.limits, resource)) missing.push_back(container.name);
  return missing;
}

bool critical(const PodManifest& pod) {
  // The admission controller sets these two priorities; a manifest often has the class only.
  const bool by_class = pod.priority_class_name == node_critical_class ||
                        pod.priority_class_name == cluster_critical_class;
  const bool by_priority = pod.priority ? *pod.priority >= critical_priority : by_class;
  return by_priority || static_or_mirror(pod);
}

bool node_critical(const PodManifest& pod) {
  return critical(pod) && pod.priority_class_name == node_critical_class;
}

std::int64_t hugepage_size_bytes(std::string_view resource) {
  constexpr std::string_view prefix = "hugepages-";
  if (!resource.starts_with(prefix)) return 0;
  const auto size = parse_quantity(resource.substr(prefix.size()));
  if (!size || size->negative() || size->fractional()) return 0;
  return size->value().value_or(0);
}

std::string hugepage_size_name(std::string_view resource) {
  std::int64_t bytes = hugepage_size_bytes(resource);
  if (bytes == 0) return {};
  constexpr std::array<const char*, 6> units = {"B", "KB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  for (; bytes % 1024 == 0 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  return fmt::format("{}{}", bytes, units.at(unit));
}

}  // namespace minirun::kubernetes
