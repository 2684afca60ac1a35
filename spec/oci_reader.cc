// Owns: the top level of config.json, root, mounts and hooks.
// Must not: read process, linux or resources (their own files).
#include "spec/oci_reader.h"

#include <fmt/format.h>

#include "spec/mount_options.h"
#include "spec/oci_parts.h"
#include "spec/words.h"

namespace minirun {
namespace {

/// SemVer 2.0 of major version 1; any minor, since unknown properties are allowed anyway.
bool is_version_1(std::string_view version) {
  if (!version.starts_with("1.")) return false;
  version.remove_prefix(2);
  int numbers = 1;
  bool digit = false;
  for (std::size_t i = 0; i < version.size(); ++i) {
    const char c = version[i];
    if (c >= '0' && c <= '9') {
      digit = true;
    } else if (c == '.' && digit && numbers == 1) {
      ++numbers;
      digit = false;
    } else {
      return digit && numbers == 2 && (c == '-' || c == '+') && i + 1 < version.size();
    }
  }
  return digit && numbers == 2;
}

void read_version(JsonObject& object, std::string& out) {
  const auto json = object.require("ociVersion", "the version of the specification, 1.x.y");
  if (!json || !json->get(out)) return;
  if (!is_version_1(out)) json->expected("a version 1.x.y of the OCI runtime specification");
}

void read_root(Json json, const std::string& bundle_dir, Root& root) {
  JsonObject object(json);
  std::string path;
  const auto place = object.require("path", "the directory of the root file system");
  if (place && place->get(path)) {
    if (path.empty())
      place->expected("a directory");
    else
      root.path = absolute_path(bundle_dir, path);
  }
  object.read("readonly", root.readonly);
}

void read_options(Json json, MountOptions& options) {
  std::vector<std::string> words;
  if (!json.get(words)) return;
  for (const std::string& word : words)
    if (!word.empty()) apply_mount_option(word, options);
  finish_mount_options(options);
}

void read_mount(Json json, const std::string& bundle_dir, Mount& mount) {
  JsonObject object(json);
  mount.field = json.field();
  const auto destination = object.require("destination", "an absolute path in the container");
  if (destination && destination->get(mount.destination) && !mount.destination.empty() &&
      !mount.destination.starts_with('/')) {
    destination->warning(fmt::format("{} is relative, which is deprecated; taken as \"/{}\"",
                                     destination->shown(), pointer_token(mount.destination)));
    mount.destination = fmt::format("/{}", mount.destination);
  }
  const auto type = object.find("type");
  if (type) type->get(mount.type);
  const bool no_type = !type || (type->is(Json::Kind::string) && mount.type.empty());
  const auto source = object.find("source");
  if (source) source->get(mount.source);
  const auto options = object.find("options");
  if (options) read_options(*options, mount.options);
  if (mount.type == "bind" && !mount.options.bind && !mount.options.recursive_bind) {
    // The kernel has no such file system; runc and crun take it for a bind as well.
    json.warning("type bind without the option bind or rbind; taken as bind");
    mount.options.bind = true;
    finish_mount_options(mount.options);
  }
  if (mount.options.bind || mount.options.recursive_bind) {
    if (mount.source.empty())
      json.missing("source", "the path to bind");
    else
      mount.source = absolute_path(bundle_dir, mount.source);
  } else if (no_type && json.is(Json::Kind::object) && !mount.options.remount &&
             mount.options.propagation.empty()) {
    json.missing("type", "a file system type, or the option bind or rbind");
  }
  if (const auto map = object.find("uidMappings")) read_oci_id_mappings(*map, mount.uid_mappings);
  if (const auto map = object.find("gidMappings")) read_oci_id_mappings(*map, mount.gid_mappings);
}

void read_hook(Json json, Hook& hook) {
  JsonObject object(json);
  const auto path = object.require("path", "the absolute path of a program");
  if (path && path->get(hook.path) && !hook.path.starts_with('/'))
    path->expected("an absolute path");
  object.read("args", hook.args);
  object.read("env", hook.env);
  std::int64_t seconds = 0;
  // At most a year: far beyond any use, far from an overflow of a clock.
  if (object.read_within("timeout", seconds, 1, 31'536'000))
    hook.timeout = std::chrono::seconds(seconds);
}

void read_hook_list(JsonObject& object, std::string_view key, std::vector<Hook>& hooks) {
  object.each(key, [&](Json item) { read_hook(item, hooks.emplace_back()); });
}

void read_annotations(Json json, std::map<std::string, std::string>& annotations) {
  json.get(annotations);
  if (annotations.contains("")) json.error("an empty key, expected keys such as org.example.key");
}

}  // namespace

std::string absolute_path(const std::string& base_dir, std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  while (path.starts_with("./")) {
    path.remove_prefix(2);
    while (path.starts_with('/')) path.remove_prefix(1);
  }
  if (path.empty() || path == ".") return base_dir;
  return fmt::format("{}{}{}", base_dir, base_dir.ends_with('/') ? "" : "/", path);
}

void read_oci_id_mappings(Json json, std::vector<IdMapping>& mappings) {
  json.each([&](Json item) {
    JsonObject object(item);
    IdMapping& mapping = mappings.emplace_back();  // also a bad one: the rules count positions
    for (auto [key, out] : {std::pair{"containerID", &mapping.container_id},
                            {"hostID", &mapping.host_id},
                            {"size", &mapping.size}})
      if (const auto place = object.require(key, "a number")) place->get(*out);
  });
}

void read_oci_hooks(Json json, Hooks& hooks) {
  JsonObject object(json);
  read_hook_list(object, "prestart", hooks.prestart);
  read_hook_list(object, "createRuntime", hooks.create_runtime);
  read_hook_list(object, "createContainer", hooks.create_container);
  read_hook_list(object, "startContainer", hooks.start_container);
  read_hook_list(object, "poststart", hooks.poststart);
  read_hook_list(object, "poststop", hooks.poststop);
}

ContainerSpec read_oci(Json document, const std::string& bundle_dir) {
  ContainerSpec spec;
  JsonObject object(document);
  read_version(object, spec.oci_version);
  if (const auto json = object.find("process")) read_oci_process(*json, spec.process.emplace());
  if (const auto json = object.require("root", "an object with path, required on Linux"))
    read_root(*json, bundle_dir, spec.root);
  object.read("hostname", spec.hostname);
  object.read("domainname", spec.domainname);
  // Go programs write an empty string where they mean nothing.
  if (spec.hostname && spec.hostname->empty()) spec.hostname.reset();
  if (spec.domainname && spec.domainname->empty()) spec.domainname.reset();
  object.each("mounts",
              [&](Json item) { read_mount(item, bundle_dir, spec.mounts.emplace_back()); });
  if (const auto json = object.find("hooks")) read_oci_hooks(*json, spec.hooks);
  if (const auto json = object.find("annotations")) read_annotations(*json, spec.annotations);
  if (const auto json = object.find("linux")) read_oci_linux(*json, spec);
  for (std::string_view platform : {"solaris", "windows", "vm", "zos", "freebsd"})
    if (const auto json = object.find(platform))
      json->warning("for another platform than Linux, ignored");
  return spec;
}

}  // namespace minirun
