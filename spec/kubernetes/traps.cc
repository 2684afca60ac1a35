// Owns: what surprises people in a manifest that is valid: sections 0 and 8 of the reference, one
// function per subject. A trap names the field, the number and what happens instead.
// Must not: repeat what is an error; validate.cc has those.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "spec/kubernetes/bandwidth.h"
#include "spec/kubernetes/plan_parts.h"

namespace minirun::kubernetes {

namespace {

constexpr std::int64_t mebibyte = 1 << 20;
constexpr std::int64_t smallest_start_bytes = 6 * mebibyte;  // runc's init, moby#41167
constexpr std::int64_t crio_smallest_bytes = 12 * mebibyte;  // CRI-O refuses below

class Finder {
 public:
  Finder(const PodManifest& written, const PodPlan& plan, const NodeFacts& node)
      : written_(written), plan_(plan), node_(node) {}

  std::vector<Trap> run() {
    for (const auto* list : {&written_.init_containers, &written_.containers})
      for (std::size_t i = 0; i < list->size(); ++i) {
        const Container& container = (*list)[i];
        const bool init = list == &written_.init_containers;
        here_ = !container.pointer.empty()
                    ? container.pointer
                    : fmt::format("/spec/{}/{}", init ? "initContainers" : "containers", i);
        spelling(container.resources);
        cpu(container);
        memory(container);
        other_resources(container);
      }
    here_ = "/spec";
    if (written_.resources) spelling(*written_.resources);
    pod_cap("cpu", "cpu.max");
    pod_cap("memory", "memory.max");
    pod_level();
    weights();
    quota_rounding_of_the_pod();
    memory_qos();
    volumes();
    bandwidth();
    pids();
    return std::move(traps_);
  }

 private:
  void add(Trap::Level level, std::string id, const std::string& where, std::string message) {
    traps_.push_back({level, std::move(id), here_ + where, std::move(message)});
  }

  static std::string at(const char* kind, std::string_view name) {
    return fmt::format("/resources/{}/{}", kind, name);
  }

  void spelling(const ResourceRequirements& resources) {
    for (const auto* list : {&resources.requests, &resources.limits})
      for (const auto& [name, amount] : *list) {
        const std::string where = at(list == &resources.limits ? "limits" : "requests", name);
        if (amount.without_digits())
          add(Trap::Level::warning, "no-digits", where,
              "the quantity has no digits; Kubernetes reads it as 0, that is: no limit");
        if (amount.capped())
          add(Trap::Level::warning, "capped", where,
              "more than 2^63-1 with a binary suffix; Kubernetes cuts it to 9223372036854775807");
        if (name == "cpu" && amount.finer_than_milli())
          add(Trap::Level::warning, "cpu-finer-than-1m", where,
              fmt::format("{} is finer than 1m and is rounded up to {}m", amount.canonical(),
                          amount.milli_value().value_or(0)));
        if (name != "cpu" && amount.fractional())
          add(Trap::Level::warning, "fractional-bytes", where,
              fmt::format("{} is a fraction of a byte, rounded up to {} bytes{}",
                          amount.canonical(), amount.value().value_or(0),
                          amount.canonical().ends_with('m')
                              ? "; \"m\" is a thousandth, \"M\" is 10^6"
                              : ""));
        else if (name == "memory" && amount.format() == Quantity::Format::decimal_si)
          decimal_memory(amount, where);
      }
  }

  void decimal_memory(const Quantity& amount, const std::string& where) {
    const std::string text = amount.canonical();
    if (text.empty() || !std::string_view("kMGTPE").contains(text.back())) return;
    std::string binary = text + "i";
    if (text.back() == 'k') binary.replace(text.size() - 1, 1, "K");
    const auto other = parse_quantity(binary);
    if (!other) return;
    add(Trap::Level::note, "decimal-memory", where,
        fmt::format("{} is decimal, {} bytes; {} would be {} bytes", text,
                    amount.value().value_or(0), binary, other->value().value_or(0)));
  }

  void cpu(const Container& container) {
    const Quantity* limit = find(container.resources.limits, "cpu");
    const Quantity* request = find(container.resources.requests, "cpu");
    if (request != nullptr && request->zero() && limit != nullptr && !limit->zero())
      add(Trap::Level::warning, "cpu-request-zero", at("requests", "cpu"),
          fmt::format(
              "an explicit request of 0 gives 2 shares; without it the limit {} would count",
              limit->canonical()));
    if (limit == nullptr || limit->zero() || !node_.cpu_cfs_quota) return;
    const std::int64_t milli = limit->milli_value().value_or(0);
    const auto period = static_cast<std::int64_t>(node_.cpu_cfs_period_us);
    const std::int64_t floor_milli = cpu_quota_min_us * 1000 / period;
    if (milli < floor_milli)
      add(Trap::Level::warning, "cpu-limit-floor", at("limits", "cpu"),
          fmt::format("{} acts as {}m: the quota is at least 1000 us per {} us", limit->canonical(),
                      floor_milli, period));
    const std::int64_t quota = milli_cpu_to_quota_us(milli, node_.cpu_cfs_period_us);
    const std::int64_t rounded = systemd_rounded_quota_us(quota, node_.cpu_cfs_period_us);
    if (node_.driver == CgroupDriver::systemd && rounded != quota)
      add(Trap::Level::warning, "systemd-rounds-quota", at("limits", "cpu"),
          fmt::format("{} becomes {}m: systemd keeps whole percents of a CPU, rounded up",
                      limit->canonical(), quota_us_to_milli_cpu(rounded, node_.cpu_cfs_period_us)));
    if (milli < 1000)
      add(Trap::Level::note, "cpu-throttling", at("limits", "cpu"),
          fmt::format("a burst longer than {} us of CPU time stalls until the next {} us period, "
                      "however low the average is",
                      quota, period));
  }

  void memory(const Container& container) {
    const Quantity* limit = find(container.resources.limits, "memory");
    if (limit == nullptr || limit->zero()) return;
    const std::int64_t bytes = limit->value().value_or(0);
    const std::int64_t stored = page_floor(bytes, node_.page_size_bytes);
    if (stored != bytes)
      add(Trap::Level::warning, "memory-page-floor", at("limits", "memory"),
          fmt::format("the kernel floors memory.max {} to whole pages: {}", bytes, stored));
    if (bytes < smallest_start_bytes)
      add(Trap::Level::warning, "memory-too-small-to-start", at("limits", "memory"),
          fmt::format("{} bytes: below about 6 MiB a container fails while it starts, and CRI-O "
                      "refuses less than 12 MiB",
                      bytes));
    else if (node_.cri == Cri::cri_o && bytes < crio_smallest_bytes)
      add(Trap::Level::warning, "memory-too-small-to-start", at("limits", "memory"),
          fmt::format("CRI-O refuses {} bytes, it wants 12 MiB", bytes));
    const bool several = node_.cgroup_v2 && !node_.single_process_oom_kill;
    if (several)
      add(Trap::Level::note, "oom-group", at("limits", "memory"),
          "memory.oom.group is 1: one OOM kills every process of the container");
  }

  void other_resources(const Container& container) {
    std::set<std::string> names;
    for (const auto* list : {&container.resources.requests, &container.resources.limits})
      for (const auto& [name, amount] : *list) names.insert(name);
    for (const std::string& name : names) {
      if (name == "cpu" || name == "memory") continue;
      const bool limited = container.resources.limits.contains(name);
      const std::string where = at(limited ? "limits" : "requests", name);
      const std::string size = hugepage_size_name(name);
      const auto& sizes = node_.huge_page_sizes;
      if (name == "ephemeral-storage")
        add(Trap::Level::note, "ephemeral-storage", where,
            "no cgroup enforces this; the kubelet measures and evicts");
      else if (size.empty())
        add(Trap::Level::note, "extended-resource", where,
            fmt::format("\"{}\" needs a device plugin; no cgroup file holds it", name));
      else if (std::find(sizes.begin(), sizes.end(), size) == sizes.end())
        add(Trap::Level::warning, "hugepage-size", where,
            fmt::format("the node has no pages of {}; it has {}", size, fmt::join(sizes, ", ")));
    }
  }

  /// One container without a limit removes the cap of the pod.
  void pod_cap(const std::string& resource, const std::string& file) {
    const auto missing = without_limit(plan_.pod, resource);
    if (!missing || missing->empty()) return;
    bool some = false;
    for (const auto* list : {&plan_.pod.init_containers, &plan_.pod.containers})
      for (const Container& container : *list)
        some = some || positive(container.resources.limits, resource);
    if (!some || plan_.qos == QosClass::best_effort) return;
    add(Trap::Level::warning, "pod-uncapped", "",
        fmt::format("the pod gets no {}: no {} limit on {}", file, resource,
                    fmt::join(*missing, ", ")));
  }

  void pod_level() {
    if (!plan_.pod.resources) return;
    const ResourceList& limits = plan_.pod.resources->limits;
    std::vector<std::string> heirs;
    for (const auto* list : {&plan_.pod.init_containers, &plan_.pod.containers})
      for (const Container& container : *list)
        if (!container.resources.requests.contains("cpu") &&
            !positive(container.resources.limits, "cpu"))
          heirs.push_back(container.name);
    if (positive(limits, "cpu") && !heirs.empty())
      add(Trap::Level::warning, "pod-level-weight", at("limits", "cpu"),
          fmt::format("{} takes the cpu weight of the whole pod ({} shares): no own request",
                      fmt::join(heirs, ", "),
                      milli_cpu_to_shares(limits.at("cpu").milli_value().value_or(0))));
    for (const char* resource : {"cpu", "memory"}) {
      if (!positive(limits, resource)) continue;
      const auto sum = aggregated(plan_.pod, Which::limits);
      if (!sum) continue;
      const Quantity* containers = kubernetes::find(sum->amounts, resource);
      if (containers != nullptr && limits.at(resource) < *containers)
        add(Trap::Level::note, "pod-limit-below-sum", at("limits", resource),
            fmt::format("the pod's {} {} is below the containers' {}: the pod's limit bites first, "
                        "and the counters of the containers stay still",
                        resource, limits.at(resource).canonical(), containers->canonical()));
    }
  }

  /// Ratios between containers depend on the formula of the runtime.
  void weights() {
    const ContainerPlan* most = nullptr;
    const ContainerPlan* least = nullptr;
    for (const ContainerPlan& container : plan_.containers) {
      if (container.role == ContainerPlan::Role::init) continue;
      if (most == nullptr || container.cri.cpu_shares > most->cri.cpu_shares) most = &container;
      if (least == nullptr || container.cri.cpu_shares < least->cri.cpu_shares) least = &container;
    }
    if (most == nullptr || most->cri.cpu_shares == least->cri.cpu_shares) return;
    auto percent = [](std::uint64_t a, std::uint64_t b) {
      return 100.0 * static_cast<double>(a) / static_cast<double>(a + b);
    };
    add(Trap::Level::note, "weight-formulas", "",
        fmt::format("between {} and {} the share of {} is {:.1f} % by requests, {:.1f} % with "
                    "linear weights and {:.1f} % with quadratic ones (runc 1.3.2, crun 1.23)",
                    least->name, most->name, least->name,
                    percent(least->cri.cpu_shares, most->cri.cpu_shares),
                    percent(least->weight_linear, most->weight_linear),
                    percent(least->weight_quadratic, most->weight_quadratic)));
  }

  void quota_rounding_of_the_pod() {
    if (node_.driver != CgroupDriver::systemd || !plan_.config.cpu_quota_us) return;
    const std::int64_t quota = *plan_.config.cpu_quota_us;
    const std::int64_t rounded = systemd_rounded_quota_us(quota, node_.cpu_cfs_period_us);
    if (quota > 0 && rounded != quota && written_.containers.size() > 1)
      add(Trap::Level::note, "systemd-rounds-pod-quota", "",
          fmt::format("the quota of the pod, {} us, is written as {} us", quota, rounded));
  }

  void memory_qos() {
    if (!node_.memory_qos.enabled) return;
    const auto& unified = plan_.config.unified;
    const auto min = unified.find("memory.min");
    if (min != unified.end() && plan_.config.memory_bytes &&
        min->second == std::to_string(*plan_.config.memory_bytes))
      add(Trap::Level::warning, "min-equals-max", "",
          "memory.min equals memory.max: page cache cannot be reclaimed, it ends in an OOM kill");
    for (const ContainerPlan& container : plan_.containers)
      if (const auto high = container.cri.unified.find("memory.high");
          high != container.cri.unified.end())
        add(Trap::Level::note, "memory-high", "",
            fmt::format("{} is slowed down above memory.high {}, long before memory.max",
                        container.name, high->second));
  }

  void volumes() {
    for (const MemoryVolume& volume : written_.memory_volumes) {
      add(Trap::Level::warning, "tmpfs-is-memory", "/volumes",
          fmt::format(
              "volume {} is tmpfs: its pages count against the memory of the container that "
              "writes them and stay when that process ends",
              volume.name));
      const Quantity* limit = kubernetes::find(plan_.limits.amounts, "memory");
      if (volume.size_limit && limit != nullptr && !limit->zero() && *limit <= *volume.size_limit)
        add(Trap::Level::warning, "tmpfs-exceeds-limit", "/volumes",
            fmt::format("volume {} may hold {}, but the memory limit is {}", volume.name,
                        volume.size_limit->canonical(), limit->canonical()));
    }
  }

  void bandwidth() {
    here_ = "/metadata/annotations";
    for (const std::string_view name : {ingress_bandwidth, egress_bandwidth}) {
      const auto it = written_.annotations.find(std::string(name));
      if (it == written_.annotations.end()) continue;
      const std::string where = "/kubernetes.io~1" + std::string(name.substr(name.find('/') + 1));
      const auto rate = parse_bandwidth(it->second);
      if (!rate) continue;
      const auto bucket = token_bucket(*rate, cri_burst_bits(node_.cri));
      if (!bucket) continue;
      add(Trap::Level::warning, "bandwidth-burst", where,
          fmt::format("the first {} MB pass unshaped with the burst of the CRI runtime{}; minirun "
                      "uses {} kB",
                      bucket->burst_bytes / 1'000'000,
                      bucket->buffer_ticks ? "" : ", whose tick count overflows 32 bits",
                      own_burst_bits(*rate) / 8000));
    }
  }

  void pids() {
    here_ = "/spec";
    if (node_.pod_pids_limit > 0)
      add(Trap::Level::note, "pids-on-the-pod", "",
          fmt::format("pids.max {} stands in the pod's cgroup; the containers read max",
                      node_.pod_pids_limit));
  }

  const PodManifest& written_;
  const PodPlan& plan_;
  const NodeFacts& node_;
  std::string here_;
  std::vector<Trap> traps_;
};

}  // namespace

std::vector<Trap> find_traps(const PodManifest& written, const PodPlan& plan,
                             const NodeFacts& node) {
  return Finder(written, plan, node).run();
}

}  // namespace minirun::kubernetes
