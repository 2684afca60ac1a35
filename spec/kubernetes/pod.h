// Owns: PodManifest, what of a Pod decides about resources, and NodeFacts, what of a node does.
// Plain structs; the planner and the resize order read them, the reader fills them.
// Must not: know YAML or JSON, compute anything, or make a system call.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "spec/kubernetes/cpu.h"
#include "spec/kubernetes/quantity.h"

namespace minirun::kubernetes {

/// Resource name ("cpu", "memory", "hugepages-2Mi", "ephemeral-storage", "vendor.example/x").
using ResourceList = std::map<std::string, Quantity>;

struct ResourceRequirements {
  ResourceList requests;
  ResourceList limits;
  bool operator==(const ResourceRequirements&) const = default;
  [[nodiscard]] bool empty() const { return requests.empty() && limits.empty(); }
};

struct EnvVar {
  std::string name, value;
  bool operator==(const EnvVar&) const = default;
};

struct Container {
  std::string name;
  std::string image;
  std::vector<std::string> command, args;
  std::string working_dir;
  std::vector<EnvVar>
      env;  ///< with a literal value; valueFrom cannot be resolved without a cluster
  ResourceRequirements resources;
  bool sidecar = false;  ///< init container with restartPolicy Always
  /// Resources whose in-place resize restarts the container (resizePolicy RestartContainer).
  std::vector<std::string> restart_on_resize;
  std::string pointer;  ///< where it stands in its document: "/spec/containers/0"
  bool operator==(const Container&) const = default;
};

/// emptyDir with medium Memory: a tmpfs whose pages are charged to whoever writes them.
struct MemoryVolume {
  std::string name;
  std::optional<Quantity> size_limit;
  bool operator==(const MemoryVolume&) const = default;
};

struct PodManifest {
  std::string name;
  std::string namespace_name = "default";
  std::string uid;  ///< part of the cgroup path
  std::map<std::string, std::string> labels, annotations;
  std::vector<Container> init_containers;  ///< in the order of the manifest, sidecars among them
  std::vector<Container> containers;       ///< at least one
  std::optional<ResourceRequirements> resources;  ///< pod-level (KEP-2837)
  ResourceList overhead;
  std::optional<std::int32_t> priority;
  std::string priority_class_name;
  std::vector<MemoryVolume> memory_volumes;
  bool operator==(const PodManifest&) const = default;
};

enum class CgroupDriver { cgroupfs, systemd };
enum class Cri { containerd, cri_o, dockershim };
enum class SwapBehavior { no_swap, limited_swap };

/// MemoryQoS (KEP-2570) changed its meaning three times; the era names the first release of each.
struct MemoryQos {
  enum class Era { v1_22, v1_27, v1_36, v1_37 };
  enum class Reservation { none, tiered };
  bool enabled = false;
  Era era = Era::v1_37;
  std::optional<double> throttling_factor;  ///< absent: memory.high is not written (1.37 default)
  Reservation reservation = Reservation::none;
  bool operator==(const MemoryQos&) const = default;
};

struct NodeFacts {
  std::int64_t memory_capacity_bytes = 17179869184;
  std::int64_t swap_capacity_bytes = 0;
  bool swap_controller = true;  ///< memory.swap.max exists
  std::int64_t allocatable_memory_bytes = 16106127360;
  std::int64_t page_size_bytes = 4096;
  std::vector<std::string> huge_page_sizes = {"2MB"};  ///< as in hugetlb.<size>.max
  bool hugetlb_controller = true;
  bool cgroup_v2 = true;

  CgroupDriver driver = CgroupDriver::cgroupfs;
  bool cpu_cfs_quota = true;
  std::uint64_t cpu_cfs_period_us = cpu_period_default_us;
  std::int64_t pod_pids_limit = -1;  ///< <= 0: no limit
  bool single_process_oom_kill = false;
  SwapBehavior swap_behavior = SwapBehavior::no_swap;
  MemoryQos memory_qos;
  /// Containers with exclusive CPUs of the static CPU manager; they are not throttled (1.33).
  std::vector<std::string> exclusive_cpu_containers;
  /// 1.36: pod-level limits default to the sum of the containers' when all have one.
  bool pod_level_limit_defaulting = true;

  Cri cri = Cri::containerd;
  bool writes_hugetlb_rsvd = true;  ///< runc does, crun does not
  /// Of the container's runtime; the kubelet itself is linear for pods and tiers.
  WeightFormula container_weight = WeightFormula::quadratic;
  std::string container_id = "<id>";
  bool operator==(const NodeFacts&) const = default;
};

}  // namespace minirun::kubernetes
