// Owns: --network, --publish and --cni, and what a start needs to know of the network: shared by
// the commands that start containers.
// Must not: make anything.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/app.h"
#include "cli/output.h"
#include "runtime/plan.h"
#include "runtime/state.h"
#include "spec/model.h"

namespace minirun::cli {

class NetworkFlags {
 public:
  void declare(App app);

  /// Whether the user said which network, and whether he published ports.
  [[nodiscard]] bool given() const { return !network_.empty() || !cni_.empty(); }
  [[nodiscard]] bool publishes() const { return !publish_.empty(); }

  /// Before plan_launch: the flags, a network that is shared, and the files that are bound into
  /// the container. `root` may be null (a dry run without any container yet), `given` is --root.
  [[nodiscard]] Status adapt(ContainerSpec& spec, const std::string& id, const StateRoot* root,
                             const std::string& given, LaunchOptions& launch) const;

  /// After it: the plan of the network and its findings; notes are printed unless it is a dry run.
  [[nodiscard]] static Status plan(const ContainerSpec& spec, const std::string& id,
                                   const StateRoot* root, const std::string& given, bool dry_run,
                                   LaunchPlan& plan, Output& output);

 private:
  std::string network_, cni_;
  std::vector<std::string> publish_;
};

}  // namespace minirun::cli
