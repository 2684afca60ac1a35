// Owns: memory.max, memory.low, memory.swap.max from the OCI fields. memory.min, memory.high and
// memory.oom.group have no OCI field: they come by `unified`.
// Must not: guess a limit that was not asked for.
#include <fmt/format.h>

#include "cgroups/planners.h"

namespace minirun {
namespace {

// A limit that is a value for the kernel: 0 is "unset" for every client that runc has, and an
// actual memory.max of 0 could not even start a process.
bool is_set(PlanContext& context, std::string_view key, const std::optional<std::int64_t>& value) {
  if (!value) return false;
  if (*value == 0) context.warn(key, "0 means not set; nothing is written");
  if (*value < -1) context.error(key, fmt::format("{} is not -1 (no limit) or a size", *value));
  return *value == -1 || *value > 0;
}

void write_swap(PlanContext& context, std::string value, std::string_view formula) {
  CgroupWrite& write = context.write("memory.swap", "memory.swap.max", std::move(value),
                                     "memory.memsw.limit_in_bytes", formula);
  // A kernel without swap accounting has no such file, and then nothing can be swapped out.
  if (write.value == "0" || write.value == "max") write.if_absent = IfAbsent::skip;
}

// OCI's `swap` is memory + swap, as in cgroup v1; cgroup v2 has swap alone.
void plan_swap(PlanContext& context, bool limited) {
  const MemoryResources& memory = context.spec.resources.memory;
  const bool asked = is_set(context, "memory.swap", memory.swap_bytes);
  if (!asked) {
    if (limited && *memory.limit_bytes == -1 && !memory.swap_bytes)
      write_swap(context, "max", "memory limit -1 without a swap limit means both");
    return;
  }
  const std::int64_t both = *memory.swap_bytes;
  if (both == -1) return write_swap(context, "max", "");
  if (!limited || *memory.limit_bytes == -1)
    return context.error("memory.swap",
                         fmt::format("{} is memory + swap and needs a memory limit", both));
  const std::int64_t limit = *memory.limit_bytes;
  if (both < limit)
    return context.error("memory.swap", fmt::format("{} is memory + swap and must not be below "
                                                    "the memory limit {}",
                                                    both, limit));
  write_swap(context, std::to_string(both - limit),
             fmt::format("memory+swap {} - memory {} = {}", both, limit, both - limit));
}

}  // namespace

void plan_memory(PlanContext& context) {
  const MemoryResources& memory = context.spec.resources.memory;
  const bool limited = is_set(context, "memory.limit", memory.limit_bytes);
  plan_swap(context, limited);
  if (limited) {
    std::string formula;
    const auto page = static_cast<std::int64_t>(context.host.page_size_bytes);
    if (page > 0 && *memory.limit_bytes > 0 && *memory.limit_bytes % page != 0)
      formula = fmt::format("the kernel rounds down to pages: {}",
                            *memory.limit_bytes - *memory.limit_bytes % page);
    context.write("memory.limit", "memory.max", limit_text(*memory.limit_bytes),
                  "memory.limit_in_bytes", formula);
  }
  if (is_set(context, "memory.reservation", memory.reservation_bytes))
    context.write("memory.reservation", "memory.low", limit_text(*memory.reservation_bytes),
                  "memory.soft_limit_in_bytes");
}

}  // namespace minirun
