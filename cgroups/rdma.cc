// Owns: rdma.max. Must not: know which adapters exist.
#include <fmt/format.h>

#include <algorithm>

#include "cgroups/planners.h"

namespace minirun {

void plan_rdma(PlanContext& context) {
  for (const auto& [device, limit] : context.spec.resources.rdma) {
    const bool bad_name = device.empty() || std::any_of(device.begin(), device.end(), [](char c) {
                            return static_cast<unsigned char>(c) <= 0x20;
                          });
    if (bad_name) {
      context.error("rdma", fmt::format("\"{}\" is not the name of a device", device));
      continue;
    }
    if (!limit.hca_handles && !limit.hca_objects) {
      context.error("rdma", fmt::format("{} needs hcaHandles or hcaObjects", device));
      continue;
    }
    std::string value = device;
    if (limit.hca_handles) value += fmt::format(" hca_handle={}", *limit.hca_handles);
    if (limit.hca_objects) value += fmt::format(" hca_object={}", *limit.hca_objects);
    context.write("rdma", "rdma.max", std::move(value), "rdma.max");
  }
}

}  // namespace minirun
