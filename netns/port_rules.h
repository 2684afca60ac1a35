// Owns: what published ports ask for: the rules that one lease adds to minirun's table (rules.h),
// and a port of the bridge that lets a container reach itself through them. Must not: take a rule
// away; for that the whole table is replaced.
#pragma once

#include <string>

#include "netns/rules.h"

namespace minirun {

/// NetStep::text of the add_veth of a container with published ports: it can reach its own.
inline constexpr const char* hairpin_port = "hairpin";

/// Rules without chains: they go behind those that are there. Replacing the table instead makes nft
/// wait for a grace period of RCU (measured: 14 of its 19 ms), because the kernel ends what was
/// deleted before it closes nft's socket.
[[nodiscard]] RuleTable plan_port_rules(const std::string& table, const NetworkEntry& entry,
                                        const Lease& lease);

}  // namespace minirun
