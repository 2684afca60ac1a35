#include "spec/kubernetes/plan.h"

#include <gtest/gtest.h>

#include <set>

#include "spec/kubernetes/bandwidth.h"
#include "spec/kubernetes/pod_file.h"
#include "spec/kubernetes/resize.h"

namespace minirun::kubernetes {
namespace {

PodManifest pod(const std::string& spec) {
  const PodFile file = read_pods(
      "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\", \"uid\": "
      "\"1-2\", \"annotations\": {\"kubernetes.io/egress-bandwidth\": \"1M\"}}, \"spec\": " +
      spec + "}");
  EXPECT_FALSE(has_errors(file.findings)) << file.findings.front().message;
  return file.pods.at(0);
}

PodManifest one(const std::string& resources) {
  return pod("{\"containers\": [{\"name\": \"a\", \"resources\": " + resources + "}]}");
}

std::set<std::string> trap_ids(const PodManifest& manifest, const NodeFacts& node = {}) {
  std::set<std::string> ids;
  const PodPlan plan = plan_pod(manifest, node).value();
  for (const Trap& trap : plan.traps) ids.insert(trap.id);
  ids.erase("bandwidth-burst");
  return ids;
}

using Ids = std::set<std::string>;

TEST(Traps, PerManifest) {
  EXPECT_EQ(trap_ids(one("{}")), Ids{});
  EXPECT_EQ(trap_ids(one(R"({"limits": {"cpu": "2"}})")), Ids{});
  EXPECT_EQ(trap_ids(one(R"({"limits": {"cpu": "5m"}})")),
            (Ids{"cpu-limit-floor", "cpu-throttling"}));
  EXPECT_EQ(
      trap_ids(one(R"({"limits": {"memory": "400m"}})")),
      (Ids{"fractional-bytes", "memory-page-floor", "memory-too-small-to-start", "oom-group"}));
  EXPECT_EQ(trap_ids(one(R"({"limits": {"memory": "128M"}})")),
            (Ids{"decimal-memory", "oom-group"}));
  EXPECT_EQ(trap_ids(one(R"({"limits": {"memory": "Mi"}})")), Ids{"no-digits"});
  EXPECT_EQ(trap_ids(one(R"({"limits": {"memory": "8Ei"}})")),
            (Ids{"capped", "memory-page-floor", "oom-group"}));
  EXPECT_EQ(trap_ids(one(R"({"requests": {"cpu": "0.5m"}})")), Ids{"cpu-finer-than-1m"});
  EXPECT_EQ(trap_ids(one(R"({"requests": {"cpu": 0}, "limits": {"cpu": 2}})")),
            Ids{"cpu-request-zero"});
  EXPECT_EQ(trap_ids(one(R"({"limits": {"hugepages-1Gi": "1Gi", "x.y/z": 1,
                                        "ephemeral-storage": "1Gi"}})")),
            (Ids{"hugepage-size", "extended-resource", "ephemeral-storage"}));
  EXPECT_EQ(trap_ids(pod(R"({"containers": [
                {"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "100m"}}}]})")),
            (Ids{"pod-uncapped", "oom-group", "weight-formulas"}));
  EXPECT_EQ(trap_ids(pod(R"({"resources": {"limits": {"cpu": 1}}, "containers": [{"name": "a"},
                {"name": "b"}]})")),
            Ids{"pod-level-weight"});
  EXPECT_EQ(trap_ids(pod(R"({"resources": {"limits": {"memory": "1Gi"}}, "containers": [
                {"name": "a", "resources": {"limits": {"memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"memory": "0"}, "limits": {"memory": "1Gi"}}}]})")),
            (Ids{"pod-limit-below-sum", "oom-group"}));
  EXPECT_EQ(trap_ids(pod(R"({"containers": [{"name": "a"}], "volumes": [{"name": "v",
                "emptyDir": {"medium": "Memory"}}]})")),
            Ids{"tmpfs-is-memory"});
}

TEST(Traps, PerNode) {
  NodeFacts node;
  node.driver = CgroupDriver::systemd;
  EXPECT_EQ(trap_ids(one(R"({"limits": {"cpu": "1333m"}})"), node), Ids{"systemd-rounds-quota"});
  EXPECT_EQ(trap_ids(one(R"({"limits": {"cpu": "1330m"}})"), node), Ids{});
  node = {};
  node.cpu_cfs_period_us = 5000;
  EXPECT_EQ(trap_ids(one(R"({"limits": {"cpu": "100m"}})"), node),
            (Ids{"cpu-limit-floor", "cpu-throttling"}));
  node = {};
  node.pod_pids_limit = 100;
  EXPECT_EQ(trap_ids(one("{}"), node), Ids{"pids-on-the-pod"});
  EXPECT_EQ(plan_pod(one("{}"), node).value().pod_cgroup2.at("pids.max").value, "100");
  node = {};
  node.memory_qos = {true, MemoryQos::Era::v1_37, {}, MemoryQos::Reservation::tiered};
  EXPECT_EQ(trap_ids(one(R"({"limits": {"cpu": 1, "memory": "1Gi"}})"), node),
            (Ids{"min-equals-max", "oom-group"}));
  node = {};
  node.cri = Cri::cri_o;
  EXPECT_EQ(trap_ids(one(R"({"limits": {"memory": "8Mi"}})"), node),
            (Ids{"memory-too-small-to-start", "oom-group"}));
  const PodPlan plan = plan_pod(one("{}"), node).value();
  EXPECT_EQ(plan.systemd.oci_cgroups_path, "kubepods-besteffort-pod1_2.slice:crio:<id>");
  EXPECT_EQ(plan.cgroupfs.container, "/kubepods/besteffort/pod1-2/crio-<id>");
}

TEST(Traps, BandwidthNamesTheUnshapedStart) {
  const PodPlan plan = plan_pod(one("{}"), {}).value();
  ASSERT_EQ(plan.traps.size(), 1U);
  EXPECT_EQ(plan.traps[0].pointer, "/metadata/annotations/kubernetes.io~1egress-bandwidth");
  EXPECT_EQ(plan.traps[0].message,
            "the first 536 MB pass unshaped with the burst of the CRI runtime, whose tick count "
            "overflows 32 bits; minirun uses 6 kB");
}

TEST(Plan, FormulasHaveTheNumbersPutIn) {
  const PodPlan plan =
      plan_pod(pod(R"({"overhead": {"cpu": "250m"}, "initContainers": [{"name": "i", "resources":
      {"limits": {"cpu": 5}}}], "containers": [{"name": "a", "resources": {"limits": {"cpu": 1}}},
      {"name": "b", "resources": {"limits": {"cpu": 2}}}]})"),
               {})
          .value();
  EXPECT_EQ(plan.pod_cgroup2.at("cpu.max").formula,
            "cpu limit max(init i 5; a 1 + b 2 = 3) = 5 + overhead 250m = 5250m: quota = max(1000, "
            "5250 * 100000 / 1000) = 525000 us per 100000 us");
  EXPECT_EQ(plan.pod_cgroup2.at("cpu.max").writer, "kubelet");
  EXPECT_EQ(plan.find("a")->cgroup2.at("cpu.weight").formula,
            "cpu request 1: shares = clamp(1000 * 1024 / 1000, 2, 262144) = 1024; weight = "
            "ceil(10^((L^2 + 125 L)/612 - 7/34)) with L = log2(1024) = 100 (quadratic)");
}

TEST(Plan, TinyAmountsAddUpBeforeTheyAreRounded) {
  const PodPlan plan = plan_pod(pod(R"({"containers": [
      {"name": "a", "resources": {"requests": {"cpu": "0.5m"}}},
      {"name": "b", "resources": {"requests": {"cpu": "0.5m"}}}]})"),
                                {})
                           .value();
  EXPECT_EQ(plan.requests.amounts.at("cpu").milli_value().value(), 1);
}

TEST(Plan, NodeSwitches) {
  NodeFacts node;
  node.exclusive_cpu_containers = {"a"};
  const PodManifest guaranteed = one(R"({"limits": {"cpu": 1, "memory": "1Gi"}})");
  PodPlan plan = plan_pod(guaranteed, node).value();
  EXPECT_EQ(plan.find("a")->cgroup2.at("cpu.max").value, "max 100000");
  EXPECT_EQ(plan.pod_cgroup2.at("cpu.max").value, "max 100000");
  node = {};
  node.swap_controller = false;
  plan = plan_pod(guaranteed, node).value();
  EXPECT_FALSE(plan.find("a")->cgroup2.contains("memory.swap.max"));
  node = {};
  node.cgroup_v2 = false;
  EXPECT_TRUE(plan_pod(guaranteed, node).value().find("a")->cri.unified.empty());
  node = {};
  node.memory_qos = {true, MemoryQos::Era::v1_22, 0.8, MemoryQos::Reservation::none};
  const PodManifest burstable =
      one(R"({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}})");
  EXPECT_EQ(plan_pod(burstable, node).value().find("a")->cgroup2.at("memory.high").value,
            "1717986918");
  PodManifest node_critical = burstable;
  node_critical.priority_class_name = "system-node-critical";
  EXPECT_EQ(plan_pod(node_critical, {}).value().find("a")->cri.oom_score_adj, -997);
  node = {};
  node.memory_capacity_bytes = 0;
  EXPECT_FALSE(plan_pod(burstable, node).has_value());
}

TEST(Plan, TiersUnderMemoryQos) {
  NodeFacts node;
  node.memory_qos = {true, MemoryQos::Era::v1_36, 0.9, MemoryQos::Reservation::tiered};
  const std::vector<TierPod> pods = {{QosClass::burstable, 100, 1000},
                                     {QosClass::guaranteed, 1, 500}};
  QosTiers tiers = plan_qos_tiers(pods, node).value();
  EXPECT_EQ(tiers.burstable.at("memory.low").value, "1000");
  EXPECT_EQ(tiers.kubepods.at("memory.min").value, "1500");
  node.memory_qos.reservation = MemoryQos::Reservation::none;
  EXPECT_EQ(plan_qos_tiers(pods, node).value().kubepods.at("memory.min").value, "0");
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_FALSE(plan_qos_tiers({{QosClass::burstable, most, 0}, {QosClass::burstable, 1, 0}}, {})
                   .has_value());
}

TEST(Resize, DecreasesBeforeThePodBeforeIncreases) {
  auto manifest = [](const char* a, const char* b) {
    return pod(std::string(R"({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1m"},
        "limits": {"cpu": ")") +
               a + R"("}}}, {"name": "b", "resources": {"requests": {"cpu": "1m"},
        "limits": {"cpu": ")" +
               b + R"("}}}]})");
  };
  std::vector<std::string> texts;
  const auto steps = plan_resize(manifest("1", "2"), manifest("1500m", "1"), {});
  for (const ResizeStep& step : steps.value()) texts.push_back(to_string(step));
  EXPECT_EQ(texts,
            (std::vector<std::string>{"UpdateContainerResources b", "pod cpu.max=250000 100000",
                                      "UpdateContainerResources a"}));
}

TEST(Resize, WhatKubernetesRefuses) {
  auto refusal = [](const PodManifest& from, const PodManifest& to, const NodeFacts& node = {}) {
    const auto steps = plan_resize(from, to, node);
    return steps ? std::string() : to_string(steps.error());
  };
  const PodManifest base = one(R"({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}})");
  EXPECT_EQ(refusal(base, base), "");
  EXPECT_EQ(refusal(base, one("{}")),
            "pod: a resize cannot change the QoS class from Burstable to "
            "BestEffort");
  EXPECT_EQ(refusal(base, one(R"({"requests": {"memory": "1Gi"}})")),
            "container a: a resize cannot remove the memory limit");
  NodeFacts node;
  node.swap_behavior = SwapBehavior::limited_swap;
  node.swap_capacity_bytes = 1 << 30;
  EXPECT_EQ(
      refusal(base, one(R"({"requests": {"memory": "1.5Gi"}, "limits": {"memory": "2Gi"}})"), node),
      "container a: the memory request of a container that may swap cannot be resized");
  PodManifest restarting = one(R"({"requests": {"memory": "1Gi"}, "limits": {"memory": "3Gi"}})");
  restarting.containers[0].restart_on_resize = {"memory"};
  EXPECT_EQ(to_string(plan_resize(base, restarting, {}).value().back()), "restart a");
}

TEST(Bandwidth, OwnBurstIsShortAndFits) {
  for (const std::uint64_t rate :
       {1'000ULL, 1'000'000ULL, 10'000'000'000ULL, 1'000'000'000'000ULL}) {
    const TokenBucket bucket = token_bucket(rate, own_burst_bits(rate)).value();
    EXPECT_TRUE(bucket.buffer_ticks.has_value()) << rate;
    EXPECT_FALSE(bucket.limit_wraps) << rate;
    EXPECT_GE(bucket.burst_bytes, 4U * 1514) << rate;
    EXPECT_LE(bucket.burst_bytes, std::max<std::uint64_t>(4U * 1514, rate / 8 / 20)) << rate;
  }
}

}  // namespace
}  // namespace minirun::kubernetes
