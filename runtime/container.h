// Owns: the life of a container on this host: create (record before resource), find, judge its
// status from facts, remove. Every command goes through here.
// Must not: print.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/hooks.h"
#include "runtime/launch.h"
#include "runtime/plan.h"
#include "runtime/state.h"

namespace minirun {

/// The OCI states, and paused. `crashed` is a create that did not end: only `delete`, `gc` and the
/// next create of the id see it.
enum class ContainerStatus { creating, created, running, paused, stopped, crashed };
[[nodiscard]] std::string_view name(ContainerStatus status);

/// What the planners need to know about this host. About 12 system calls.
[[nodiscard]] Result<HostFacts> discover_host();

/// A container that is being created: its directory, and its process once there is one. Until
/// keep() its end undoes everything.
class Creation {
 public:
  Creation(Creation&& other) noexcept;
  Creation& operator=(Creation&&) = delete;
  ~Creation();

  ContainerDir dir;
  Record record;
  std::optional<Launched> launched;

  void keep();
  /// Kills and removes the cgroup. When that fails, the record stays, so that `gc` finds the rest.
  [[nodiscard]] Status end();
  /// end(), and then the directory.
  [[nodiscard]] Status undo();

 private:
  friend Result<Creation> create_container(const StateRoot&, Record, const std::string&,
                                           const LaunchPlan&, const LaunchContext&);
  Creation(const StateRoot& root, ContainerDir directory)
      : dir(std::move(directory)), root_(&root) {}
  const StateRoot* root_;
};

/// Directory and lock, record and document, cgroup, process, init.json; in this order, so that a
/// crash at any point leaves what others recognise and remove. A crashed create with the same id
/// is removed first. Error EEXIST: the id is in use.
[[nodiscard]] Result<Creation> create_container(const StateRoot& root, Record record,
                                                const std::string& document, const LaunchPlan& plan,
                                                const LaunchContext& context);

/// What is known of a container, from its files and from the kernel.
struct ContainerView {
  std::string id;
  ContainerStatus status = ContainerStatus::crashed;
  std::optional<Record> record;  ///< absent: crashed before it was written, or corrupt
  std::optional<Init> init;      ///< absent: not committed, or corrupt
  bool committed = false;        ///< init.json is there, be it readable or not
  /// Empty: unknown. From the record, else from init.json, else the default of the id.
  [[nodiscard]] std::string cgroup_path() const;
};
[[nodiscard]] ContainerView view_container(const ContainerDir& dir, const HostFacts& facts);
[[nodiscard]] Result<std::vector<ContainerView>> list_containers(const StateRoot& root,
                                                                 const HostFacts& facts);

/// Sends `signal` to init, or with `all` to everything in the cgroup.
/// Error "container not running" unless it is created, running or paused.
[[nodiscard]] Status kill_container(const StateRoot& root, const std::string& id, int signal,
                                    bool all, const HostFacts& facts);

/// Removes a container. `force` kills first; without it a live one is an error.
/// A missing one is an error unless `force`. Its poststop hooks run; when they fail, `warn` is
/// told.
[[nodiscard]] Status delete_container(const StateRoot& root, const std::string& id, bool force,
                                      const HostFacts& facts, const Warn& warn = {});

/// Kills and removes a container whose lock we have, and runs its poststop hooks.
[[nodiscard]] Status destroy_container(const StateRoot& root, ContainerDir& dir,
                                       const ContainerView& view, const HostFacts& facts,
                                       const Warn& warn);

/// Removes what crashed commands left: uncommitted creates, foreground runs without their minirun,
/// containers of an earlier boot. Returns the ids that it removed.
struct GcResult {
  std::vector<std::string> removed;
  std::vector<Error> errors;
};
[[nodiscard]] Result<GcResult> collect_garbage(const StateRoot& root, const HostFacts& facts);

/// The time now as RFC 3339 in UTC with nanoseconds.
[[nodiscard]] std::string timestamp();

}  // namespace minirun
