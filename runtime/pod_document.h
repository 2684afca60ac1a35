// Owns: the config.json of each container of a pod, as a CRI runtime writes it. Pure functions.
// Must not: touch the machine; where things are it is told.
#pragma once

#include <map>
#include <string>

#include "base/findings.h"
#include "base/result.h"
#include "spec/kubernetes/plan.h"
#include "spec/kubernetes/pod_run.h"
#include "spec/model.h"

namespace minirun {

/// What a pod has on this machine.
struct PodPlaces {
  std::string uid;
  std::string hostname;
  std::string cgroup;     ///< of the pod, below the mount
  std::string directory;  ///< of the pod: volumes/NAME, shm, hosts
  /// What a container joins: "/proc/PID/fd/7"; empty: it stays in the host's.
  std::string network, ipc, uts;
  std::string address = "127.0.0.1";  ///< status.podIP
  /// Of hosts, hostname and resolv.conf, when the pod is on a network; empty: `directory` has
  /// hosts.
  std::string network_files;
  /// Directory for an image's or a container's name; absent: the host's root below an overlay.
  std::map<std::string, std::string> images;
};

struct PodContainerSpec {
  std::string document;  ///< config.json
  ContainerSpec spec;    ///< what it reads as, with what OCI has no words for (the overlay)
  Findings findings;
};

/// `id` is the container's; `index` counts within its list.
[[nodiscard]] Result<PodContainerSpec> pod_container_spec(
    const kubernetes::PodPlan& plan, const kubernetes::PodRun& run,
    const kubernetes::Container& container, const kubernetes::ContainerRun& how,
    const kubernetes::ContainerPlan& limits, const PodPlaces& places, const std::string& id);

/// $(NAME) as the kubelet replaces it: an unknown name stays as it is, $$(NAME) is $(NAME).
[[nodiscard]] std::string expand_variables(std::string_view text,
                                           const std::map<std::string, std::string>& variables);

/// The directory of a container's image: annotation "minirun/rootfs.NAME" or "minirun/rootfs",
/// then `images` by image and by container. Empty: the host.
[[nodiscard]] std::string image_directory(const kubernetes::PodManifest& pod,
                                          const kubernetes::Container& container,
                                          const std::map<std::string, std::string>& images);

}  // namespace minirun
