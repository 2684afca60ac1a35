// Owns: the memory side of the plan that is not memory.max: oom_score_adj, swap, MemoryQoS, the
// group kill. Section 4 of the reference.
// Must not: use floating point where upstream does not; memory.high and swap are float64 there.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "spec/kubernetes/plan_parts.h"

namespace minirun::kubernetes {

namespace {

constexpr int guaranteed_adj = -997;
constexpr int best_effort_adj = 1000;
constexpr int burstable_floor = 1000 + guaranteed_adj;  // 3

bool is_sidecar(const PodManifest& pod, const Container& container) {
  return container.sidecar &&
         std::any_of(pod.init_containers.begin(), pod.init_containers.end(),
                     [&](const Container& other) { return &other == &container; });
}

/// What a pod-level request has beyond the containers' own, per container.
Result<std::int64_t> extra_request(const PodManifest& pod) {
  if (!pod.resources || pod.resources->requests.empty()) return 0;
  const Effective containers = TRY(aggregated(pod, Which::requests));
  const std::int64_t own = TRY(bytes_of(containers.amounts, "memory"));
  const std::int64_t whole = find(pod.resources->requests, "memory") != nullptr
                                 ? TRY(bytes_of(pod.resources->requests, "memory"))
                                 : own;
  const auto count = static_cast<std::int64_t>(pod.containers.size() + pod.init_containers.size());
  return count == 0 ? 0 : std::max<std::int64_t>(0, whole - own) / count;
}

std::int64_t burstable_adj(std::int64_t request, std::int64_t extra, std::int64_t capacity) {
  const Int128 points = Int128{1000} * (Int128{request} + extra) / capacity;
  return static_cast<std::int64_t>(1000 - std::min<Int128>(points, 1'000'000));
}

/// float64 on purpose: int64(float64) of Go, and saturating where Go would be undefined.
std::int64_t truncated(double value) {
  constexpr double top = 9.2e18;
  return value >= top ? std::numeric_limits<std::int64_t>::max() : static_cast<std::int64_t>(value);
}

std::string swap_value(const PodManifest& pod, const Container& container, QosClass qos,
                       std::int64_t request, const NodeFacts& node, std::string& formula) {
  if (node.swap_behavior == SwapBehavior::no_swap) {
    formula = "swapBehavior NoSwap";
    return "0";
  }
  const Quantity* requested = find(container.resources.requests, "memory");
  const Quantity* limit = find(container.resources.limits, "memory");
  const Quantity zero;
  if (qos != QosClass::burstable)
    formula = "LimitedSwap gives none to a " + std::string(to_string(qos)) + " pod";
  else if (critical(pod))
    formula = "LimitedSwap gives none to a critical pod";
  else if (request == 0 && (limit == nullptr || limit->zero()))
    formula = "LimitedSwap gives none without a memory request";
  else if ((requested ? *requested : zero) == (limit ? *limit : zero))
    formula = "LimitedSwap gives none when request equals limit";
  if (!formula.empty()) return "0";
  if (node.memory_capacity_bytes <= 0) {
    formula = "the node's memory capacity is unknown";
    return "0";
  }
  const double share =
      static_cast<double>(request) / static_cast<double>(node.memory_capacity_bytes);
  const std::string value =
      std::to_string(truncated(share * static_cast<double>(node.swap_capacity_bytes)));
  formula = fmt::format("request {} / node memory {} * node swap {} = {}", request,
                        node.memory_capacity_bytes, node.swap_capacity_bytes, value);
  return value;
}

/// memory.high, 0 when it is not written.
std::int64_t memory_high(std::int64_t request, std::int64_t limit, const NodeFacts& node,
                         std::string& formula) {
  const MemoryQos& qos = node.memory_qos;
  if (!qos.throttling_factor) return 0;
  const double factor = *qos.throttling_factor;
  const std::int64_t ceiling = limit > 0 ? limit : node.allocatable_memory_bytes;
  const char* const what = limit > 0 ? "limit" : "allocatable";
  std::int64_t high = 0;
  if (qos.era == MemoryQos::Era::v1_22) {
    high = truncated(static_cast<double>(ceiling) * factor);
    formula = fmt::format("{} {} * {} = {}", what, ceiling, factor, high);
  } else {
    // Since 1.37 a BestEffort pod (0 == 0) is throttled as well.
    if (request == limit && (request != 0 || qos.era != MemoryQos::Era::v1_37)) return 0;
    const std::int64_t raw = truncated(
        std::floor(static_cast<double>(request) +
                   factor * (static_cast<double>(ceiling) - static_cast<double>(request))));
    high = page_floor(raw, node.page_size_bytes);
    formula = fmt::format("floor((request {} + {} * ({} {} - request)) / page {}) * page = {}",
                          request, factor, what, ceiling, node.page_size_bytes, high);
  }
  return high > request ? high : 0;
}

/// The file that protects a request of this class, empty when none does.
std::string protection_file(QosClass qos, const MemoryQos& memory_qos) {
  if (memory_qos.era == MemoryQos::Era::v1_22 || memory_qos.era == MemoryQos::Era::v1_27)
    return "memory.min";
  if (memory_qos.reservation != MemoryQos::Reservation::tiered) return {};
  if (qos == QosClass::guaranteed) return "memory.min";
  return qos == QosClass::burstable ? "memory.low" : "";
}

}  // namespace

void UnifiedValues::set(const std::string& name, std::string value, std::string formula) {
  values[name] = std::move(value);
  formulas[name] = std::move(formula);
}

Result<OomScore> oom_score_adj(const PodManifest& pod, const Container& container, QosClass qos,
                               const NodeFacts& node) {
  if (node_critical(pod)) return OomScore{guaranteed_adj, "system-node-critical: -997"};
  if (qos == QosClass::guaranteed) return OomScore{guaranteed_adj, "Guaranteed: -997"};
  if (qos == QosClass::best_effort) return OomScore{best_effort_adj, "BestEffort: 1000"};
  if (node.memory_capacity_bytes <= 0)
    return plain_error("node memory capacity", "has to be above 0 for oom_score_adj");
  const std::int64_t request = TRY(bytes_of(container.resources.requests, "memory"));
  const std::int64_t extra = TRY(extra_request(pod));
  const std::int64_t capacity = node.memory_capacity_bytes;
  std::int64_t adj = burstable_adj(request, extra, capacity);
  std::string formula =
      fmt::format("1000 - 1000 * {} / {} = {}",
                  extra == 0 ? std::to_string(request) : fmt::format("({} + {})", request, extra),
                  capacity, adj);
  if (is_sidecar(pod, container)) {
    std::int64_t smallest = std::numeric_limits<std::int64_t>::max();
    for (const Container& regular : pod.containers)
      smallest = std::min(smallest, TRY(bytes_of(regular.resources.requests, "memory")));
    const std::int64_t regular_adj = burstable_adj(smallest, extra, capacity);
    if (regular_adj < adj)
      formula += fmt::format("; sidecar, as the smallest container: {}", regular_adj);
    adj = std::min(adj, regular_adj);
  }
  if (adj < burstable_floor) {
    adj = burstable_floor;
    formula += "; Burstable is at least 3";
  } else if (adj == best_effort_adj) {
    adj = best_effort_adj - 1;
    formula += "; Burstable stays below BestEffort: 999";
  }
  return OomScore{static_cast<int>(adj), std::move(formula)};
}

Result<UnifiedValues> container_unified(const PodManifest& pod, const Container& container,
                                        QosClass qos, std::int64_t memory_limit_bytes,
                                        const NodeFacts& node) {
  UnifiedValues unified;
  if (!node.cgroup_v2) return unified;
  const std::int64_t request = TRY(bytes_of(container.resources.requests, "memory"));
  if (!node.single_process_oom_kill)
    unified.set("memory.oom.group", "1", "singleProcessOOMKill is false: one OOM kills all");
  if (node.swap_controller) {
    std::string formula;
    std::string value = swap_value(pod, container, qos, request, node, formula);
    unified.set("memory.swap.max", std::move(value), std::move(formula));
  }
  if (!node.memory_qos.enabled) return unified;
  const std::string file = protection_file(qos, node.memory_qos);
  if (!file.empty() && request > 0)
    unified.set(file, std::to_string(request), fmt::format("memory request {}", request));
  std::string formula;
  const std::int64_t high = memory_high(request, memory_limit_bytes, node, formula);
  if (high > 0) unified.set("memory.high", std::to_string(high), std::move(formula));
  return unified;
}

Result<UnifiedValues> pod_unified(const PodManifest& pod, QosClass qos, const Effective& requests,
                                  const Effective& limits, const NodeFacts& node) {
  UnifiedValues unified;
  if (!node.cgroup_v2 || !node.memory_qos.enabled) return unified;
  const std::int64_t request = TRY(bytes_of(requests.amounts, "memory"));
  const std::string file = protection_file(qos, node.memory_qos);
  if (!file.empty() && request > 0)
    unified.set(file, std::to_string(request),
                "effective memory request: " + requests.formulas.at("memory"));
  const bool pod_limited = pod.resources && positive(pod.resources->limits, "memory");
  if (node.memory_qos.era == MemoryQos::Era::v1_37 && pod_limited) {
    std::string formula;
    const std::int64_t limit = TRY(bytes_of(limits.amounts, "memory"));
    const std::int64_t high = memory_high(request, limit, node, formula);
    if (high > 0) unified.set("memory.high", std::to_string(high), std::move(formula));
  }
  return unified;
}

Result<QosTiers> plan_qos_tiers(const std::vector<TierPod>& pods, const NodeFacts& node) {
  Int128 milli = 0;
  Int128 guaranteed_bytes = 0;
  Int128 burstable_bytes = 0;
  for (const TierPod& pod : pods) {
    if (pod.qos == QosClass::burstable) {
      milli += pod.cpu_request_milli;
      burstable_bytes += pod.memory_request_bytes;
    } else if (pod.qos == QosClass::guaranteed) {
      guaranteed_bytes += pod.memory_request_bytes;
    }
  }
  constexpr Int128 top = std::numeric_limits<std::int64_t>::max();
  if (milli > top || guaranteed_bytes + burstable_bytes > top)
    return plain_error("kubepods", "the sum of the pods' requests does not fit in 64 bits");
  QosTiers tiers;
  tiers.burstable_shares = milli_cpu_to_shares(static_cast<std::int64_t>(milli));
  auto weight = [](std::uint64_t shares, std::string origin) {
    const std::uint64_t value = shares_to_weight(shares, WeightFormula::linear);
    return Planned{
        std::to_string(value),
        fmt::format("{}; 1 + ({} - 2) * 9999 / 262142 = {} (linear)", origin, shares, value),
        "kubelet"};
  };
  tiers.burstable["cpu.weight"] =
      weight(tiers.burstable_shares,
             "sum of burstable requests: " + shares_formula(static_cast<std::int64_t>(milli)));
  tiers.best_effort["cpu.weight"] = weight(tiers.best_effort_shares, "always 2 shares");
  if (!node.cgroup_v2 || !node.memory_qos.enabled) return tiers;
  const std::string file = protection_file(QosClass::burstable, node.memory_qos);
  const auto burstable = static_cast<std::int64_t>(burstable_bytes);
  const auto both = static_cast<std::int64_t>(guaranteed_bytes + burstable_bytes);
  if (file.empty()) {
    tiers.kubepods["memory.min"] = {"0", "reservation policy None", "kubelet"};
    return tiers;
  }
  tiers.burstable[file] = {std::to_string(burstable), "sum of burstable memory requests",
                           "kubelet"};
  tiers.kubepods["memory.min"] = {std::to_string(both),
                                  "sum of guaranteed and burstable memory requests", "kubelet"};
  return tiers;
}

KubepodsPlan plan_kubepods(const NodeAllocatable& allocatable) {
  KubepodsPlan plan;
  plan.cpu_shares = milli_cpu_to_shares(allocatable.cpu_milli);
  const std::uint64_t weight = shares_to_weight(plan.cpu_shares, WeightFormula::linear);
  plan.files["cpu.weight"] = {
      std::to_string(weight),
      fmt::format("{}; 1 + ({} - 2) * 9999 / 262142 = {} (linear)",
                  shares_formula(allocatable.cpu_milli), plan.cpu_shares, weight),
      "kubelet"};
  if (allocatable.memory_bytes)
    plan.files["memory.max"] = {std::to_string(*allocatable.memory_bytes),
                                "capacity - kubeReserved - systemReserved", "kubelet"};
  if (allocatable.pids)
    plan.files["pids.max"] = {std::to_string(*allocatable.pids), "node pids less reserved",
                              "kubelet"};
  return plan;
}

}  // namespace minirun::kubernetes
