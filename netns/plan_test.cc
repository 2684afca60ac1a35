#include "netns/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace minirun {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using NetOp = NetStep::Op;

NetworkRequest request(const std::string& id = "a") {
  NetworkRequest result;
  result.network.mode = Network::Mode::bridge;
  result.id = id;
  result.names = {id};
  result.root = "/run/minirun";
  result.key = "0123456789ab";
  return result;
}

NetworkFacts facts() {
  NetworkFacts result;
  result.nft = "/usr/sbin/nft";
  return result;
}

Link our_bridge() {
  return {.index = 3,
          .name = "minirun0",
          .kind = "bridge",
          .alias = "minirun /run/minirun",
          .mtu = 1500,
          .up = true};
}

auto error(const char* pointer, const char* words) {
  return AllOf(Field(&Finding::level, Finding::Level::error), Field(&Finding::pointer, pointer),
               Field(&Finding::message, HasSubstr(words)));
}

std::vector<NetOp> ops(const std::vector<NetStep>& steps) {
  std::vector<NetOp> result;
  for (const NetStep& step : steps) result.push_back(step.op);
  return result;
}

NetworkState state_with(NetworkEntry entry) {
  NetworkState state;
  state.networks["minirun0"] = std::move(entry);
  return state;
}

TEST(NetworkPlan, MakesTheNetworkForTheFirstContainer) {
  const NetworkPlan plan = plan_network(request(), facts(), {});
  EXPECT_THAT(plan.findings, IsEmpty());
  EXPECT_TRUE(plan.fresh);
  EXPECT_EQ(plan.entry.subnet, "10.88.0.0/16");
  EXPECT_EQ(plan.entry.subnet6, "fd6d:6e72:a58::/64");
  EXPECT_EQ(plan.lease.index, 2U);
  // Its name comes when it is complete.
  EXPECT_THAT(ops(plan.network),
              ElementsAre(NetOp::rules, NetOp::add_bridge, NetOp::set_sysctl, NetOp::add_address,
                          NetOp::set_sysctl, NetOp::add_address, NetOp::rename, NetOp::set_up));
  EXPECT_THAT(ops(plan.attach), ElementsAre(NetOp::add_veth, NetOp::set_sysctl, NetOp::add_address,
                                            NetOp::add_address, NetOp::set_up, NetOp::default_route,
                                            NetOp::default_route));
  for (const NetStep& step : plan.attach) EXPECT_EQ(step.inside, step.op != NetOp::add_veth);
}

TEST(NetworkPlan, UsesTheNetworkThatIsThere) {
  const NetworkPlan first = plan_network(request(), facts(), {});
  NetworkFacts known = facts();
  known.bridge = our_bridge();
  const NetworkPlan second = plan_network(request("b"), known, first.state);
  EXPECT_THAT(second.findings, IsEmpty());
  EXPECT_THAT(second.network, IsEmpty());
  EXPECT_EQ(second.lease.index, 3U);
  EXPECT_EQ(second.state.networks.at("minirun0").leases.size(), 2U);
}

TEST(NetworkPlan, GivesAnAddressOutAgainLast) {
  NetworkEntry entry{
      .subnet = "10.1.2.0/29", .subnet6 = "", .last = 4, .forwarding = {}, .leases = {}};
  entry.leases["x"].index = 5;
  NetworkFacts known = facts();
  known.bridge = our_bridge();
  EXPECT_EQ(plan_network(request(), known, state_with(entry)).lease.index, 6U);
  entry.last = 6;  // .7 is the broadcast address
  EXPECT_EQ(plan_network(request(), known, state_with(entry)).lease.index, 2U);
  for (std::uint32_t i = 2; i <= 6; ++i) entry.leases["c" + std::to_string(i)].index = i;
  entry.leases.erase("x");
  EXPECT_THAT(plan_network(request(), known, state_with(entry)).findings,
              ElementsAre(error("/network/subnet", "exhausted: 6 addresses")));
}

TEST(NetworkPlan, RefusesWhatIsTaken) {
  NetworkEntry entry{.subnet = "10.1.2.0/24", .subnet6 = "", .forwarding = {}, .leases = {}};
  entry.leases["x"] = {.index = 9,
                       .device = {},
                       .shaper = {},
                       .names = {},
                       .hosts = {},
                       .ports = {{"127.0.0.1", 80, 80, false, ""}}};
  NetworkFacts known = facts();
  known.bridge = our_bridge();
  NetworkRequest wants = request();
  wants.network.ip = "10.1.2.9";
  EXPECT_THAT(plan_network(wants, known, state_with(entry)).findings,
              ElementsAre(error("/network/ip", "10.1.2.9 belongs to container x")));
  wants.network.ip = "10.1.2.1";
  EXPECT_THAT(plan_network(wants, known, state_with(entry)).findings,
              ElementsAre(error("/network/ip", "gateway")));
  wants.network.ip = "10.1.3.1";
  EXPECT_THAT(plan_network(wants, known, state_with(entry)).findings,
              ElementsAre(error("/network/ip", "not in 10.1.2.0/24")));
  wants.network.ip = "";
  wants.network.subnet = "10.9.0.0/24";
  EXPECT_THAT(plan_network(wants, known, state_with(entry)).findings,
              ElementsAre(error("/network/subnet", "network rm minirun0")));
  wants.network.subnet = "";
  wants.network.ports = {{"", 80, 8080, false, "network.ports[0]"}};
  EXPECT_THAT(plan_network(wants, known, state_with(entry)).findings,
              ElementsAre(error("network.ports[0]", "80/tcp is published by container x")));
  wants.network.ports = {{"127.0.0.2", 80, 80, false, ""}, {"", 80, 80, true, ""}};
  EXPECT_THAT(plan_network(wants, known, state_with(entry)).findings, IsEmpty());
}

TEST(NetworkPlan, SubnetsDoNotOverlap) {
  NetworkFacts crowded = facts();
  crowded.routes = {{*Subnet::parse("10.88.4.0/24"), "eth1"}};
  const NetworkPlan plan = plan_network(request(), crowded, {});
  EXPECT_EQ(plan.entry.subnet, "10.89.0.0/16");
  EXPECT_THAT(plan.findings, Contains(Field(&Finding::message, HasSubstr("10.89.0.0/16 is used"))));
  NetworkRequest wants = request();
  wants.network.subnet = "10.88.0.0/16";
  EXPECT_THAT(plan_network(wants, crowded, {}).findings,
              ElementsAre(error("/network/subnet", "10.88.4.0/24, a route of the host on eth1")));
}

TEST(NetworkPlan, LeavesForeignBridgesAlone) {
  NetworkFacts known = facts();
  known.bridge = our_bridge();
  known.bridge->alias = "";
  const NetworkState state = plan_network(request(), facts(), {}).state;
  EXPECT_THAT(plan_network(request("b"), known, state).findings,
              ElementsAre(error("/network/name", "not this minirun's")));
  known.bridge->kind = "dummy";
  EXPECT_THAT(plan_network(request("b"), known, state).findings,
              ElementsAre(error("/network/name", "is no bridge")));
  EXPECT_THAT(plan_network(request(), NetworkFacts{}, {}).findings,
              ElementsAre(error("/network", "nft")));
}

TEST(NetworkPlan, TurnsForwardingOnWhereItIsNeeded) {
  NetworkFacts off = facts();
  off.forwarding4 = off.uplink_forwarding = false;
  off.uplink = "eth0";
  const NetworkPlan plan = plan_network(request(), off, {});
  EXPECT_THAT(plan.entry.forwarding, ElementsAre("eth0"));
  EXPECT_THAT(plan.findings, ElementsAre(Field(&Finding::message, HasSubstr("for minirun0 and"))));
  EXPECT_THAT(plan.network[0].rules.rules,
              Contains(Rule{"forward",
                            {{RuleMatch::What::in_device, "eth0"}, {RuleMatch::What::fresh}},
                            {RuleVerdict::What::drop}}));
}

TEST(NetworkPlan, ShapesByAnnotation) {
  NetworkRequest wants = request();
  wants.annotations = {{"kubernetes.io/ingress-bandwidth", "10M"},
                       {"kubernetes.io/egress-bandwidth", "1M"}};
  const NetworkPlan plan = plan_network(wants, facts(), {});
  EXPECT_EQ(plan.lease.shaper, "mi0123456789ab");
  EXPECT_EQ(plan.state.networks.at("minirun0").leases.at("a").shaper, "mi0123456789ab");
  EXPECT_THAT(plan.attach,
              Contains(AllOf(
                  Field(&NetStep::op, NetOp::limit_rate), Field(&NetStep::device, "mr0123456789ab"),
                  Field(&NetStep::rate_bytes, 1'250'000U), Field(&NetStep::burst_bytes, 62'500U))));
  EXPECT_EQ(describe(plan.attach[1], "a")[0],
            "tc qdisc add dev mr0123456789ab root handle 1: tbf rate 1250000bps burst 62500 "
            "limit 375000");
  wants.annotations = {{"kubernetes.io/egress-bandwidth", "fast"}};
  EXPECT_THAT(plan_network(wants, facts(), {}).findings,
              ElementsAre(error("/annotations/kubernetes.io~1egress-bandwidth", "fast")));
}

TEST(RateLimit, FitsTheKernelsFields) {
  EXPECT_EQ(rate_limit(1000, 1500).burst_bytes, 4U * 1514);
  EXPECT_EQ(rate_limit(10'000'000, 1500).burst_bytes, 62'500U);  // 50 ms
  // 4294967295 bytes less the 25 ms at this rate that a limit of Kubernetes' plugins has beside it.
  EXPECT_EQ(rate_limit(1'000'000'000'000, 1500).burst_bytes, 0xffffffffU - 3'125'000'000U);
  EXPECT_EQ(rate_limit(1'000'000'000'000'000, 1500).burst_bytes, 4U * 1514);
  EXPECT_EQ(rate_limit(1'000'000'000'000'000, 1500).limit_bytes, 0x7fffffffU);
}

TEST(NetworkRules, PublishedPorts) {
  NetworkRequest wants = request();
  wants.network.ports = {{"", 8080, 80, false, ""}, {"127.0.0.1", 53, 53, true, ""}};
  const NetworkPlan plan = plan_network(wants, facts(), {});
  ASSERT_EQ(plan.attach.back().op, NetOp::rules);
  EXPECT_EQ(describe(plan.attach[0], "a").back(), "bridge link set dev mr0123456789ab hairpin on");
  const auto lines = nft_commands(plan.attach.back().rules);
  EXPECT_EQ(lines.size(), 3U);  // they are added to a table that stays
  EXPECT_THAT(nft_json(plan.attach.back().rules), Not(HasSubstr("delete")));
  EXPECT_THAT(lines, Contains("nft add rule inet minirun published tcp dport 8080 dnat ip to "
                              "10.88.0.2:80"));
  EXPECT_THAT(lines, Contains("nft add rule inet minirun published ip6 daddr != ::1 tcp dport 8080 "
                              "dnat ip6 to [fd6d:6e72:a58::2]:80"));
  // Only from this host: a neighbour can send packets for 127.0.0.1, too.
  EXPECT_THAT(lines, Contains("nft add rule inet minirun published_loopback ip daddr 127.0.0.1 udp "
                              "dport 53 dnat ip to 10.88.0.2:53"));
  EXPECT_THAT(nft_json(plan_rules("minirun", {})), HasSubstr("delete"));
  EXPECT_NE(table_name("/run/minirun"), table_name("/run/other"));
}

TEST(NetworkRules, NoForeignSender) {
  const auto lines = nft_commands(plan_network(request(), facts(), {}).network[0].rules);
  const auto allowed = std::ranges::find(
      lines, "nft add rule inet minirun raw iifname minirun0 ip saddr 10.88.0.0/16 accept");
  EXPECT_THAT(lines,
              Contains("nft add rule inet minirun raw iifname minirun0 ip6 saddr ::/128 accept"));
  const auto others =
      std::ranges::find(lines, "nft add rule inet minirun raw iifname minirun0 drop");
  ASSERT_NE(others, lines.end());
  EXPECT_LT(allowed, others);
}

TEST(NetworkStateFile, RoundTrip) {
  NetworkRequest wants = request();
  wants.network.ports = {{"127.0.0.1", 53, 53, true, ""}};
  wants.network.hosts = {{"db", "10.0.0.7"}};
  const NetworkState state = plan_network(wants, facts(), {}).state;
  EXPECT_EQ(*parse_network_state(to_json(state)), state);
  for (const char* text : {"", "{}", "[]", R"({"version": 2, "networks": {}})",
                           R"({"version": 1, "networks": {"a": 5}})"})
    EXPECT_FALSE(parse_network_state(text)) << text;
}

}  // namespace
}  // namespace minirun
