// Owns: hugetlb.<size>.max and hugetlb.<size>.rsvd.max. Must not: know which sizes exist.
#include <fmt/format.h>

#include <algorithm>

#include "cgroups/planners.h"

namespace minirun {
namespace {

// OCI: "<size><unit-prefix>B", the kernel's spelling: 64KB, 2MB, 1GB.
bool is_page_size(std::string_view text) {
  if (text.size() < 3 || text.front() == '0' || text.back() != 'B') return false;
  const std::string_view number = text.substr(0, text.size() - 2);
  const char prefix = text[text.size() - 2];
  return std::string_view("KMG").find(prefix) != std::string_view::npos &&
         std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

void plan_hugetlb(PlanContext& context) {
  for (const HugepageLimit& limit : context.spec.resources.hugepage_limits) {
    if (!is_page_size(limit.page_size)) {
      context.error("hugepageLimits",
                    fmt::format("page size \"{}\" is not like 2MB or 1GB", limit.page_size));
      continue;
    }
    const std::string value = std::to_string(limit.limit_bytes);
    const std::string v1_name = fmt::format("hugetlb.{}.limit_in_bytes", limit.page_size);
    context.write("hugepageLimits", fmt::format("hugetlb.{}.max", limit.page_size), value, v1_name);
    // Without it the fault kills with SIGBUS what mmap should have refused (Linux 5.7).
    context
        .write("hugepageLimits", fmt::format("hugetlb.{}.rsvd.max", limit.page_size), value, "",
               "reservations are limited like pages")
        .if_absent = IfAbsent::skip;
  }
}

}  // namespace minirun
