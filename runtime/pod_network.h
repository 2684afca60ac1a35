// Owns: the network of a pod that has more than loopback: a directory @pod.NAME in the state
// directory, locked as long as its minirun lives, with the files that netns/ writes there.
// Must not: know what a bridge is.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "netns/network.h"
#include "runtime/state.h"

namespace minirun {

/// What netns/ knows the pod by. No container can have this id.
[[nodiscard]] std::string pod_network_id(const std::string& pod);

class PodNetwork {
 public:
  /// `launch` outlives it; its request's id is pod_network_id(). Errors: as ContainerNetwork, and a
  /// pod of this name runs already.
  [[nodiscard]] static Result<PodNetwork> prepare(const NetworkLaunch& launch,
                                                  const StateRoot& root);
  PodNetwork(PodNetwork&&) noexcept = default;
  PodNetwork& operator=(PodNetwork&&) = delete;
  ~PodNetwork();

  /// Connects the network namespace of `pid`.
  [[nodiscard]] Status attach(pid_t pid) { return network_->attach(pid); }
  /// The directory of hosts, hostname and resolv.conf.
  [[nodiscard]] const std::string& files() const { return files_; }
  /// Its IPv4 address, once it is attached; plugins may give none: empty.
  [[nodiscard]] Result<std::string> address() const;
  /// What the destructor does, and what could not be removed.
  [[nodiscard]] Status end();

 private:
  PodNetwork() = default;
  const NetworkLaunch* launch_ = nullptr;
  DirFd root_, directory_;
  std::string files_;
  std::optional<ContainerNetwork> network_;
};

/// Removes what killed runs left; the names of the directories.
[[nodiscard]] Result<std::vector<std::string>> sweep_pod_networks(const StateRoot& root);

}  // namespace minirun
