// Owns: the user namespaces by whose maps the mounts of a plan are idmapped.
// Must not: make a system call.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "spec/model.h"
#include "stage/step.h"

namespace minirun {

[[nodiscard]] bool is_idmapped(const Mount& mount);

/// Adds the steps that open them to those of the parent, each once.
class IdMappings {
 public:
  /// All must outlive it.
  IdMappings(const ContainerSpec& spec, Slots& slots, Steps& parent)
      : spec_(spec), slots_(slots), parent_(parent) {}

  /// The slot of the mapping of the container itself.
  [[nodiscard]] Slot of_container(const std::string& field);
  /// config.md: the mount's own mappings, else those of the container. A mount can be idmapped only
  /// while it is not yet attached, so this comes right after it is made.
  void apply(Slot slot, const Mount& mount, Steps& steps);

 private:
  /// The slot of a user namespace with these maps; mounts with the same maps share one.
  Slot user_namespace(const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids,
                      const std::string& field);

  const ContainerSpec& spec_;
  Slots& slots_;
  Steps& parent_;
  std::map<std::pair<std::string, std::string>, Slot> made_;  ///< by their maps
  Slot joined_ = Slot::none;
};

}  // namespace minirun
