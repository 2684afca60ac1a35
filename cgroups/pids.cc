// Owns: pids.max. Must not: count processes.
#include <fmt/format.h>

#include "cgroups/planners.h"

namespace minirun {

void plan_pids(PlanContext& context) {
  constexpr std::int64_t kPidsMax = 4194304;  // PID_MAX_LIMIT; more is EINVAL (measured)
  const auto& limit = context.spec.resources.pids_limit;
  if (!limit) return;
  if (*limit < -1 || *limit > kPidsMax) {
    context.error("pids.limit",
                  fmt::format("{} is not -1 (no limit) or 0 to {}", *limit, kPidsMax));
    return;
  }
  // OCI 1.3: 0 is a value. The container's first process counts, and is forked into the cgroup,
  // so that "no further process" is 1 (runc 1.4 writes the same).
  if (*limit == 0)
    context.write("pids.limit", "pids.max", "1", "pids.max", "0 further processes + init = 1");
  else
    context.write("pids.limit", "pids.max", limit_text(*limit), "pids.max");
}

}  // namespace minirun
