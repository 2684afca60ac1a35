// Owns: the life of a container's network: made between the clone and the word, undone by the
// destructor, removed after a crash by what @network/state.json says.
// Must not: print, or know how a container is started.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "netns/cni.h"
#include "netns/facts.h"
#include "netns/plan.h"
#include "netns/state.h"

namespace minirun {

/// What a start needs: part of the LaunchPlan. The address is chosen under the lock, by the same
/// planner that `--dry-run` shows.
struct NetworkLaunch {
  NetworkRequest request;
  NetworkFacts facts;              ///< bridge
  CniList cni;                     ///< cni
  std::vector<std::string> pasta;  ///< pasta: its command
};

class ContainerNetwork {
 public:
  /// Address, ports and files; the network itself when it is not there. What is to be undone is
  /// recorded before it is made.
  [[nodiscard]] static Result<ContainerNetwork> prepare(const NetworkLaunch& launch, int root_fd,
                                                        int container_fd);
  ContainerNetwork(ContainerNetwork&& other) noexcept;
  ContainerNetwork& operator=(ContainerNetwork&& other) noexcept;
  ~ContainerNetwork();

  /// Connects the network namespace of `pid`.
  [[nodiscard]] Status attach(pid_t pid);
  void keep() { root_fd_ = -1; }
  /// What the destructor does, and what could not be removed.
  [[nodiscard]] Status end();

 private:
  ContainerNetwork(const NetworkLaunch& launch, int root_fd)
      : launch_(&launch), root_fd_(root_fd) {}
  [[nodiscard]] Status prepare_bridge(int container_fd);
  [[nodiscard]] Status prepare_files(int container_fd);
  [[nodiscard]] Status attach_bridge(pid_t pid);
  [[nodiscard]] Status attach_cni(pid_t pid);
  const NetworkLaunch* launch_;
  int root_fd_;
  NetworkPlan plan_;
  bool attached_ = false;
  Fd netns_;  ///< cni: the plugins are told of it at the end, when no process is in it any more
};

/// The absolute path of the state directory: whose bridges and rules they are.
[[nodiscard]] Result<std::string> network_owner(int root_fd);

/// Removes what container `id` has of networks; nothing is no error.
[[nodiscard]] Status remove_container_network(int root_fd, const std::string& id);

/// Removes a network. Errors: there is none, or containers are on it.
[[nodiscard]] Status remove_network(int root_fd, const std::string& name);

/// Frees what belongs to containers that are no more, and with `idle` removes networks without
/// containers and writes the rules anew. Returns what was removed.
[[nodiscard]] Result<std::vector<std::string>> collect_networks(int root_fd, bool idle);

}  // namespace minirun
