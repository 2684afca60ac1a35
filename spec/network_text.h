// Owns: the words for networks that a document and the command line share: "8080:80/tcp",
// "bridge", "join:ID".
// Must not: look at this host.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// "[ADDRESS:]HOST:CONTAINER[/tcp|/udp]"; both ports may be ranges of the same length, at most
/// 1024 ports. An IPv6 address stands in brackets. `field` goes into the result.
[[nodiscard]] Result<std::vector<PortMapping>> parse_ports(std::string_view text,
                                                           const std::string& field);

/// "none", "host", "bridge", "bridge:NAME", "pasta" or "join:ID" (also "container:ID").
/// Error: what was expected.
[[nodiscard]] Result<Network> parse_network(std::string_view text);

/// Bits per second, 1k to 1P: a quantity of Kubernetes.
[[nodiscard]] Result<std::uint64_t> parse_rate(std::string_view text);

/// Whether it may be the name of an interface (dev_valid_name() of the kernel): 1 to 15
/// characters, no '/', no ':', no space, not "." or "..". Ours has only letters, digits and "_.-".
[[nodiscard]] Status check_interface_name(std::string_view name);

/// A name as /etc/hosts takes it: letters, digits, '.', '-' and '_', at most 253.
[[nodiscard]] bool is_host_name(std::string_view name);

}  // namespace minirun
