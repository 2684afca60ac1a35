// Owns: the facts about the host that only some specs need, so that the others do not pay for the
// system calls: LSMs for labels, idmapping for the layers of an overlay in a user namespace.
// Must not: change anything that outlives the call.
#pragma once

#include <string>
#include <string_view>

#include "base/host_facts.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// As discover_host, without what `spec` does not ask for: the controllers, where it has no limits
/// and nobody is to `account` for what it used; the kernel's version. Null: everything.
[[nodiscard]] Result<HostFacts> discover_host_for(const ContainerSpec* spec, bool account);

/// Adds to `facts` what `spec` needs, for a container with this id. What cannot be found out counts
/// as missing.
void discover_for(const ContainerSpec& spec, std::string_view id, HostFacts& facts);

/// Where resctrl is mounted here; empty: nowhere.
[[nodiscard]] std::string resctrl_mount();

}  // namespace minirun
