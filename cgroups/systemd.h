// Owns: a container's cgroup as a transient scope of systemd: its name and place from cgroupsPath
// (slice:prefix:name), the limits as unit properties, and the talk with the manager.
// Must not: write cgroup files: exact values are written by apply.h, as without systemd; the
// properties are there so that a `systemctl daemon-reload` does not take the limits back.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/findings.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/dbus.h"
#include "cgroups/plan.h"

namespace minirun {

/// How long systemd may take for a whole operation.
inline constexpr std::chrono::seconds systemd_patience{30};

struct ScopeName {
  std::string slice;  ///< "system.slice"
  std::string unit;   ///< "minirun-web.scope"
  bool operator==(const ScopeName&) const = default;
};

/// "slice:prefix:name" as engines write it; empty is ":minirun:ID". An empty slice is system.slice,
/// for other users than root user.slice. Error: another shape, or characters that no unit name has.
[[nodiscard]] Result<ScopeName> parse_scope_name(std::string_view cgroups_path, std::string_view id,
                                                 bool root);

/// "a-b.slice" is below "a.slice": "/a.slice/a-b.slice"; "-.slice" is "".
/// Error: a dash at the beginning or the end, or two of them (systemd.slice(5)).
[[nodiscard]] Result<std::string> slice_path(std::string_view slice);

/// Where the manager that we ask has its own tree: "" for root, the cgroup of user@UID.service for
/// others.
[[nodiscard]] std::string manager_root(const HostFacts& facts);

/// The limits among `writes` that systemd has a property for.
[[nodiscard]] std::vector<UnitProperty> unit_properties(const std::vector<CgroupWrite>& writes);

/// The body of StartTransientUnit (ssa(sv)a(sa(sv))), for the test.
[[nodiscard]] std::string start_body(const ScopeUnit& scope, pid_t pid);

/// Starts the scope with `pid` in it and waits until it is there. A unit of the same name that is
/// just going away is waited for. Errors: systemd's own words; ETIMEDOUT.
[[nodiscard]] Status start_scope(const ScopeUnit& scope, pid_t pid, const HostFacts& facts);

/// Asks systemd to drop a scope of ours whose cgroup is gone: of one that was removed before it
/// looked, it does not learn by itself. One that it does not know any more is fine.
[[nodiscard]] Status stop_scope(const std::string& unit);

/// Tells systemd new limits of a running scope.
[[nodiscard]] Status set_scope_properties(const std::string& unit,
                                          const std::vector<UnitProperty>& properties,
                                          const HostFacts& facts);

}  // namespace minirun
