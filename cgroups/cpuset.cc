// Owns: cpuset.cpus and cpuset.mems. Must not: know which CPUs are online; the kernel does.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "cgroups/files.h"
#include "cgroups/planners.h"

namespace minirun {
namespace {

bool is_number(std::string_view text, unsigned& number) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [at, ec] = std::from_chars(begin, end, number);
  return ec == std::errc{} && at == end;
}

// cpuset(7) "List format": 0-4,9 and also 0-31:2/8 (every group of 8 its first 2).
bool is_list(std::string_view text) {
  if (text.starts_with(',') || text.ends_with(',')) return false;
  const auto parts = split(text, ',');
  return std::all_of(parts.begin(), parts.end(), [](std::string_view part) {
    unsigned first = 0, last = 0, used = 0, group = 0;
    if (const std::size_t colon = part.find(':'); colon != std::string_view::npos) {
      const std::string_view stride = part.substr(colon + 1);
      const std::size_t slash = stride.find('/');
      if (slash == std::string_view::npos || part.find('-') > colon ||
          !is_number(stride.substr(0, slash), used) ||
          !is_number(stride.substr(slash + 1), group) || group == 0 || used > group)
        return false;
      part = part.substr(0, colon);
    }
    const std::size_t dash = part.find('-');
    if (dash == std::string_view::npos) return is_number(part, first);
    return is_number(part.substr(0, dash), first) && is_number(part.substr(dash + 1), last) &&
           first <= last;
  });
}

void plan_list(PlanContext& context, std::string_view key, std::string_view file,
               const std::string& list) {
  if (list.empty()) return;
  if (!is_list(list))
    return context.error(key, fmt::format("\"{}\" is not a list like 0-3,8", list));
  context.write(key, file, list, file);
}

}  // namespace

void plan_cpuset(PlanContext& context) {
  const CpuResources& cpu = context.spec.resources.cpu;
  plan_list(context, "cpu.cpus", "cpuset.cpus", cpu.cpus);
  plan_list(context, "cpu.mems", "cpuset.mems", cpu.mems);
}

}  // namespace minirun
