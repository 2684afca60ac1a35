// Owns: LaunchPlan, everything that will be done to start a container, assembled from the plans of
// the floors below. `--dry-run` prints it, launch.h carries it out.
// Must not: make a system call.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/findings.h"
#include "base/host_facts.h"
#include "cgroups/plan.h"
#include "netns/network.h"
#include "runtime/id_maps.h"
#include "runtime/rdt.h"
#include "runtime/state.h"
#include "security/seccomp.h"
#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

struct LaunchOptions {
  std::string id;
  bool wait_for_start = false;   ///< `create`: the child waits for `minirun start`
  bool die_with_parent = false;  ///< foreground `run`
  bool new_keyring = true;
  std::string nonce = process_nonce();  ///< that of the record, see keyring_name()
  bool console_node = true;
  bool early_word = false;  ///< the caller gives it early where the plan says that it can
  int preserve_fds = 0;
  std::string layer_directory;  ///< see RootfsInput
  WeightFormula formula = WeightFormula::quadratic;
  bool account = false;  ///< see CgroupPlanOptions
  CgroupManager cgroup_manager = CgroupManager::cgroupfs;
  /// The caller fills in LaunchPlan::network; else a spec that asks for more than none or host is
  /// refused.
  bool plans_network = false;
  /// A program that minirun brings, executed in place of the first of process.args: an open
  /// descriptor of ours. -1: there is none. Not together with `wait_for_start`.
  int program_fd = -1;
};

/// A namespace that the parent is in while it clones.
struct JoinForClone {
  Slot slot = Slot::none;
  int flag = 0;  ///< CLONE_NEW*
};

struct LaunchPlan {
  std::string id;
  CgroupPlan cgroup;
  std::uint64_t clone_flags = 0;  ///< CLONE_NEW* of the clone itself
  /// Joined by the parent and left again: a child in a new user namespace has no right to join one
  /// that belongs to another.
  std::vector<JoinForClone> joined_for_clone;
  bool write_id_maps = false;   ///< the child waits until they are written
  bool expect_id_maps = false;  ///< the joined user namespace must have them
  IdMaps id_maps;
  std::optional<int> oom_score_adj;  ///< written by the parent, who may have more rights
  std::vector<Rlimit> rlimits;       ///< set by the parent (user namespaces only)
  Steps parent;                      ///< fills the slots 1 .. passed-1
  Steps child;
  int passed = 1;
  Slot start_socket = Slot::none;                  ///< the parent puts the listening socket there
  std::map<std::string, std::string> net_devices;  ///< moved by the parent before the word
  std::optional<uid_t> cgroup_owner;               ///< on the host, see delegate.h
  std::optional<RdtPlan> rdt;
  std::optional<NetworkLaunch> network;       ///< what `create_container` makes
  std::vector<std::string> network_commands;  ///< the same as ip, tc and nft commands
  bool terminal = false;
  int preserve_fds = 0;                      ///< what the child inherits above the standard error
  std::optional<std::uint32_t> stdio_owner;  ///< host's uid that pipes of the caller are given to
  /// Nothing is to be done between the child's last preparation and its program, so that the parent
  /// commits and gives the word while the child still works; it does not say that it is ready.
  bool early_word = false;
  bool forks = false;  ///< the child forks into a joined pid namespace; the parent adopts
  Findings findings;
};

/// `seccomp` is the compiled profile of `spec.seccomp`, null when it has none.
[[nodiscard]] LaunchPlan plan_launch(const ContainerSpec& spec, const HostFacts& facts,
                                     const LaunchOptions& options, const SeccompProgram* seccomp);

[[nodiscard]] std::uint64_t clone_flag(NamespaceType type);

}  // namespace minirun
