// Owns: minirun's short form -> ContainerSpec, with its safe defaults.
// Must not: make a system call (devices are resolved through SpecOptions) or judge rules across
// fields (validate.h does). docs/minirun.schema.json describes the same format.
#pragma once

#include <string>
#include <vector>

#include "spec/json.h"
#include "spec/model.h"
#include "spec/options.h"

namespace minirun {

/// Reads a whole document. What is not said is closed: new namespaces, no network but loopback,
/// the 14 capabilities of the field, its seccomp profile, no_new_privs, masked and read-only
/// paths, a device allow-list, a throw-away layer over the host's root. Relative paths are below
/// `base_dir`, which is absolute.
[[nodiscard]] ContainerSpec read_short(Json document, const std::string& base_dir,
                                       const SpecOptions& options);

/// The resources object alone, in Kubernetes' words, as `update` takes it.
void read_short_resources(Json json, const SpecOptions& options, Resources& resources,
                          std::map<std::string, Origin>& origins);

// The defaults, shared with the other formats that are not OCI.
[[nodiscard]] std::vector<std::string> default_masked_paths();
[[nodiscard]] std::vector<std::string> default_readonly_paths();
/// /proc, /dev, /dev/pts, /dev/shm, /dev/mqueue, /sys and /sys/fs/cgroup. `map_gid_5`: whether the
/// container has a gid 5 (tty), which a user namespace with one id does not.
[[nodiscard]] std::vector<Mount> default_mounts(bool map_gid_5);
[[nodiscard]] Capabilities capabilities_of(std::uint64_t bits);
inline constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

}  // namespace minirun
