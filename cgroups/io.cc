// Owns: io.max, io.weight and io.bfq.weight. Which of the two weights there is depends on the
// block devices' scheduler, so both values are planned. Must not: look at block devices.
#include <fmt/format.h>

#include "cgroups/planners.h"

namespace minirun {
namespace {

constexpr unsigned kWeightMin = 10, kWeightMax = 1000;

// OCI 10..1000 to io.weight 1..10000, runc's and crun's map; BFQ takes 1..1000 as it is.
unsigned to_io_weight(unsigned weight) {
  return 1 + (weight - kWeightMin) * 9999 / (kWeightMax - kWeightMin);
}

// A weight, for all devices or, with the prefix "8:0 ", for one.
void plan_weight(PlanContext& context, std::string_view key, const std::string& device,
                 unsigned weight, std::string_view v1_name) {
  if (weight == 0) return;  // unset for runc and crun
  if (weight < kWeightMin || weight > kWeightMax)
    return context.error(key, fmt::format("{} is not {} to {}", weight, kWeightMin, kWeightMax));
  const unsigned io_weight = to_io_weight(weight);
  CgroupWrite& write = context.write(
      key, "io.bfq.weight", fmt::format("{}{}", device, weight), v1_name,
      fmt::format("without BFQ io.weight = 1 + ({} - 10) * 9999 / 990 = {}", weight, io_weight));
  write.if_absent = IfAbsent::write;
  write.else_file = "io.weight";
  write.else_value = fmt::format("{}{}", device, io_weight);
}

void plan_throttle(PlanContext& context, std::string_view key,
                   const std::vector<ThrottleDevice>& devices, std::string_view name,
                   std::string_view v1_name) {
  for (const ThrottleDevice& device : devices) {
    // io.max refuses 0 with ERANGE; in cgroup v1, whose values these are, it meant no limit.
    const bool none = device.rate == 0;
    context.write(key, "io.max",
                  fmt::format("{}:{} {}={}", device.major, device.minor, name,
                              none ? "max" : std::to_string(device.rate)),
                  v1_name, none ? "0 means no limit" : "");
  }
}

}  // namespace

void plan_io(PlanContext& context) {
  const BlockIoResources& io = context.spec.resources.block_io;
  if (io.weight) plan_weight(context, "blockIO.weight", "", *io.weight, "blkio.weight");
  for (const WeightDevice& device : io.weight_device)
    plan_weight(context, "blockIO.weightDevice", fmt::format("{}:{} ", device.major, device.minor),
                device.weight, "blkio.weight_device");
  plan_throttle(context, "blockIO.throttleReadBpsDevice", io.read_bps, "rbps",
                "blkio.throttle.read_bps_device");
  plan_throttle(context, "blockIO.throttleWriteBpsDevice", io.write_bps, "wbps",
                "blkio.throttle.write_bps_device");
  plan_throttle(context, "blockIO.throttleReadIOPSDevice", io.read_iops, "riops",
                "blkio.throttle.read_iops_device");
  plan_throttle(context, "blockIO.throttleWriteIOPSDevice", io.write_iops, "wiops",
                "blkio.throttle.write_iops_device");
}

}  // namespace minirun
