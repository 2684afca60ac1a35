// Owns: the top level of the short form, and its defaults.
// Must not: know the parts (short_process.cc, short_files.cc, short_isolation.cc, ...).
#include "spec/short_reader.h"

#include <fmt/format.h>

#include "spec/default_seccomp.h"
#include "spec/duration.h"
#include "spec/mount_options.h"
#include "spec/oci_reader.h"
#include "spec/short_parts.h"
#include "spec/words.h"

namespace minirun {
namespace {

void read_seccomp(JsonObject& object, ContainerSpec& spec) {
  const auto json = object.find("seccomp");
  if (json && json->is(Json::Kind::object)) return read_oci_seccomp(*json, spec.seccomp.emplace());
  if (json && json->text() == "unconfined" && json->is(Json::Kind::string)) return;
  if (json && !(json->is(Json::Kind::string) && json->text() == "default"))
    return json->expected("default, unconfined, or a seccomp object as in OCI");
  const auto& capabilities = spec.process->capabilities;
  spec.seccomp = default_seccomp(capabilities ? capabilities->bounding : 0);
}

/// An array of paths, or "none".
void read_paths(JsonObject& object, std::string_view key, std::vector<std::string>& paths) {
  const auto json = object.find(key);
  if (!json) return;
  if (json->is(Json::Kind::array))
    json->get(paths);
  else if (json->is(Json::Kind::string) && json->text() == "none")
    paths.clear();
  else
    json->expected("an array of absolute paths, which replaces the default, or none");
}

void read_sysctl(JsonObject& object, std::map<std::string, std::string>& sysctl) {
  const auto json = object.find("sysctl");
  if (!json) return;
  json->each_member([&](Json item) {
    if (item.is(Json::Kind::string) || item.is(Json::Kind::integer))
      sysctl[item.key()] = item.text();
    else
      item.expected("a string or an integer");
  });
}

void read_timeout(JsonObject& object, ContainerSpec& spec) {
  const auto json = object.find("timeout");
  if (!json) return;
  std::int64_t seconds = 0;
  if (json->is_number()) {
    if (json->get(seconds, std::int64_t{1}, std::int64_t{31'536'000}))
      spec.timeout = std::chrono::seconds(seconds);
    return;
  }
  const auto duration = get_duration(*json);
  if (!duration) return;
  if (*duration < std::chrono::milliseconds(1) || *duration > std::chrono::hours(8760))
    json->expected("a duration from 1ms to 8760h");
  else
    spec.timeout = std::chrono::duration_cast<std::chrono::milliseconds>(*duration);
}

void read_hostname(JsonObject& object, ContainerSpec& spec) {
  object.read("domainname", spec.domainname);
  if (object.read("hostname", spec.hostname)) return;
  // Only a new UTS namespace may be named; the host's keeps its name.
  const Namespace* uts = spec.find_namespace(NamespaceType::uts);
  if (!uts || !uts->path.empty()) return;
  std::string name = spec.name.empty() ? "minirun" : spec.name.substr(0, 63);
  for (char& c : name)
    if (c == '_' || c == '+') c = '-';  // not in a host name (RFC 1123)
  spec.hostname = name;
}

}  // namespace

std::optional<std::chrono::microseconds> get_duration(Json json) {
  const auto duration = json.is(Json::Kind::string) ? parse_duration(json.text()) : std::nullopt;
  if (!duration) json.expected("a duration such as 20ms, 1.5s or 1m30s");
  return duration;
}

Capabilities capabilities_of(std::uint64_t bits) {
  return {.bounding = bits, .effective = bits, .inheritable = 0, .permitted = bits, .ambient = 0};
}

ContainerSpec read_short(Json document, const std::string& base_dir, const SpecOptions& options) {
  ContainerSpec spec;
  JsonObject object(document);
  for (const char* key : {"$schema", "description"}) object.ignore(key);
  object.read("name", spec.name);
  read_short_process(object, spec.process.emplace());
  read_short_namespaces(object, options, spec);
  read_hostname(object, spec);
  read_short_root(object, base_dir, spec);
  read_short_mounts(object, base_dir, spec);
  // Nothing but what every container may use, which the device filter adds (cgroups/devices.cc).
  spec.resources.devices = {{.allow = false, .major = {}, .minor = {}}};
  read_short_devices(object, options, spec);
  if (const auto json = object.find("resources"))
    read_short_resources(*json, options, spec.resources, spec.origins);
  read_seccomp(object, spec);
  spec.masked_paths = default_masked_paths();
  spec.readonly_paths = default_readonly_paths();
  if (spec.root.kind == Root::Kind::overlay && spec.root.lower == std::vector<std::string>{"/"})
    for (const char* secret : {"/etc/shadow", "/etc/gshadow"}) spec.masked_paths.push_back(secret);
  read_paths(object, "masked_paths", spec.masked_paths);
  read_paths(object, "readonly_paths", spec.readonly_paths);
  read_sysctl(object, spec.sysctl);
  object.read("annotations", spec.annotations);
  object.read("cgroup", spec.cgroups_path);
  read_timeout(object, spec);
  return spec;
}

std::vector<std::string> default_masked_paths() {
  return {"/proc/acpi",        "/proc/asound",  "/proc/interrupts",
          "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
          "/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
          "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
}

std::vector<std::string> default_readonly_paths() {
  return {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
}

std::vector<Mount> default_mounts(bool map_gid_5) {
  struct Row {
    const char* destination;
    const char* type;
    const char* source;
    std::vector<const char*> options;
  };
  std::vector<Row> rows = {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
      {"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}},
  };
  if (map_gid_5) rows[2].options.push_back("gid=5");
  std::vector<Mount> mounts;
  for (const Row& row : rows) {
    Mount& mount = mounts.emplace_back();
    mount.destination = row.destination;
    mount.type = row.type;
    mount.source = row.source;
    for (const char* option : row.options) apply_mount_option(option, mount.options);
    mount.field = fmt::format("default mount {}", row.destination);
  }
  return mounts;
}

}  // namespace minirun
