// Owns: the rules about resources, Intel RDT and memory policy.
// Must not: know which controllers the host has.
#include <algorithm>

#include "spec/places.h"
#include "spec/words.h"

namespace minirun {
namespace {

void check_cpu(const ContainerSpec& spec, Reporter& report) {
  const CpuResources& cpu = spec.resources.cpu;
  const auto error = [&](const char* key, const char* short_form, std::string message) {
    report.error_at(spec, fmt::format("cpu.{}", key), fmt::format("/linux/resources/cpu/{}", key),
                    short_form, std::move(message));
  };
  const bool limited = cpu.quota_us && *cpu.quota_us > 0;
  if (cpu.period_us && (*cpu.period_us < 1000 || *cpu.period_us > 1'000'000))
    error("period", "/resources/cpu/period",
          fmt::format("{} us, expected 1000 to 1000000", *cpu.period_us));
  if (limited && *cpu.quota_us < 1000)
    error("quota", "/resources/limits/cpu",
          fmt::format("{} us, expected at least 1000, the kernel's smallest quota", *cpu.quota_us));
  if (cpu.burst_us && *cpu.burst_us > 0 &&
      (!limited || *cpu.burst_us > static_cast<std::uint64_t>(*cpu.quota_us)))
    error("burst", "/resources/cpu/burst",
          limited ? fmt::format("{} us, expected at most the quota of {} us", *cpu.burst_us,
                                *cpu.quota_us)
                  : fmt::format("{} us, expected a CPU limit together with it", *cpu.burst_us));
  if (cpu.shares && (*cpu.shares < 2 || *cpu.shares > 262144))
    report.warning("/linux/resources/cpu/shares", "/resources/requests/cpu",
                   fmt::format("{}, outside 2 to 262144; the nearer end is taken", *cpu.shares));
  for (auto [key, list] : {std::pair{"cpus", &cpu.cpus}, std::pair{"mems", &cpu.mems}})
    if (!list->empty() && !is_cpu_list(*list))
      error(key, "/resources/cpuset", quote_text(*list) + ", expected a list such as 0-3,7");
}

void check_memory(const ContainerSpec& spec, Reporter& report) {
  const MemoryResources& memory = spec.resources.memory;
  const auto error = [&](const char* key, const char* short_form, std::string message) {
    report.error_at(spec, fmt::format("memory.{}", key),
                    fmt::format("/linux/resources/memory/{}", key), short_form, std::move(message));
  };
  const bool limited = memory.limit_bytes && *memory.limit_bytes >= 0;
  if (memory.swap_bytes && *memory.swap_bytes >= 0) {
    if (!limited)
      error("swap", "/resources/limits/swap",
            "expected a memory limit together with it: the value is memory plus swap");
    else if (*memory.swap_bytes < *memory.limit_bytes)
      error("swap", "/resources/limits/swap",
            fmt::format("expected at least the memory limit {}: the value is memory plus swap",
                        *memory.limit_bytes));
  }
  if (limited && memory.reservation_bytes && *memory.reservation_bytes > *memory.limit_bytes)
    error("reservation", "/resources/requests/memory",
          fmt::format("expected at most the limit {}", *memory.limit_bytes));
}

/// The typed value and the file that it is written to; unified is written last and wins.
void check_unified(const ContainerSpec& spec, Reporter& report) {
  for (const auto& [key, value] : spec.resources.unified) {
    const std::string token = pointer_token(key);
    const std::string oci = "/linux/resources/unified/" + token;
    const std::string short_form = "/resources/unified/" + token;
    const std::size_t dot = key.find('.');
    if (key.find('/') != std::string::npos || dot == std::string::npos || dot == 0 ||
        dot + 1 == key.size())
      report.error(oci, short_form,
                   quote_text(key) + ", expected the name of a cgroup v2 file such as memory.high");
    else if (key.starts_with("cgroup."))
      report.error(
          oci, short_form,
          quote_text(key) + ", expected a file of a controller: cgroup.* belongs to the runtime");
  }
  const Resources& resources = spec.resources;
  const auto both = [&](const char* file, bool typed, const char* field) {
    if (typed && resources.unified.contains(file))
      report.warning(fmt::format("/linux/resources/unified/{}", file),
                     fmt::format("/resources/unified/{}", file),
                     fmt::format("takes the place of {}, which says the same file", field));
  };
  both("memory.max", resources.memory.limit_bytes.has_value(), "the memory limit");
  both("memory.low", resources.memory.reservation_bytes.has_value(), "the memory reservation");
  both("memory.swap.max", resources.memory.swap_bytes.has_value(), "the swap limit");
  both("cpu.max", resources.cpu.quota_us.has_value(), "the CPU limit");
  both("cpu.weight", resources.cpu.shares.has_value(), "the CPU shares");
  both("pids.max", resources.pids_limit.has_value(), "the limit of processes");
}

void check_hugepages(const ContainerSpec& spec, Reporter& report) {
  const auto& limits = spec.resources.hugepage_limits;
  for (std::size_t i = 0; i < limits.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (limits[i].page_size == limits[j].page_size)
        report.error(fmt::format("/linux/resources/hugepageLimits/{}", i), "/resources/hugepages",
                     fmt::format("the page size {} is there twice", limits[i].page_size));
}

void check_rdt(const ContainerSpec& spec, Reporter& report) {
  if (!spec.intel_rdt) return;
  const std::string& id = spec.intel_rdt->clos_id;
  if (id == "." || id == ".." || (id.find('/') != std::string::npos && id != "/") ||
      id.find('\n') != std::string::npos)
    report.error(
        "/linux/intelRdt/closID", "",
        quote_text(id) + ", expected a name without \"/\", or \"/\" for the default group");
  const std::string& bandwidth = spec.intel_rdt->mem_bw_schema;
  if (!bandwidth.empty() && (!bandwidth.starts_with("MB:") || bandwidth.contains('\n')))
    report.error("/linux/intelRdt/memBwSchema", "",
                 quote_text(bandwidth) + ", expected one line that begins with MB:");
}

void check_memory_policy(const ContainerSpec& spec, Reporter& report) {
  if (!spec.memory_policy) return;
  const MemoryPolicy& policy = *spec.memory_policy;
  const bool without_nodes = policy.mode == 0 || policy.mode == 4;  // MPOL_DEFAULT, MPOL_LOCAL
  const bool may_be_empty = policy.mode == 1;                       // MPOL_PREFERRED
  if (without_nodes && !policy.nodes.empty())
    report.error("/linux/memoryPolicy/nodes", "",
                 quote_text(policy.nodes) + ", expected none for MPOL_DEFAULT and MPOL_LOCAL");
  if (!without_nodes && !may_be_empty && policy.nodes.empty())
    report.error("/linux/memoryPolicy/nodes", "", "missing, expected a list of nodes such as 0-1");
  if (!policy.nodes.empty() && !is_cpu_list(policy.nodes))
    report.error("/linux/memoryPolicy/nodes", "",
                 quote_text(policy.nodes) + ", expected a list of nodes such as 0-1");
  constexpr unsigned kBalancing = 1U << 13, kRelative = 1U << 14, kStatic = 1U << 15;
  if ((policy.flags & kRelative) && (policy.flags & kStatic))
    report.error("/linux/memoryPolicy/flags", "",
                 "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES, expected one of them");
  if ((policy.flags & kBalancing) && policy.mode != 2 && policy.mode != 5)
    report.error("/linux/memoryPolicy/flags", "",
                 "MPOL_F_NUMA_BALANCING, expected only with MPOL_BIND or MPOL_PREFERRED_MANY");
}

}  // namespace

void validate_limits(const ContainerSpec& spec, Reporter& report) {
  check_cpu(spec, report);
  check_memory(spec, report);
  check_unified(spec, report);
  check_hugepages(spec, report);
  check_rdt(spec, report);
  check_memory_policy(spec, report);
}

}  // namespace minirun
