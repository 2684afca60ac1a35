// Owns: what commands share: reading a spec, planning its start, reading a container's own spec
// back. Must not: start anything.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "runtime/container.h"
#include "runtime/plan.h"
#include "spec/load.h"

namespace minirun::cli {

/// The most of what `update` and `exec` read from a file, in bytes.
constexpr std::size_t document_most = 1 << 20;

/// A spec with everything that the command line changes in it.
struct Overrides {
  std::vector<std::string> environment;  ///< K=V, replaces an entry of the same name
  std::vector<std::string> arguments;    ///< replaces process.args when not empty
};
void apply(const Overrides& overrides, ContainerSpec& spec);

/// The spec of an existing container, as it was started.
[[nodiscard]] Result<ContainerSpec> original_spec(const ContainerDir& dir, const Record& record);

/// The same with the limits that `update` gave it since.
[[nodiscard]] Result<ContainerSpec> stored_spec(const ContainerDir& dir, const Record& record);

/// The compiled filter of the spec, from the cache in the state directory when there is one.
/// nullopt: the spec has none. Warnings go to `output`.
[[nodiscard]] Result<std::optional<SeccompProgram>> seccomp_of(const ContainerSpec& spec,
                                                               const StateRoot* root,
                                                               Output& output);

/// --cgroup-manager and --systemd-cgroup.
[[nodiscard]] CgroupManager manager_of(const GlobalOptions& options);

/// "15", "TERM", "SIGTERM", "rtmin+3"; case-insensitive. 0 asks whether it lives. nullopt: no
/// signal.
[[nodiscard]] std::optional<int> parse_signal(std::string_view text);

}  // namespace minirun::cli
