// Owns: what the containers of a pod share: namespaces, the pod's cgroup, its directory with
// volumes, hosts and /dev/shm. The destructor undoes all of it.
// Must not: know processes of the pod.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/apply.h"
#include "runtime/pod_document.h"
#include "runtime/pod_network.h"
#include "spec/kubernetes/plan.h"
#include "spec/kubernetes/pod_run.h"

namespace minirun {

/// Of all pods that run here, one directory each, named by the uid and locked by its minirun: as
/// the kubelet's /var/lib/kubelet/pods, and not below /run, which is memory on most machines.
inline constexpr const char* pods_directory = "/var/lib/minirun/pods";
/// The largest manifest that is stored there.
inline constexpr std::size_t document_bytes_most = std::size_t{16} << 20;

/// The values of the pod's cgroup as writes.
[[nodiscard]] CgroupPlan plan_pod_cgroup(const kubernetes::PodPlan& plan, const std::string& path,
                                         const HostFacts& facts);

class PodSandbox {
 public:
  /// `places` needs uid, hostname, cgroup and images; the rest is filled in. `document` is stored
  /// for `resize`. `network` may be null: loopback, or the host's. Errors name the field; nothing
  /// is left then.
  [[nodiscard]] static Result<PodSandbox> create(const kubernetes::PodPlan& plan,
                                                 const kubernetes::PodRun& run, PodPlaces places,
                                                 const std::string& document,
                                                 const HostFacts& facts, const StateRoot& root,
                                                 const NetworkLaunch* network);
  PodSandbox(PodSandbox&&) noexcept = default;
  PodSandbox& operator=(PodSandbox&&) = delete;
  ~PodSandbox();

  [[nodiscard]] const PodPlaces& places() const { return places_; }
  [[nodiscard]] const Cgroup& cgroup() const { return *cgroup_; }
  [[nodiscard]] int network() const { return network_.get(); }
  /// What the destructor does, and what could not be removed.
  [[nodiscard]] Status end();

 private:
  PodSandbox() = default;
  Status make_directory(const kubernetes::PodPlan& plan, const kubernetes::PodRun& run,
                        const std::string& document, const HostFacts& facts);
  Status make_volumes(const kubernetes::PodPlan& plan, const kubernetes::PodRun& run);
  Status make_namespaces(bool host_network);
  Status fill_namespaces(pid_t holder, bool host_network);

  PodPlaces places_;
  const HostFacts* facts_ = nullptr;  ///< those of create(), which outlive it
  std::optional<Cgroup> cgroup_;
  std::optional<PodNetwork> connected_;
  Fd network_, ipc_, uts_;
  DirFd parent_;  ///< of the directory
  Fd lock_;
  std::vector<std::string> memory_volumes_;
};

/// cpu.weight of a QoS tier, unless pods of somebody else are in it.
[[nodiscard]] Status weigh_tier(const HostFacts& facts, const std::string& tier,
                                std::uint64_t weight, std::size_t own_pods);

/// Removes what killed runs of pods left: cgroup, volumes. The uids.
[[nodiscard]] std::vector<std::string> sweep_pods(const HostFacts& facts);

/// A mount namespace of our own, private: what is mounted for pods is seen by nobody else and ends
/// with us. Once per process.
[[nodiscard]] Status enter_own_mounts();

}  // namespace minirun
