// Owns: linux.* of config.json but resources and seccomp.
// Must not: judge rules across fields (validate.h does).
#include <fmt/format.h>

#include <algorithm>

#include "spec/oci_parts.h"
#include "spec/oci_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

void read_namespace(Json json, std::vector<Namespace>& namespaces) {
  JsonObject object(json);
  Namespace ns;
  const auto type = object.require("type", "a namespace such as pid");
  bool good = type && type->get_word<NamespaceType>(namespace_words, ns.type);
  const auto path = object.find("path");
  if (path && path->get(ns.path) && !ns.path.empty() && !ns.path.starts_with('/')) {
    path->expected("an absolute path such as /proc/1/ns/net");
    good = false;
  }
  // The position counts bad entries too, so a second one is reported here and not by the rules.
  const auto same = [&](const Namespace& other) { return other.type == ns.type; };
  if (good && std::any_of(namespaces.begin(), namespaces.end(), same))
    return json.error(
        fmt::format("the namespace {} is there twice, expected it once", namespace_name(ns.type)));
  if (good) namespaces.push_back(std::move(ns));
}

void read_time_offsets(Json json, std::map<std::string, TimeOffset>& offsets) {
  JsonObject object(json);
  for (const char* clock : {"monotonic", "boottime"}) {
    const auto place = object.find(clock);
    if (!place) continue;
    JsonObject members(*place);
    TimeOffset& offset = offsets[clock];
    members.read("secs", offset.secs);
    members.read_within("nanosecs", offset.nanosecs, 0, 999'999'999);
  }
}

void read_net_devices(Json json, std::map<std::string, std::string>& devices) {
  json.each_member([&](Json item) {
    JsonObject object(item);
    std::string name;
    object.read("name", name);
    devices[item.key()] = name.empty() ? item.key() : name;
  });
}

void read_intel_rdt(Json json, IntelRdt& rdt) {
  JsonObject object(json);
  object.read("closID", rdt.clos_id);
  object.read("schemata", rdt.schemata);
  object.read("l3CacheSchema", rdt.l3_cache_schema);
  object.read("memBwSchema", rdt.mem_bw_schema);
  object.read("enableMonitoring", rdt.enable_monitoring);
  // The two of specification 1.1 and 1.2, which 1.3 replaced by enableMonitoring.
  for (const char* old : {"enableCMT", "enableMBM"}) {
    bool on = false;
    if (object.read(old, on) && on) rdt.enable_monitoring = true;
  }
}

void read_memory_policy(Json json, MemoryPolicy& policy) {
  JsonObject object(json);
  if (const auto mode = object.require("mode", "a mode such as MPOL_BIND"))
    mode->get_word<int>(memory_policy_words, policy.mode);
  object.read("nodes", policy.nodes);
  object.each("flags", [&](Json item) {
    unsigned flag = 0;
    if (item.get_word<unsigned>(memory_policy_flag_words, flag)) policy.flags |= flag;
  });
}

void read_personality(Json json, Personality& personality) {
  JsonObject object(json);
  if (const auto domain = object.require("domain", "LINUX or LINUX32"))
    domain->get_word<unsigned long>(personality_words, personality.domain);
  object.each("flags", [](Json item) {
    item.error(fmt::format("{}, expected no flag: the specification defines none", item.shown()));
  });
}

void read_propagation(Json json, std::uint64_t& flags) {
  if (json.is(Json::Kind::string) && json.text().empty()) return;
  json.get_word<std::uint64_t>(propagation_words, flags);
}

}  // namespace

void read_device(Json json, Device& device) {
  JsonObject object(json);
  if (const auto type = object.require("type", "c, b, u or p"))
    type->get_word<Device::Type>(device_type_words, device.type);
  if (const auto path = object.require("path", "an absolute path in the container"))
    path->get(device.path);
  const bool fifo = device.type == Device::Type::fifo;
  for (auto [key, out, most] : {std::tuple{"major", &device.major, kMostMajor},
                                std::tuple{"minor", &device.minor, kMostMinor}}) {
    const auto number = fifo ? object.find(key) : object.require(key, "a device number");
    if (number) number->get(*out, std::uint32_t{0}, most);
  }
  std::uint32_t mode = 0;
  if (object.read("fileMode", mode))
    device.file_mode = mode & 07777;  // Go programs put the type bits in as well
  object.read_within("uid", device.uid, 0, kMostId);
  object.read_within("gid", device.gid, 0, kMostId);
}

void read_oci_linux(Json json, ContainerSpec& spec) {
  JsonObject object(json);
  object.each("namespaces", [&](Json item) { read_namespace(item, spec.namespaces); });
  if (const auto map = object.find("uidMappings")) read_oci_id_mappings(*map, spec.uid_mappings);
  if (const auto map = object.find("gidMappings")) read_oci_id_mappings(*map, spec.gid_mappings);
  if (const auto offsets = object.find("timeOffsets"))
    read_time_offsets(*offsets, spec.time_offsets);
  object.each("devices", [&](Json item) { read_device(item, spec.devices.emplace_back()); });
  if (const auto devices = object.find("netDevices")) read_net_devices(*devices, spec.net_devices);
  object.read("cgroupsPath", spec.cgroups_path);
  if (const auto resources = object.find("resources"))
    read_oci_resources(*resources, spec.resources, spec.origins);
  if (const auto propagation = object.find("rootfsPropagation"))
    read_propagation(*propagation, spec.rootfs_propagation);
  if (const auto seccomp = object.find("seccomp"))
    read_oci_seccomp(*seccomp, spec.seccomp.emplace());
  object.read("sysctl", spec.sysctl);
  object.read("maskedPaths", spec.masked_paths);
  object.read("readonlyPaths", spec.readonly_paths);
  object.read("mountLabel", spec.mount_label);
  if (const auto rdt = object.find("intelRdt")) read_intel_rdt(*rdt, spec.intel_rdt.emplace());
  if (const auto policy = object.find("memoryPolicy"))
    read_memory_policy(*policy, spec.memory_policy.emplace());
  if (const auto personality = object.find("personality"))
    read_personality(*personality, spec.personality.emplace());
}

}  // namespace minirun
