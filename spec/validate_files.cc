// Owns: the rules about paths: mounts, root, devices, masks, the cgroup path.
// Must not: look at the file system.
#include "spec/places.h"

namespace minirun {
namespace {

bool has_dotdot(std::string_view path) {
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    if (path.substr(0, slash) == "..") return true;
    path = slash == path.npos ? std::string_view{} : path.substr(slash + 1);
  }
  return false;
}

/// Absolute and without "..": the way up could leave what the path is meant to stay in.
void check_inside_path(std::string_view path, const std::string& oci, const std::string& short_form,
                       Reporter& report) {
  if (!path.starts_with('/'))
    report.error(oci, short_form, quote_text(path) + ", expected an absolute path");
  else if (has_dotdot(path))
    report.error(oci, short_form, quote_text(path) + ", expected a path without \"..\"");
}

void check_mount(const ContainerSpec& spec, const Mount& mount, Reporter& report) {
  const std::string place = Reporter::pointer_of_field(mount.field);
  check_inside_path(mount.destination, place + "/destination", place + "/destination", report);
  const MountOptions& options = mount.options;
  if (!options.remount && mount.destination.starts_with('/') &&
      mount.destination.find_first_not_of("/.") == std::string::npos &&
      !has_dotdot(mount.destination))
    report.error(place + "/destination", place + "/destination",
                 quote_text(mount.destination) +
                     " is the root file system itself, expected a path below it");
  if (mount.uid_mappings.empty() != mount.gid_mappings.empty())
    report.error(place, place, "uidMappings or gidMappings alone, expected both or neither");
  const bool idmapped = options.idmap || options.recursive_idmap;
  const Namespace* user = spec.find_namespace(NamespaceType::user);
  if (idmapped && mount.uid_mappings.empty() && user == nullptr)
    report.error(place + "/options", place + "/options",
                 "idmap, expected uidMappings and gidMappings or a user namespace with it");
  // What a file system is told anew would be told to all that share it, the host too.
  if (options.remount && !options.data.empty())
    report.error(
        place + "/options", place + "/options",
        quote_text(options.data.front()) +
            ", expected it at the mount itself: remount changes the flags of a mount only");
  else if ((options.bind || options.recursive_bind) && !options.data.empty())
    report.error(place + "/options", place + "/options",
                 quote_text(options.data.front()) +
                     ", expected a mount option: a bind has no file system to give it to");
}

void check_root(const ContainerSpec& spec, Reporter& report) {
  const Root& root = spec.root;
  if (root.kind != Root::Kind::overlay) return;
  for (const std::string& lower : root.lower)
    if (!root.upper.empty() && lower == root.upper)
      report.error("/root", "/root/overlay/upper",
                   quote_text(lower) + " is a lower directory as well");
}

}  // namespace

void validate_files(const ContainerSpec& spec, Reporter& report) {
  check_root(spec, report);
  for (const Mount& mount : spec.mounts) check_mount(spec, mount, report);
  for (std::size_t i = 0; i < spec.devices.size(); ++i)
    check_inside_path(spec.devices[i].path, fmt::format("/linux/devices/{}/path", i),
                      fmt::format("/devices/{}", i), report);
  for (std::size_t i = 0; i < spec.masked_paths.size(); ++i)
    check_inside_path(spec.masked_paths[i], fmt::format("/linux/maskedPaths/{}", i),
                      fmt::format("/masked_paths/{}", i), report);
  for (std::size_t i = 0; i < spec.readonly_paths.size(); ++i)
    check_inside_path(spec.readonly_paths[i], fmt::format("/linux/readonlyPaths/{}", i),
                      fmt::format("/readonly_paths/{}", i), report);
  if (has_dotdot(spec.cgroups_path))
    report.error("/linux/cgroupsPath", "/cgroup",
                 quote_text(spec.cgroups_path) + ", expected a path without \"..\"");
}

}  // namespace minirun
