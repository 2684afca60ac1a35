// Owns: what the planners of the controllers share: the context they add writes and findings to.
// Must not: be included outside of cgroups/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cgroups/plan.h"

namespace minirun {

/// Where a controller's planner puts its results.
struct PlanContext {
  const ContainerSpec& spec;
  const HostFacts& host;
  const CgroupPlanOptions& options;
  CgroupPlan& plan;
  Findings& findings;

  /// Appends a write for the OCI field `key` ("memory.limit") and returns it for more details.
  CgroupWrite& write(std::string_view key, std::string_view file, std::string value,
                     std::string_view v1_name, std::string_view formula = {});
  void error(std::string_view key, std::string message);
  void warn(std::string_view key, std::string message);
  /// False, with an error, when the kernel is known to be older than `major`.`minor`.
  bool kernel_has(std::string_view key, std::string_view file, int major, int minor);

  /// The field as the user wrote it, for `source`.
  [[nodiscard]] std::string source(std::string_view key) const;
  /// The same as an RFC 6901 pointer, for findings.
  [[nodiscard]] std::string pointer(std::string_view key) const;
};

/// -1 (and below) is the kernel's "max".
[[nodiscard]] std::string limit_text(std::int64_t limit);

void plan_pids(PlanContext& context);
void plan_memory(PlanContext& context);
void plan_io(PlanContext& context);
void plan_cpu(PlanContext& context);
void plan_cpuset(PlanContext& context);
void plan_hugetlb(PlanContext& context);
void plan_rdma(PlanContext& context);
void plan_devices(PlanContext& context);
/// `linux.resources.unified`, after all others, so that it wins.
void plan_unified(PlanContext& context);

/// The cgroup of container `id`; findings for a path that is refused.
[[nodiscard]] std::string plan_path(const ContainerSpec& spec, const HostFacts& host,
                                    std::string_view id, Findings& findings);

}  // namespace minirun
