// Owns: OCI runtime-spec 1.3 config.json for Linux -> ContainerSpec.
// Must not: make a system call, or judge rules across fields (validate.h does).
#pragma once

#include <string>
#include <string_view>

#include "base/findings.h"
#include "spec/json.h"
#include "spec/model.h"

namespace minirun {

/// Reads a whole config.json. A known property with a bad value is an error at its pointer, an
/// unknown property a warning; what only cgroup v1 can do is an error that says so. Relative
/// root.path and bind sources are below `bundle_dir`, which is absolute.
[[nodiscard]] ContainerSpec read_oci(Json document, const std::string& bundle_dir);

/// The linux.resources object alone, as `update` takes it; fills `resources` and the origins
/// ("cpu.quota" and so on) of the values that are there.
void read_oci_resources(Json json, Resources& resources, std::map<std::string, Origin>& origins);

/// The process object alone, as `exec --process` takes it.
void read_oci_process(Json json, Process& process);

/// The linux.seccomp object, shared with the short form.
void read_oci_seccomp(Json json, Seccomp& seccomp);

/// `path` as an absolute one: joined to `base_dir` unless it is absolute already. No system call,
/// so ".." and symlinks stay for the kernel to resolve.
[[nodiscard]] std::string absolute_path(const std::string& base_dir, std::string_view path);

}  // namespace minirun
