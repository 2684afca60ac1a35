// Owns: a LaunchPlan as text, for `--dry-run`, and the times of its steps, for `--timing`.
// Must not: decide or change anything.
#pragma once

#include <string>
#include <vector>

#include "base/host_facts.h"
#include "runtime/launch.h"
#include "runtime/plan.h"

namespace minirun::cli {

[[nodiscard]] std::string plan_text(const LaunchPlan& plan, const HostFacts& facts);
[[nodiscard]] std::string timing_text(const LaunchPlan& plan,
                                      const std::vector<PhaseClock::Phase>& phases,
                                      const std::vector<std::uint32_t>& step_nanoseconds);

}  // namespace minirun::cli
