// Owns: the short form's words about files: root, mounts, devices.
// Must not: look at the file system; devices are resolved through SpecOptions.
#include <fmt/format.h>

#include <algorithm>

#include "spec/mount_options.h"
#include "spec/oci_parts.h"
#include "spec/oci_reader.h"
#include "spec/short_parts.h"
#include "spec/short_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

void read_path(Json json, const std::string& base_dir, std::string& out) {
  std::string path;
  if (!json.get(path)) return;
  if (path.empty()) return json.expected("a directory");
  out = absolute_path(base_dir, path);
}

void read_overlay(Json json, const std::string& base_dir, Root& root) {
  JsonObject object(json);
  root.kind = Root::Kind::overlay;
  if (const auto lower = object.find("lower")) {
    const auto one = [&](Json item) { read_path(item, base_dir, root.lower.emplace_back()); };
    if (lower->is(Json::Kind::array) && lower->size() > 0)
      for (Json item : *lower) one(item);
    else if (lower->is(Json::Kind::string))
      one(*lower);
    else
      lower->expected("a directory, or an array of them with the topmost first");
  } else {
    root.lower = {"/"};
  }
  const auto upper = object.find("upper");
  const bool tmpfs = !upper || (upper->is(Json::Kind::string) && upper->text() == "tmpfs");
  if (!tmpfs) read_path(*upper, base_dir, root.upper);
  if (const auto work = object.find("work")) {
    read_path(*work, base_dir, root.work);
    if (tmpfs) work->error("expected only together with a directory as \"upper\"");
  }
  if (const auto size = object.find("size")) {
    if (const auto bytes = get_bytes(*size))
      root.tmpfs_size_bytes = static_cast<std::uint64_t>(*bytes);
    if (!tmpfs)
      size->error("expected only with \"upper\": \"tmpfs\"; a directory has no size limit");
  }
}

/// bubblewrap's rule: what comes from outside brings neither set-uid programs nor device nodes
/// unless the user says "suid" or "dev".
void add_safe_options(MountOptions& options) {
  const std::uint64_t said = options.attr_set | options.attr_clear;
  options.attr_set |= (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV) & ~said;
}

void finish_mount(Json json, const std::string& base_dir, Mount& mount) {
  mount.field = json.field();
  if (mount.type.empty() && !mount.options.bind && !mount.options.recursive_bind)
    mount.options.recursive_bind = true;
  if (mount.type == "bind") {
    mount.type.clear();
    if (!mount.options.bind) mount.options.recursive_bind = true;
  }
  const bool bind = mount.options.bind || mount.options.recursive_bind;
  if (bind) {
    mount.source = absolute_path(base_dir, mount.source);
    // "ro" without recursion would leave the mounts below it writable.
    if (mount.options.recursive_bind && (mount.options.attr_set & MOUNT_ATTR_RDONLY) != 0)
      mount.options.rec_attr_set |= MOUNT_ATTR_RDONLY;
  }
  if (bind || mount.type == "tmpfs") add_safe_options(mount.options);
  finish_mount_options(mount.options);
}

/// "source:destination[:option,option]"; "tmpfs:/path" is a tmpfs.
void read_mount_text(Json json, const std::string& base_dir, std::vector<Mount>& mounts) {
  const std::string text = json.text();
  const std::string_view words = text;
  const std::size_t first = words.find(':');
  const std::size_t second = first == words.npos ? words.npos : words.find(':', first + 1);
  if (first == words.npos || first == 0 || first + 1 == words.size() ||
      (second != words.npos && words.find(':', second + 1) != words.npos))
    return json.expected(
        "source:destination or source:destination:options such as "
        "/srv/data:/data:ro; use an object for paths with a colon");
  Mount mount;
  mount.source = words.substr(0, first);
  mount.destination = words.substr(first + 1, second == words.npos ? second : second - first - 1);
  if (mount.source == "tmpfs") mount.type = "tmpfs";
  std::string_view options = second == words.npos ? std::string_view{} : words.substr(second + 1);
  while (!options.empty()) {
    const std::size_t comma = options.find(',');
    if (comma != 0) apply_mount_option(options.substr(0, comma), mount.options);
    options = comma == options.npos ? std::string_view{} : options.substr(comma + 1);
  }
  finish_mount(json, base_dir, mount);
  mounts.push_back(std::move(mount));
}

void read_mount_object(Json json, const std::string& base_dir, std::vector<Mount>& mounts) {
  JsonObject object(json);
  Mount mount;
  object.read("type", mount.type);
  std::vector<std::string> options;
  object.read("options", options);
  for (const std::string& option : options) apply_mount_option(option, mount.options);
  const auto destination = object.require("destination", "an absolute path in the container");
  if (destination) destination->get(mount.destination);
  const bool bind = mount.type.empty() || mount.type == "bind" || mount.options.bind ||
                    mount.options.recursive_bind;
  const auto source = bind ? object.require("source", "the path to bind") : object.find("source");
  if (source && source->get(mount.source) && bind && mount.source.empty())
    source->expected("the path to bind");
  if (!bind && mount.source.empty()) mount.source = mount.type;
  if (const auto size = object.find("size")) {
    const auto bytes = get_bytes(*size);
    if (mount.type != "tmpfs")
      size->error("expected only for a mount of type tmpfs");
    else if (bytes)
      mount.options.data.push_back(fmt::format("size={}", *bytes));
  }
  finish_mount(json, base_dir, mount);
  mounts.push_back(std::move(mount));
}

/// The host's device `path` becomes a node and a rule.
void add_host_device(Json json, const std::string& host_path, const std::string& path,
                     std::string_view access, const SpecOptions& options, ContainerSpec& spec) {
  if (!host_path.starts_with('/') || !path.starts_with('/'))
    return json.expected("an absolute path such as /dev/fuse");
  if (access.empty() || access.find_first_not_of("rwm") != access.npos)
    return json.expected("access made of the letters r, w, m");
  const auto numbers = options.resolve_device(host_path);
  if (!numbers) return json.error(fmt::format("{}: {}", json.shown(), to_string(numbers.error())));
  Device device;
  device.type = numbers->type;
  device.path = path;
  device.major = numbers->major;
  device.minor = numbers->minor;
  spec.devices.push_back(device);
  const bool block = device.type == Device::Type::block;
  spec.resources.devices.push_back(
      {.allow = true,
       .type = block ? DeviceRule::Type::block : DeviceRule::Type::character,
       .major = device.major,
       .minor = device.minor,
       .read = access.find('r') != access.npos,
       .write = access.find('w') != access.npos,
       .mknod = access.find('m') != access.npos});
}

/// "/dev/fuse", "/dev/fuse:/dev/other" or "/dev/fuse:/dev/other:rw".
void read_device_text(Json json, const SpecOptions& options, ContainerSpec& spec) {
  std::vector<std::string> parts(1);
  for (char c : json.text())
    if (c == ':')
      parts.emplace_back();
    else
      parts.back().push_back(c);
  if (parts.size() > 3) return json.expected("/dev/NAME, or HOST:CONTAINER:ACCESS");
  add_host_device(json, parts[0], parts.size() > 1 ? parts[1] : parts[0],
                  parts.size() > 2 ? parts[2] : "rwm", options, spec);
}

void read_device_object(Json json, const SpecOptions& options, ContainerSpec& spec) {
  JsonObject object(json);
  std::string source, path, access = "rwm";
  if (const auto place = object.require("source", "a device of the host")) place->get(source);
  path = source;
  object.read("path", path);
  object.read("access", access);
  if (!source.empty()) add_host_device(json, source, path, access, options, spec);
}

}  // namespace

void read_short_root(JsonObject& object, const std::string& base_dir, ContainerSpec& spec) {
  Root& root = spec.root;
  object.read("readonly", root.readonly);
  const auto json = object.find("root");
  if (!json) {
    root.kind = Root::Kind::overlay;
    root.lower = {"/"};
    return;
  }
  if (json->is(Json::Kind::string)) return read_path(*json, base_dir, root.path);
  if (!json->is(Json::Kind::object))
    return json->expected(
        "a directory, or {\"overlay\": {\"lower\": [...], \"upper\": \"tmpfs\"}}");
  JsonObject members(*json);
  if (const auto overlay = members.require("overlay", "an object with lower and upper"))
    read_overlay(*overlay, base_dir, root);
}

void read_short_mounts(JsonObject& object, const std::string& base_dir, ContainerSpec& spec) {
  const auto& gids = spec.gid_mappings;
  const bool has_gid_5 =
      gids.empty() || std::any_of(gids.begin(), gids.end(), [](const IdMapping& map) {
        return map.container_id <= 5 && 5 - map.container_id < map.size;
      });
  std::vector<Mount> mounts;
  object.each("mounts", [&](Json item) {
    if (item.is(Json::Kind::string))
      read_mount_text(item, base_dir, mounts);
    else
      read_mount_object(item, base_dir, mounts);
  });
  // The user's /proc or /dev/shm takes the place of the default one.
  spec.mounts = default_mounts(has_gid_5);
  std::erase_if(spec.mounts, [&](const Mount& mount) {
    return std::any_of(mounts.begin(), mounts.end(),
                       [&](const Mount& own) { return own.destination == mount.destination; });
  });
  for (Mount& mount : mounts) spec.mounts.push_back(std::move(mount));
}

void read_short_devices(JsonObject& object, const SpecOptions& options, ContainerSpec& spec) {
  object.each("devices", [&](Json item) {
    if (item.is(Json::Kind::string))
      read_device_text(item, options, spec);
    else
      read_device_object(item, options, spec);
  });
}

}  // namespace minirun
