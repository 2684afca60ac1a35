// Owns: the ordered device rules of a container: the user's, then those that every container
// needs. Must not: generate instructions (device_filter.h).
#include <fmt/format.h>

#include "cgroups/device_filter.h"
#include "cgroups/planners.h"

namespace minirun {

void plan_devices(PlanContext& context) {
  const auto& rules = context.spec.resources.devices;
  if (context.host.euid != 0) {
    // BPF_PROG_TYPE_CGROUP_DEVICE takes CAP_SYS_ADMIN or CAP_BPF and CAP_NET_ADMIN in the first
    // user namespace. Whoever lacks them cannot create device nodes either.
    if (!rules.empty())
      context.warn("devices", "device rules need root; the host's file permissions decide");
    return;
  }
  context.plan.devices = rules;
  // Behind the user's, as runc does: OCI requires these devices to be there for everyone.
  const auto defaults = default_device_rules();
  context.plan.devices.insert(context.plan.devices.end(), defaults.begin(), defaults.end());
  // With everything allowed a program would only cost time at each open(2).
  context.plan.attach_devices = !allows_everything(context.plan.devices);
}

}  // namespace minirun
