// Owns: reading what the planner of networks needs to know of this host.
// Must not: change anything.
#pragma once

#include "base/result.h"
#include "netns/plan.h"

namespace minirun {

/// `known`: the network exists already, then routes and uplink are not read. About 8 system calls
/// for a known network without ports.
[[nodiscard]] Result<NetworkFacts> discover_network(const Network& network, bool known);

/// The path of a program of the system, looked for where root's programs are and not in PATH.
/// Empty: not installed.
[[nodiscard]] std::string find_program(const std::string& name);

/// Who listens on a port of this host: "nginx (pid 12)"; empty: not found.
[[nodiscard]] std::string port_holder(const PortMapping& port);

}  // namespace minirun
