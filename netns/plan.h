// Owns: NetworkPlan, what will be done so that a container has its network: as steps that
// `--dry-run` prints as ip, tc and nft commands and that apply.h carries out.
// Must not: make a system call.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/findings.h"
#include "netns/netlink.h"
#include "netns/rules.h"
#include "netns/state.h"
#include "spec/address.h"
#include "spec/model.h"

namespace minirun {

/// What the planner needs to know of this host; facts.h reads it, tests make it by hand.
struct NetworkFacts {
  std::string nft;          ///< path of the program, empty: not installed
  bool ipv6 = true;         ///< the kernel has it and it is not switched off
  bool forwarding4 = true;  ///< net.ipv4.ip_forward
  bool forwarding6 = true;  ///< net.ipv6.conf.all.forwarding
  bool root = true;         ///< effective uid 0
  struct Route {
    Subnet subnet;
    std::string device;
    bool operator==(const Route&) const = default;
  };
  std::vector<Route> routes;        ///< without default routes; only read for a new network
  std::string uplink;               ///< device of the IPv4 default route
  bool uplink_forwarding = true;    ///< net.ipv4.conf.UPLINK.forwarding
  std::uint32_t uplink_mtu = 1500;  ///< bytes
  std::optional<Link> bridge;       ///< an interface with the name of the bridge
  /// Published ports that cannot be had, by PortMapping::field: why.
  std::map<std::string, std::string> busy_ports;
};

struct NetworkRequest {
  Network network;
  std::string id;
  std::string hostname;
  std::vector<std::string> names;  ///< what others may call it
  std::string root;                ///< path of the state directory: who owns bridge and table
  std::string key;                 ///< 12 hexadecimal digits, different for every container
  std::map<std::string, std::string> annotations;
  std::vector<std::string> own_files;  ///< of /etc/hosts ...: those that the user mounts himself
};

struct NetStep {
  enum class Op {
    rules,          ///< the whole table
    add_bridge,     ///< device, text: alias, mtu, mac; a rest of that name goes first
    rename,         ///< device, peer: the new name
    add_veth,       ///< device, peer: name inside, bridge, mtu, mac of peer, text: hairpin_port; up
    add_ifb,        ///< device, mtu; up
    set_sysctl,     ///< text: path below /proc/sys, peer: value
    add_address,    ///< device, address, prefix
    set_up,         ///< device
    default_route,  ///< device, address: the gateway
    limit_rate,     ///< device, rate, burst, limit: tbf as root
    take_ingress,   ///< device: the ingress qdisc
    redirect,       ///< device, peer: what comes in on device leaves through peer
  };
  Op op;
  bool inside = false;  ///< in the container's network namespace
  std::string device{}, peer{}, bridge{}, text{};
  std::string mac{};  ///< six bytes
  std::uint32_t mtu = 0;
  Address address{};
  unsigned prefix = 0;
  std::uint64_t rate_bytes = 0;  ///< per second
  std::uint32_t burst_bytes = 0, limit_bytes = 0;
  RuleTable rules{};
  std::string field = "network";
};

struct NetworkPlan {
  NetworkState state;  ///< as it will be, with the new lease
  NetworkEntry entry;  ///< of this network, in that state
  Lease lease;
  bool fresh = false;            ///< the network is made for this container
  std::vector<NetStep> network;  ///< makes it, or is empty
  std::vector<NetStep> attach;   ///< connects the container
  Findings findings;             ///< warnings are notes for the user
};

[[nodiscard]] NetworkPlan plan_network(const NetworkRequest& request, const NetworkFacts& facts,
                                       const NetworkState& state);

/// The mark of our bridges: whose they are.
[[nodiscard]] std::string bridge_alias(const std::string& root);
/// The name of a bridge until it is complete: what is called `name` has everything but "up".
[[nodiscard]] std::string unfinished_bridge(const std::string& root, const std::string& name);

/// Token bucket for a limit that holds from the first second: the burst is what passes in 50 ms,
/// at least 4 packets; the queue behind it holds 250 ms, at least 20 packets.
struct RateLimit {
  std::uint64_t rate_bytes = 0;
  std::uint32_t burst_bytes = 0, limit_bytes = 0;
};
[[nodiscard]] RateLimit rate_limit(std::uint64_t bits_per_second, std::uint32_t mtu);

/// "ip link add ..."; the rules are several lines. `container` names its network namespace.
[[nodiscard]] std::vector<std::string> describe(const NetStep& step, const std::string& container);

}  // namespace minirun
