#include "spec/kubernetes/node_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace minirun::kubernetes {
namespace {

std::string findings_of(std::string_view text) {
  std::string all;
  for (const Finding& finding : read_node(text).findings)
    all += std::to_string(finding.line) + " " + finding.pointer + ": " + finding.message + "\n";
  return all;
}

TEST(NodeReader, WhatTheFileDoesNotSayKeepsItsDefault) {
  const NodeFile file = read_node("{\"kubelet\": {\"podPidsLimit\": 100}}");
  NodeFacts expected;
  expected.pod_pids_limit = 100;
  EXPECT_EQ(file.facts, expected);
  EXPECT_EQ(read_node("# nothing\n").facts, NodeFacts{});
  EXPECT_FALSE(file.allocatable_cpu_milli);
}

TEST(NodeReader, ReadsYamlWithQuantities) {
  const NodeFile file = read_node(
      "node: {memoryCapacity: 4Gi, allocatableCPU: 1500m, hugePageSizes: []}\n"
      "kubelet:\n  cgroupDriver: systemd\n  memoryQoS: {era: 1.36, throttlingFactor: 0.9}\n"
      "runtime: {cri: cri-o, weightFormula: linear}\n");
  EXPECT_TRUE(file.findings.empty()) << file.findings.front().message;
  EXPECT_EQ(file.facts.memory_capacity_bytes, std::int64_t{4} << 30);
  EXPECT_EQ(file.allocatable_cpu_milli, 1500);
  EXPECT_TRUE(file.facts.huge_page_sizes.empty());
  EXPECT_EQ(file.facts.driver, CgroupDriver::systemd);
  EXPECT_EQ(file.facts.memory_qos.era, MemoryQos::Era::v1_36);
  EXPECT_EQ(file.facts.memory_qos.throttling_factor, 0.9);
  EXPECT_EQ(file.facts.container_weight, WeightFormula::linear);
}

TEST(NodeReader, NamesEveryMistakeWithItsLine) {
  EXPECT_EQ(findings_of("node:\n  memoryCapacity: 0\n  pageSize: 1\nkubelet:\n"
                        "  cgroupDrivr: systemd\n  swapBehavior: Swap\n"
                        "  cpuCFSQuotaPeriodUs: 10\nruntime: []\n"),
            "2 /node/memoryCapacity: 0 is less than 1 bytes\n"
            "3 /node/pageSize: 1 is less than 4096 bytes\n"
            "5 /kubelet/cgroupDrivr: unknown property, ignored; did you mean \"cgroupDriver\"?\n"
            "7 /kubelet/cpuCFSQuotaPeriodUs: 10 is not within 1000 to 1000000 us\n"
            "6 /kubelet/swapBehavior: \"Swap\" is none of NoSwap, LimitedSwap\n"
            "8 /runtime: has to be an object, not a list\n");
}

}  // namespace
}  // namespace minirun::kubernetes
