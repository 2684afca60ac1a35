// Owns: the short form's word "network": a mode, or an object with its details.
// Must not: decide how the network is made (netns/ does) or look at this host.
#include <fmt/format.h>

#include <algorithm>

#include "spec/address.h"
#include "spec/network_text.h"
#include "spec/short_parts.h"

namespace minirun {
namespace {

void report(Json json, const Error& error) {
  json.error(error.object.empty() || !error.detail.empty() ? error.detail : to_string(error));
}

void read_subnets(JsonObject& object, Network& network) {
  if (const auto json = object.find("subnet"); json && json->get(network.subnet)) {
    const auto subnet = Subnet::parse(network.subnet);
    if (!subnet || subnet->base.v6 || subnet->prefix < 8 || subnet->prefix > 30)
      json->expected("an IPv4 network such as 10.88.0.0/16, from /8 to /30, without host bits");
  }
  if (const auto json = object.find("subnet6"); json && json->get(network.subnet6)) {
    const auto subnet = Subnet::parse(network.subnet6);
    if (!subnet || !subnet->base.v6 || subnet->prefix < 48 || subnet->prefix > 112)
      json->expected("an IPv6 network such as fd00:10:88::/64, from /48 to /112");
  }
  object.read("ipv6", network.ipv6);
  if (const auto json = object.find("ip"); json && json->get(network.ip)) {
    const auto address = Address::parse(network.ip);
    const auto subnet = Subnet::parse(network.subnet);
    if (!address || address->v6)
      json->expected("an IPv4 address such as 10.88.0.9");
    else if (subnet && !subnet->contains(*address))
      json->error(fmt::format("{} is not in the subnet {}", network.ip, network.subnet));
  }
}

void read_names(JsonObject& object, Network& network) {
  if (const auto json = object.find("name"); json && json->get(network.name))
    if (const Status valid = check_interface_name(network.name); !valid)
      report(*json, valid.error());
  object.each("ports", [&network](Json item) {
    std::string text;
    if (!item.get(text)) return;
    const auto ports = parse_ports(text, item.field());
    if (!ports) return report(item, ports.error());
    network.ports.insert(network.ports.end(), ports->begin(), ports->end());
  });
  object.each("dns", [&network](Json item) {
    if (!item.get(network.dns.emplace_back())) return;
    if (!Address::parse(network.dns.back())) item.expected("the address of a name server");
  });
  if (const auto json = object.find("hosts"))
    json->each_member([&network](Json item) {
      std::string address;
      if (!item.get(address)) return;
      if (!is_host_name(item.key())) item.error("is not a host name");
      if (!Address::parse(address)) item.expected("an address such as 10.0.0.7");
      network.hosts[item.key()] = address;
    });
}

void read_bandwidth(JsonObject& object, Network& network) {
  const auto json = object.find("bandwidth");
  if (!json) return;
  JsonObject members(*json);
  for (auto [key, out] :
       {std::pair{"ingress", &network.ingress_bits}, std::pair{"egress", &network.egress_bits}}) {
    const auto item = members.find(key);
    if (!item) continue;
    const auto rate = parse_rate(item->text());
    if ((!item->is(Json::Kind::string) && !item->is_number()) || !rate)
      item->expected("bits per second from 1k to 1P, such as 10M");
    else
      *out = *rate;
  }
}

void read_object(Json json, Network& network) {
  JsonObject object(json);
  if (const auto join = object.find("join")) {
    network.mode = Network::Mode::join;
    if (join->get(network.join) && network.join.empty()) join->expected("the id of a container");
    return;
  }
  std::string mode = "bridge";
  if (const auto said = object.find("mode"); said && said->get(mode) && mode != "bridge")
    if (mode != "pasta") said->expected("bridge or pasta; \"none\" and \"host\" need no object");
  network.mode = mode == "pasta" ? Network::Mode::pasta : Network::Mode::bridge;
  read_subnets(object, network);
  read_names(object, network);
  if (const auto mtu = object.find("mtu"))
    mtu->get<std::uint32_t>(network.mtu.emplace(), 1280, 65535);
  read_bandwidth(object, network);
  const bool shaped = network.ingress_bits || network.egress_bits;
  if (network.mode == Network::Mode::pasta && shaped)
    json.error("bandwidth needs a bridge: pasta has no device of the host to shape");
}

}  // namespace

void read_short_network(JsonObject& object, ContainerSpec& spec) {
  Network& network = spec.network;
  const auto json = object.find("network");
  const Namespace* ns = spec.find_namespace(NamespaceType::network);
  if (!json) {
    // A namespace that is joined keeps the network that it has.
    network.mode = !ns                ? Network::Mode::host
                   : ns->path.empty() ? Network::Mode::none
                                      : Network::Mode::unspecified;
    return;
  }
  if (json->is(Json::Kind::object)) {
    read_object(*json, network);
  } else {
    const Result<Network> parsed = parse_network(json->text());
    if (!json->is(Json::Kind::string) || !parsed)
      return json->expected(
          "one of none, host, bridge, pasta, or an object such as "
          "{\"mode\": \"bridge\", \"ports\": [\"8080:80\"]} or {\"join\": \"ID\"}");
    network = *parsed;
  }
  if (ns && !ns->path.empty())
    json->error("the network namespace is joined by path: leave \"network\" out");
  else if (network.mode == Network::Mode::host)
    std::erase_if(spec.namespaces,
                  [](const Namespace& each) { return each.type == NamespaceType::network; });
  else if (!ns)
    json->error("\"namespaces\" says that the network is the host's");
}

}  // namespace minirun
