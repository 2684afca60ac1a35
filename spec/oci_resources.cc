// Owns: the linux.resources object, and the refusal of what only cgroup v1 could do.
// Must not: convert to cgroup v2 files (cgroups/ does).
#include <fmt/format.h>

#include "spec/oci_parts.h"
#include "spec/oci_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

using Origins = std::map<std::string, Origin>;

/// Reads a number and notes where it came from.
template <class T, class... Range>
bool read_noted(JsonObject& object, std::string_view key, const char* name, std::optional<T>& out,
                Origins& origins, Range... range) {
  const auto json = object.find(key);
  T value{};
  if (!json || !json->get(value, range...)) return false;
  out = value;
  origins[name] = {json->field(), json->text(), ""};
  return true;
}

/// config.md: a value that cannot be applied must be an error. Values that ask for nothing are
/// accepted, since engines write them without being asked.
void refuse_v1(JsonObject& object, std::string_view key, std::string_view instead,
               std::initializer_list<std::string_view> harmless) {
  const auto json = object.find(key);
  if (!json) return;
  for (std::string_view value : harmless)
    if (!json->is(Json::Kind::string) && json->text() == value) return;
  if (json->is(Json::Kind::array) && json->size() == 0) return;
  json->error(fmt::format("{}: only cgroup v1 has this; {}", json->shown(), instead));
}

void drop_zero(JsonObject& object, std::string_view key, const char* name,
               std::optional<std::int64_t>& value, Origins& origins) {
  if (value != 0) return;
  // runc reads 0 as unset, and engines count on it; as a limit it would kill every process.
  object.find(key)->warning("0 means \"not set\" here; no limit is written");
  value.reset();
  origins.erase(name);
}

void read_memory(Json json, MemoryResources& memory, Origins& origins) {
  JsonObject object(json);
  constexpr std::int64_t kMost = INT64_MAX, kUnlimited = -1;
  read_noted(object, "limit", "memory.limit", memory.limit_bytes, origins, kUnlimited, kMost);
  read_noted(object, "reservation", "memory.reservation", memory.reservation_bytes, origins,
             kUnlimited, kMost);
  read_noted(object, "swap", "memory.swap", memory.swap_bytes, origins, kUnlimited, kMost);
  drop_zero(object, "limit", "memory.limit", memory.limit_bytes, origins);
  drop_zero(object, "swap", "memory.swap", memory.swap_bytes, origins);
  object.read("checkBeforeUpdate", memory.check_before_update);
  constexpr std::string_view kKernel = "kernel memory counts as memory on cgroup v2";
  refuse_v1(object, "kernel", kKernel, {"0", "-1"});
  refuse_v1(object, "kernelTCP", kKernel, {"0", "-1"});
  refuse_v1(object, "swappiness", "use memory.swap, or unified memory.swap.max", {});
  refuse_v1(object, "disableOOMKiller",
            "leave it out; to be warned before the limit use unified "
            "memory.high",
            {"false"});
  refuse_v1(object, "useHierarchy", "cgroup v2 is always hierarchical", {"true"});
}

void read_cpu(Json json, CpuResources& cpu, Origins& origins) {
  JsonObject object(json);
  read_noted(object, "shares", "cpu.shares", cpu.shares, origins);
  read_noted(object, "quota", "cpu.quota", cpu.quota_us, origins);
  read_noted(object, "period", "cpu.period", cpu.period_us, origins);
  read_noted(object, "burst", "cpu.burst", cpu.burst_us, origins);
  read_noted(object, "idle", "cpu.idle", cpu.idle, origins, std::int64_t{0}, std::int64_t{1});
  for (auto [key, out] : {std::pair{"cpus", &cpu.cpus}, std::pair{"mems", &cpu.mems}}) {
    const auto place = object.find(key);
    if (place && place->get(*out) && !out->empty())
      origins[fmt::format("cpu.{}", key)] = {place->field(), place->text(), ""};
  }
  // As runc: 0 is how Go programs write "not set".
  for (auto [name, out] : {std::pair{"cpu.shares", &cpu.shares}, {"cpu.period", &cpu.period_us}})
    if (*out == 0) {
      out->reset();
      origins.erase(name);
    }
  constexpr std::string_view kRealtime = "use process.scheduler with SCHED_RR or SCHED_DEADLINE";
  refuse_v1(object, "realtimeRuntime", kRealtime, {"0"});
  refuse_v1(object, "realtimePeriod", kRealtime, {"0"});
}

/// {major, minor} with a value of `key`.
template <class Entry, class Number>
void read_device_numbers(Json json, std::string_view key, std::vector<Entry>& list,
                         Number Entry::* number, Number least, Number most) {
  json.each([&](Json item) {
    JsonObject object(item);
    Entry entry;
    const auto major = object.require("major", "a device number");
    bool good = major && major->get(entry.major, std::uint32_t{0}, kMostMajor);
    const auto minor = object.require("minor", "a device number");
    good = minor && minor->get(entry.minor, std::uint32_t{0}, kMostMinor) && good;
    refuse_v1(object, "leafWeight", "use weight", {"0"});
    const auto value = object.require(key, "a number");
    good = value && value->get(entry.*number, least, most) && good;
    if (good) list.push_back(entry);
  });
}

constexpr std::uint16_t kLeastWeight = 10, kMostWeight = 1000;

void read_block_io(Json json, BlockIoResources& io, Origins& origins) {
  JsonObject object(json);
  const auto weight = object.find("weight");
  // Docker 20.10 writes 0 where it means "not set".
  const bool unset = weight && weight->is_number() && weight->text() == "0";
  if (!unset)
    read_noted(object, "weight", "blockIO.weight", io.weight, origins, kLeastWeight, kMostWeight);
  refuse_v1(object, "leafWeight", "use weight", {"0"});
  if (const auto list = object.find("weightDevice"))
    read_device_numbers(*list, "weight", io.weight_device, &WeightDevice::weight, kLeastWeight,
                        kMostWeight);
  for (auto [key, name, out] :
       {std::tuple{"throttleReadBpsDevice", "blockIO.rbps", &io.read_bps},
        std::tuple{"throttleWriteBpsDevice", "blockIO.wbps", &io.write_bps},
        std::tuple{"throttleReadIOPSDevice", "blockIO.riops", &io.read_iops},
        std::tuple{"throttleWriteIOPSDevice", "blockIO.wiops", &io.write_iops}}) {
    const auto list = object.find(key);
    if (!list) continue;
    read_device_numbers(*list, "rate", *out, &ThrottleDevice::rate, std::uint64_t{0},
                        std::uint64_t{UINT64_MAX});
    for (const ThrottleDevice& device : *out)
      origins[fmt::format("{}.{}:{}", name, device.major, device.minor)] = {
          list->field(), fmt::format("{}", device.rate), ""};
  }
}

void read_device_rule(Json json, std::vector<DeviceRule>& rules) {
  JsonObject object(json);
  DeviceRule rule;
  const auto allow = object.require("allow", "true or false");
  bool good = allow && allow->get(rule.allow);
  if (const auto type = object.find("type"); type && !type->text().empty())
    good = type->get_word<DeviceRule::Type>(device_rule_type_words, rule.type) && good;
  for (auto [key, out, most] : {std::tuple{"major", &rule.major, kMostMajor},
                                std::tuple{"minor", &rule.minor, kMostMinor}}) {
    const auto place = object.find(key);
    std::int64_t number = -1;  // engines write -1 for "any"
    if (!place) continue;
    good = place->get(number, std::int64_t{-1}, std::int64_t{most}) && good;
    if (number >= 0) *out = static_cast<std::uint32_t>(number);
  }
  std::string access = "rwm";
  if (const auto place = object.find("access")) {
    good = place->get(access) && good;
    if (access.empty() || access.find_first_not_of("rwm") != std::string::npos) {
      place->expected("one or more of the letters r, w, m");
      good = false;
    }
  }
  rule.read = access.find('r') != std::string::npos;
  rule.write = access.find('w') != std::string::npos;
  rule.mknod = access.find('m') != std::string::npos;
  if (good) rules.push_back(rule);
}

void read_hugepages(Json json, std::vector<HugepageLimit>& limits, Origins& origins) {
  json.each([&](Json item) {
    JsonObject object(item);
    HugepageLimit& limit = limits.emplace_back();  // also a bad one: the rules count positions
    const auto size = object.require("pageSize", "a size such as 2MB");
    bool good = size && size->get(limit.page_size);
    if (good && (limit.page_size.find_first_not_of("0123456789") == 0 ||
                 !(limit.page_size.ends_with("KB") || limit.page_size.ends_with("MB") ||
                   limit.page_size.ends_with("GB")) ||
                 limit.page_size.find_first_not_of("0123456789") != limit.page_size.size() - 2)) {
      size->expected("a number followed by KB, MB or GB, such as 2MB");
      good = false;
    }
    const auto value = object.require("limit", "a number of bytes");
    good = value && value->get(limit.limit_bytes) && good;
    if (good) origins["hugepage." + limit.page_size] = {value->field(), value->text(), ""};
  });
}

void read_rdma(Json json, std::map<std::string, RdmaLimit>& rdma) {
  json.each_member([&](Json item) {
    JsonObject object(item);
    RdmaLimit& limit = rdma[item.key()];
    object.read("hcaHandles", limit.hca_handles);
    object.read("hcaObjects", limit.hca_objects);
    if (!limit.hca_handles && !limit.hca_objects && item.is(Json::Kind::object))
      item.expected("hcaHandles, hcaObjects or both");
  });
}

void read_unified(Json json, std::map<std::string, std::string>& unified, Origins& origins) {
  if (!json.get(unified)) return;
  for (Json item : json) origins["unified." + item.key()] = {item.field(), item.text(), ""};
}

}  // namespace

void read_oci_resources(Json json, Resources& resources, Origins& origins) {
  JsonObject object(json);
  object.each("devices", [&](Json item) { read_device_rule(item, resources.devices); });
  if (const auto memory = object.find("memory")) read_memory(*memory, resources.memory, origins);
  if (const auto cpu = object.find("cpu")) read_cpu(*cpu, resources.cpu, origins);
  if (const auto io = object.find("blockIO")) read_block_io(*io, resources.block_io, origins);
  if (const auto pages = object.find("hugepageLimits"))
    read_hugepages(*pages, resources.hugepage_limits, origins);
  if (const auto pids = object.find("pids")) {
    JsonObject members(*pids);
    read_noted(members, "limit", "pids.limit", resources.pids_limit, origins, std::int64_t{-1},
               std::int64_t{INT64_MAX});
  }
  if (const auto rdma = object.find("rdma")) read_rdma(*rdma, resources.rdma);
  if (const auto network = object.find("network")) {
    JsonObject members(*network);
    constexpr std::string_view kNetwork = "mark packets with a BPF program on the cgroup instead";
    refuse_v1(members, "classID", kNetwork, {"0"});
    refuse_v1(members, "priorities", kNetwork, {});
  }
  if (const auto unified = object.find("unified"))
    read_unified(*unified, resources.unified, origins);
}

}  // namespace minirun
