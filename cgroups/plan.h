// Owns: what a container's cgroup will be: its path, its controllers, every value to write and
// the device rules. Pure functions over ContainerSpec and HostFacts; `explain` prints the result.
// Must not: make a system call, or drop a limit that cannot be set (it becomes a Finding).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/findings.h"
#include "base/host_facts.h"
#include "spec/kubernetes/cpu.h"
#include "spec/model.h"

namespace minirun {

/// What to do when the kernel has no such file. Decided here, shown by `explain`.
enum class IfAbsent {
  fail,
  skip,   ///< absence means the same as the value, e.g. memory.swap.max=0 without swap
  write,  ///< `else_file` and `else_value` instead
};

/// One write(2) of one value.
struct CgroupWrite {
  std::string controller;  ///< "memory"; "cgroup" for the core files
  std::string file;        ///< "memory.max"
  std::string value;       ///< one line without its newline
  std::string v1_name;     ///< the cgroup v1 file of the same meaning; empty: there is none
  std::string source;      ///< the user's field: "resources.limits.memory"
  std::string formula;     ///< "swap 200 - limit 150 = 50"; empty when copied as it is
  IfAbsent if_absent = IfAbsent::fail;
  std::string else_file;
  std::string else_value;
  bool operator==(const CgroupWrite&) const = default;
};

/// A property of a systemd unit, in the types that its limits have.
struct UnitProperty {
  std::string name;
  std::variant<std::string, bool, std::uint64_t, std::vector<std::uint8_t>> value;
  bool operator==(const UnitProperty&) const = default;
};

/// The transient scope that is the container's cgroup under the systemd cgroup manager.
struct ScopeUnit {
  std::string unit;   ///< "minirun-web.scope"
  std::string slice;  ///< "system.slice"
  std::string description;
  std::vector<UnitProperty> properties;
  bool operator==(const ScopeUnit&) const = default;
};

/// Who makes the container's cgroup.
enum class CgroupManager {
  cgroupfs,  ///< we, with mkdir(2)
  systemd,   ///< systemd, as a scope unit
  disabled,  ///< nobody: the container stays in the caller's
};

struct CgroupPlan {
  /// Below the cgroup2 mount, absolute, without "." or "..": "/minirun/<id>". Empty: no cgroup of
  /// its own.
  std::string path;
  std::vector<std::string> controllers;  ///< to be enabled along the path, in table order
  std::vector<CgroupWrite> writes;       ///< in this order
  bool check_memory = false;  ///< refuse a memory.max or memory.swap.max at or below the usage
  bool attach_devices = false;
  std::vector<DeviceRule> devices;  ///< the last match of each access bit wins, default deny
  std::optional<ScopeUnit> scope;   ///< made by systemd at `path`
  bool operator==(const CgroupPlan&) const = default;
};

struct CgroupPlanOptions {
  WeightFormula formula = WeightFormula::quadratic;
  /// Enable every accounting controller that the host has (cpu, memory, io, pids), also without
  /// a limit: for probes and statistics. Costs the start some hundred microseconds.
  bool account = false;
  /// The cgroup exists and has values: cpu.max.burst is lowered before cpu.max.
  bool update = false;
  CgroupManager manager = CgroupManager::cgroupfs;
};

struct CgroupPlanResult {
  CgroupPlan plan;
  Findings findings;
};

/// The plan for a container. Findings with Level::error mean that it must not be applied.
///
/// Path: `linux.cgroupsPath` absolute is below the mount, relative is below "/minirun", empty is
/// "/minirun/<id>". For other users than root, who own only a delegated subtree, "/minirun" is
/// beside their own cgroup, as it is for runc.
[[nodiscard]] CgroupPlanResult plan_cgroup(const ContainerSpec& spec, const HostFacts& host,
                                           std::string_view id, CgroupPlanOptions options = {});

/// Why `controller` is not to be had in `facts`, and what to do about it; empty when it is there.
[[nodiscard]] std::string why_missing(const CgroupFacts& facts, std::string_view controller);

/// One row per controller that minirun knows, in the order in which values are written.
struct ControllerInfo {
  std::string_view name;
  std::string_view v1_name;  ///< the controller of cgroup v1 that does the same
  std::string_view summary;
};
[[nodiscard]] std::span<const ControllerInfo> known_controllers();

}  // namespace minirun
