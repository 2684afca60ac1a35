// Owns: the facts about the host that only some specs need, so that the others do not pay for the
// system calls: LSMs for labels, idmapping for the layers of an overlay in a user namespace.
// Must not: change anything that outlives the call.
#pragma once

#include "base/host_facts.h"
#include "spec/model.h"

namespace minirun {

/// Adds to `facts` what `spec` needs. What cannot be found out counts as missing.
void discover_for(const ContainerSpec& spec, HostFacts& facts);

}  // namespace minirun
