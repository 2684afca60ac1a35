#include "netns/rules.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "netns/port_rules.h"
#include "spec/address.h"

namespace minirun {
namespace {

using json = nlohmann::ordered_json;
using What = RuleMatch::What;
using Then = RuleVerdict::What;

constexpr const char* published = "published";
constexpr const char* published_loopback = "published_loopback";

class Table {
 public:
  explicit Table(RuleTable& table) : table_(table) {}

  void chain(const char* name, const char* type, const char* hook, int priority) {
    table_.chains.push_back({name, type, hook, priority});
  }
  void rule(const char* name, std::vector<RuleMatch> matches, RuleVerdict verdict) {
    table_.rules.push_back({name, std::move(matches), std::move(verdict)});
  }

 private:
  RuleTable& table_;
};

void add_network(Table& table, const std::string& bridge, const NetworkEntry& entry) {
  const RuleMatch out{What::out_device, bridge};
  // route_localnet lets 127.0.0.1:PORT reach a container; nothing of a container may use it the
  // other way, to services that listen on the host's loopback only (CVE-2020-8558).
  table.rule("raw", {{What::in_device, bridge}, {What::destination4, "127.0.0.0/8"}}, {Then::drop});
  // Nobody beyond the bridge gets a packet with a sender that is not of the network. Neighbours
  // also use link-local addresses and the unspecified one.
  table.rule("raw", {{What::in_device, bridge}, {What::source4, entry.subnet}}, {Then::accept});
  for (const std::string& source : {entry.subnet6, std::string("fe80::/10"), std::string("::/128")})
    if (!source.empty())
      table.rule("raw", {{What::in_device, bridge}, {What::source6, source}}, {Then::accept});
  table.rule("raw", {{What::in_device, bridge}}, {Then::drop});
  // Into the network comes what belongs to a connection, what a port was published for, and what
  // its own members send; not what other networks or machines route to it.
  table.rule("forward", {out, {What::established}}, {Then::accept});
  table.rule("forward", {out, {What::translated}}, {Then::accept});
  table.rule("forward", {out, {What::in_device, bridge}}, {Then::accept});
  table.rule("forward", {out}, {Then::drop});
  const RuleMatch elsewhere{What::not_out_device, bridge};
  table.rule("postrouting", {{What::source4, entry.subnet}, elsewhere}, {Then::masquerade});
  // The way back of a published port must lead through this host again.
  for (const std::string& source : {std::string("127.0.0.0/8"), entry.subnet})
    table.rule("postrouting", {{What::source4, source}, out, {What::translated}},
               {Then::masquerade});
  if (entry.subnet6.empty()) return;
  table.rule("postrouting", {{What::source6, entry.subnet6}, elsewhere}, {Then::masquerade});
  table.rule("postrouting", {{What::source6, entry.subnet6}, out, {What::translated}},
             {Then::masquerade});
}

void add_port(Table& table, const NetworkEntry& entry, const Lease& lease,
              const PortMapping& port) {
  const RuleMatch to_port{port.udp ? What::udp_port : What::tcp_port,
                          std::to_string(port.host_port)};
  const auto host = Address::parse(port.host_ip);
  if (!host || !host->v6) {
    const auto subnet = Subnet::parse(entry.subnet);
    if (!subnet) return;
    std::vector<RuleMatch> matches;
    if (host && host->text() != "0.0.0.0") matches.push_back({What::destination4, host->text()});
    matches.push_back(to_port);
    // Not in prerouting: a neighbour could send packets for 127.0.0.1 to our network card.
    table.rule(host && host->loopback() ? published_loopback : published, matches,
               {Then::translate4, subnet->at(lease.index).text(), port.container_port});
  }
  const auto subnet6 = Subnet::parse(entry.subnet6);
  if (!subnet6 || (host && !host->v6)) return;
  std::vector<RuleMatch> matches;
  if (host && host->text() != "::")
    matches.push_back({What::destination6, host->text()});
  else
    matches.push_back({What::not_destination6, "::1"});  // IPv6 has no route_localnet
  matches.push_back(to_port);
  table.rule(published, matches,
             {Then::translate6, subnet6->at(lease.index).text(), port.container_port});
}

}  // namespace

std::string short_hash(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return fmt::format("{:012x}", hash >> 16);
}

std::string table_name(std::string_view root) {
  return root == "/run/minirun" ? "minirun" : "minirun_" + short_hash(root);
}

RuleTable plan_rules(const std::string& name, const NetworkState& state) {
  RuleTable result{.name = name, .chains = {}, .rules = {}};
  if (state.networks.empty()) return result;
  Table table(result);
  table.chain("raw", "filter", "prerouting", -300);
  table.chain("prerouting", "nat", "prerouting", -100);
  table.chain("output", "nat", "output", -100);
  table.chain("forward", "filter", "forward", 0);
  table.chain("postrouting", "nat", "postrouting", 100);
  table.chain(published, "", "", 0);
  table.chain(published_loopback, "", "", 0);
  table.rule("prerouting", {{What::to_this_host}}, {Then::jump, published});
  table.rule("output", {{What::to_this_host}}, {Then::jump, published_loopback});
  table.rule("output", {{What::to_this_host}}, {Then::jump, published});
  for (const auto& [bridge, entry] : state.networks) add_network(table, bridge, entry);
  for (const auto& [bridge, entry] : state.networks) {
    // Forwarding was off there, and is on for the sake of our networks: nothing else may pass.
    for (const std::string& device : entry.forwarding) {
      table.rule("forward", {{What::in_device, device}, {What::translated}}, {Then::accept});
      table.rule("forward", {{What::in_device, device}, {What::fresh}}, {Then::drop});
    }
    for (const auto& [id, lease] : entry.leases)
      for (const PortMapping& port : lease.ports) add_port(table, entry, lease, port);
  }
  return result;
}

RuleTable plan_port_rules(const std::string& name, const NetworkEntry& entry, const Lease& lease) {
  RuleTable result{.name = name, .chains = {}, .rules = {}};
  Table table(result);
  for (const PortMapping& port : lease.ports) add_port(table, entry, lease, port);
  return result;
}

namespace {

bool is_addition(const RuleTable& table) {
  return table.chains.empty() && !table.rules.empty();
}

json compare(const char* op, json left, json right) {
  return {{"match", {{"op", op}, {"left", std::move(left)}, {"right", std::move(right)}}}};
}

json meta(const char* key) {
  return {{"meta", {{"key", key}}}};
}

json field(const char* protocol, const char* name) {
  return {{"payload", {{"protocol", protocol}, {"field", name}}}};
}

json address_value(const std::string& text) {
  const auto subnet = Subnet::parse(text);
  if (!subnet) return text;
  return {{"prefix", {{"addr", subnet->base.text()}, {"len", subnet->prefix}}}};
}

json to_value(const RuleMatch& match) {
  switch (match.what) {
    case What::in_device:
      return compare("==", meta("iifname"), match.value);
    case What::out_device:
      return compare("==", meta("oifname"), match.value);
    case What::not_out_device:
      return compare("!=", meta("oifname"), match.value);
    case What::source4:
      return compare("==", field("ip", "saddr"), address_value(match.value));
    case What::source6:
      return compare("==", field("ip6", "saddr"), address_value(match.value));
    case What::destination4:
      return compare("==", field("ip", "daddr"), address_value(match.value));
    case What::destination6:
      return compare("==", field("ip6", "daddr"), address_value(match.value));
    case What::not_destination6:
      return compare("!=", field("ip6", "daddr"), address_value(match.value));
    case What::tcp_port:
      return compare("==", field("tcp", "dport"), std::stoi(match.value));
    case What::udp_port:
      return compare("==", field("udp", "dport"), std::stoi(match.value));
    case What::to_this_host:
      return compare("==", {{"fib", {{"result", "type"}, {"flags", {"daddr"}}}}}, "local");
    case What::translated:
      return compare("in", {{"ct", {{"key", "status"}}}}, "dnat");
    case What::established:
      return compare("in", {{"ct", {{"key", "state"}}}}, {"established", "related"});
    case What::fresh:
      return compare("in", {{"ct", {{"key", "state"}}}}, "new");
  }
  return {};
}

json to_value(const RuleVerdict& verdict) {
  switch (verdict.what) {
    case Then::accept:
      return {{"accept", nullptr}};
    case Then::drop:
      return {{"drop", nullptr}};
    case Then::masquerade:
      return {{"masquerade", nullptr}};
    case Then::jump:
      return {{"jump", {{"target", verdict.target}}}};
    case Then::translate4:
    case Then::translate6:
      return {{"dnat",
               {{"family", verdict.what == Then::translate4 ? "ip" : "ip6"},
                {"addr", verdict.target},
                {"port", verdict.port}}}};
  }
  return {};
}

std::string to_text(const RuleMatch& match) {
  const std::string& value = match.value;
  switch (match.what) {
    case What::in_device:
      return "iifname " + value;
    case What::out_device:
      return "oifname " + value;
    case What::not_out_device:
      return "oifname != " + value;
    case What::source4:
      return "ip saddr " + value;
    case What::source6:
      return "ip6 saddr " + value;
    case What::destination4:
      return "ip daddr " + value;
    case What::destination6:
      return "ip6 daddr " + value;
    case What::not_destination6:
      return "ip6 daddr != " + value;
    case What::tcp_port:
      return "tcp dport " + value;
    case What::udp_port:
      return "udp dport " + value;
    case What::to_this_host:
      return "fib daddr type local";
    case What::translated:
      return "ct status dnat";
    case What::established:
      return "ct state established,related";
    case What::fresh:
      return "ct state new";
  }
  return {};
}

std::string to_text(const RuleVerdict& verdict) {
  switch (verdict.what) {
    case Then::accept:
      return "accept";
    case Then::drop:
      return "drop";
    case Then::masquerade:
      return "masquerade";
    case Then::jump:
      return "jump " + verdict.target;
    case Then::translate4:
      return fmt::format("dnat ip to {}:{}", verdict.target, verdict.port);
    case Then::translate6:
      return fmt::format("dnat ip6 to [{}]:{}", verdict.target, verdict.port);
  }
  return {};
}

}  // namespace

std::string nft_json(const RuleTable& table) {
  const json names = {{"family", "inet"}, {"name", table.name}};
  // Adding first makes the deletion of a table that is not there succeed.
  json commands = json::array();
  if (!is_addition(table))
    commands = {{{"add", {{"table", names}}}}, {{"delete", {{"table", names}}}}};
  if (!table.chains.empty()) commands.push_back({{"add", {{"table", names}}}});
  for (const RuleChain& chain : table.chains) {
    json value = {{"family", "inet"}, {"table", table.name}, {"name", chain.name}};
    if (!chain.hook.empty()) {
      value["type"] = chain.type;
      value["hook"] = chain.hook;
      value["prio"] = chain.priority;
      value["policy"] = "accept";
    }
    commands.push_back({{"add", {{"chain", std::move(value)}}}});
  }
  for (const Rule& rule : table.rules) {
    json expression = json::array();
    for (const RuleMatch& match : rule.matches) expression.push_back(to_value(match));
    expression.push_back(to_value(rule.verdict));
    commands.push_back({{"add",
                         {{"rule",
                           {{"family", "inet"},
                            {"table", table.name},
                            {"chain", rule.chain},
                            {"expr", std::move(expression)}}}}}});
  }
  return json{{"nftables", std::move(commands)}}.dump();
}

std::vector<std::string> nft_commands(const RuleTable& table) {
  std::vector<std::string> lines;
  if (!is_addition(table))
    lines = {fmt::format("nft add table inet {}", table.name),
             fmt::format("nft delete table inet {}", table.name)};
  if (!table.chains.empty()) lines.push_back(fmt::format("nft add table inet {}", table.name));
  for (const RuleChain& chain : table.chains)
    lines.push_back(fmt::format(
        "nft add chain inet {} {}{}", table.name, chain.name,
        chain.hook.empty() ? ""
                           : fmt::format(" '{{ type {} hook {} priority {}; policy accept; }}'",
                                         chain.type, chain.hook, chain.priority)));
  for (const Rule& rule : table.rules) {
    std::string line = fmt::format("nft add rule inet {} {}", table.name, rule.chain);
    for (const RuleMatch& match : rule.matches) line += " " + to_text(match);
    lines.push_back(line + " " + to_text(rule.verdict));
  }
  return lines;
}

}  // namespace minirun
