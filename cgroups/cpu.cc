// Owns: cpu.idle, cpu.weight, cpu.max, cpu.max.burst. The arithmetic of the weight is in
// spec/kubernetes/cpu.h. Must not: choose the formula.
#include <fmt/format.h>

#include "cgroups/planners.h"

namespace minirun {
namespace {

void plan_weight(PlanContext& context) {
  const CpuResources& cpu = context.spec.resources.cpu;
  if (cpu.idle) {
    if (*cpu.idle != 0 && *cpu.idle != 1)
      return context.error("cpu.idle", fmt::format("{} is not 0 or 1", *cpu.idle));
    // Before the weight: cpu.idle=0 resets the weight to 100 (measured).
    if (context.kernel_has("cpu.idle", "cpu.idle", 5, 15))
      context.write("cpu.idle", "cpu.idle", std::to_string(*cpu.idle), "cpu.idle");
  }
  if (!cpu.shares || *cpu.shares == 0) return;  // 0 is unset for runc and crun
  // The kernel refuses a weight on an idle cgroup with EINVAL (measured).
  if (cpu.idle == 1)
    return context.warn("cpu.shares", "has no effect while cpu.idle is 1 and is not written");
  const std::uint64_t weight = shares_to_weight(*cpu.shares, context.options.formula);
  const bool linear = context.options.formula == WeightFormula::linear;
  context.write(
      "cpu.shares", "cpu.weight", std::to_string(weight), "cpu.shares",
      fmt::format("{}(shares {}) = {}", linear ? "linear" : "quadratic", *cpu.shares, weight));
}

bool valid_quota(PlanContext& context) {
  const CpuResources& cpu = context.spec.resources.cpu;
  const std::int64_t quota = cpu.quota_us.value_or(0);
  bool valid = true;
  if (quota > 0 && quota < cpu_quota_min_us) {
    context.error("cpu.quota", fmt::format("{} us is below the kernel's least quota, {} us", quota,
                                           cpu_quota_min_us));
    valid = false;
  }
  const std::uint64_t period = cpu.period_us.value_or(0);
  if (period != 0 && (period < 1000 || period > 1000000)) {
    context.error("cpu.period", fmt::format("{} us is not 1000 to 1000000 us", period));
    valid = false;
  }
  return valid;
}

void plan_burst(PlanContext& context) {
  const CpuResources& cpu = context.spec.resources.cpu;
  if (!cpu.burst_us || !context.kernel_has("cpu.burst", "cpu.max.burst", 5, 14)) return;
  const std::int64_t quota = cpu.quota_us.value_or(0);
  if (quota > 0 && *cpu.burst_us > static_cast<std::uint64_t>(quota))
    return context.error(
        "cpu.burst", fmt::format("{} us is more than the quota of {} us", *cpu.burst_us, quota));
  if (quota <= 0 && *cpu.burst_us > 0 && !context.options.update)
    context.warn("cpu.burst", "has no effect without a quota");
  context.write("cpu.burst", "cpu.max.burst", std::to_string(*cpu.burst_us), "cpu.cfs_burst_us");
}

}  // namespace

void plan_cpu(PlanContext& context) {
  const CpuResources& cpu = context.spec.resources.cpu;
  plan_weight(context);
  if (!valid_quota(context)) return;
  const std::int64_t quota = cpu.quota_us.value_or(0);
  const std::uint64_t period = cpu.period_us.value_or(0);
  if (quota != 0 || period != 0) {
    // A burst above the new quota is EINVAL, so an old one goes first.
    if (context.options.update && cpu.burst_us)
      context.write("cpu.burst", "cpu.max.burst", "0", "cpu.cfs_burst_us",
                    "lowered before cpu.max changes");
    const std::string quota_text = quota > 0 ? std::to_string(quota) : "max";
    context.write(cpu.quota_us ? "cpu.quota" : "cpu.period", "cpu.max",
                  fmt::format("{} {}", quota_text, period == 0 ? cpu_period_default_us : period),
                  "cpu.cfs_quota_us, cpu.cfs_period_us",
                  period == 0 ? fmt::format("default period {} us", cpu_period_default_us) : "");
  }
  plan_burst(context);
}

}  // namespace minirun
