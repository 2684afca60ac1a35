// Owns: minirun's own nftables table as data: a pure function of the networks and their leases,
// and its two forms, nft's JSON input and the commands for people.
// Must not: run nft, or name a table that is not minirun's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "netns/state.h"

namespace minirun {

/// One condition of a rule. `value` is an interface, a network, or a port.
struct RuleMatch {
  enum class What {
    in_device,
    out_device,
    not_out_device,
    source4,
    source6,
    destination4,
    destination6,
    not_destination6,
    tcp_port,
    udp_port,
    to_this_host,  ///< fib daddr type local: no list of the host's addresses grows old
    translated,    ///< ct status dnat: it came through a published port
    established,
    fresh,  ///< ct state new
  };
  What what;
  std::string value{};
  bool operator==(const RuleMatch&) const = default;
};

struct RuleVerdict {
  enum class What { accept, drop, masquerade, jump, translate4, translate6 };
  What what;
  std::string target{};  ///< jump: chain; translate: address
  unsigned port = 0;
  bool operator==(const RuleVerdict&) const = default;
};

struct Rule {
  std::string chain;
  std::vector<RuleMatch> matches;
  RuleVerdict verdict;
  bool operator==(const Rule&) const = default;
};

struct RuleChain {
  std::string name, type, hook;  ///< hook empty: one that is jumped to
  int priority = 0;
};

struct RuleTable {
  std::string name;
  std::vector<RuleChain> chains;  ///< empty: the table is to be removed
  std::vector<Rule> rules;
};

/// The table of the state directory `root`: "minirun" for /run/minirun, else with a hash.
[[nodiscard]] std::string table_name(std::string_view root);

/// 12 hexadecimal digits for `text`, for names of interfaces and tables.
[[nodiscard]] std::string short_hash(std::string_view text);

/// Everything of all networks of `state`.
[[nodiscard]] RuleTable plan_rules(const std::string& table, const NetworkState& state);

/// Input for `nft -j -f -`: one transaction that replaces the whole table.
[[nodiscard]] std::string nft_json(const RuleTable& table);

/// The same as commands, one per line.
[[nodiscard]] std::vector<std::string> nft_commands(const RuleTable& table);

}  // namespace minirun
