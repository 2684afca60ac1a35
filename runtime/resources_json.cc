// Resources in the words of the OCI specification: what read_oci_resources reads back.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "runtime/update.h"

namespace minirun {
namespace {

using json = nlohmann::ordered_json;

template <class T>
void put(json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

void put(json& object, const char* key, const std::string& value) {
  if (!value.empty()) object[key] = value;
}

json memory(const MemoryResources& resources) {
  json object = json::object();
  put(object, "limit", resources.limit_bytes);
  put(object, "reservation", resources.reservation_bytes);
  put(object, "swap", resources.swap_bytes);
  if (resources.check_before_update) object["checkBeforeUpdate"] = true;
  return object;
}

json cpu(const CpuResources& resources) {
  json object = json::object();
  put(object, "shares", resources.shares);
  put(object, "quota", resources.quota_us);
  put(object, "period", resources.period_us);
  put(object, "burst", resources.burst_us);
  put(object, "idle", resources.idle);
  put(object, "cpus", resources.cpus);
  put(object, "mems", resources.mems);
  return object;
}

template <class T, class Number>
void put_devices(json& object, const char* list, const char* key, const std::vector<T>& devices,
                 Number T::* number) {
  for (const T& device : devices)
    object[list].push_back(
        {{"major", device.major}, {"minor", device.minor}, {key, device.*number}});
}

json block_io(const BlockIoResources& resources) {
  json object = json::object();
  put(object, "weight", resources.weight);
  put_devices(object, "weightDevice", "weight", resources.weight_device, &WeightDevice::weight);
  put_devices(object, "throttleReadBpsDevice", "rate", resources.read_bps, &ThrottleDevice::rate);
  put_devices(object, "throttleWriteBpsDevice", "rate", resources.write_bps, &ThrottleDevice::rate);
  put_devices(object, "throttleReadIOPSDevice", "rate", resources.read_iops, &ThrottleDevice::rate);
  put_devices(object, "throttleWriteIOPSDevice", "rate", resources.write_iops,
              &ThrottleDevice::rate);
  return object;
}

}  // namespace

std::string resources_json(const Resources& resources) {
  json object = json::object();
  const auto put_object = [&object](const char* key, json value) {
    if (!value.empty()) object[key] = std::move(value);
  };
  put_object("memory", memory(resources.memory));
  put_object("cpu", cpu(resources.cpu));
  put_object("blockIO", block_io(resources.block_io));
  for (const HugepageLimit& limit : resources.hugepage_limits)
    object["hugepageLimits"].push_back(
        {{"pageSize", limit.page_size}, {"limit", limit.limit_bytes}});
  if (resources.pids_limit) object["pids"] = {{"limit", *resources.pids_limit}};
  for (const auto& [device, limit] : resources.rdma) {
    json entry = json::object();
    put(entry, "hcaHandles", limit.hca_handles);
    put(entry, "hcaObjects", limit.hca_objects);
    object["rdma"][device] = std::move(entry);
  }
  if (!resources.unified.empty()) object["unified"] = resources.unified;
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace minirun
