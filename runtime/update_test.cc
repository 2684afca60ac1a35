#include "runtime/update.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "spec/json.h"
#include "spec/oci_reader.h"

namespace minirun {
namespace {

HostFacts all_controllers() {
  HostFacts facts;
  facts.kernel_major = 6;
  facts.kernel_minor = 1;
  facts.cgroup.mount_point = "/sys/fs/cgroup";
  facts.cgroup.controllers = {"cpu", "cpuset", "io", "memory", "pids", "hugetlb"};
  return facts;
}

ContainerView view() {
  ContainerView view;
  view.id = "web";
  view.record.emplace().cgroup_path = "/minirun/web";
  return view;
}

struct UpdateCase {
  Resources now;
  ResourceUpdate change;
  CurrentLimits current;

  [[nodiscard]] UpdatePlan plan() const {
    ContainerSpec spec;
    spec.resources = now;
    return plan_update(spec, view(), change, current, all_controllers());
  }
};

std::vector<std::string> writes(const UpdatePlan& plan) {
  std::vector<std::string> lines;
  for (const CgroupWrite& write : plan.cgroup.writes)
    lines.push_back(write.file + " " + write.value);
  return lines;
}

bool has_errors(const UpdatePlan& plan) {
  return std::ranges::any_of(plan.findings,
                             [](const Finding& f) { return f.level == Finding::Level::error; });
}

using Lines = std::vector<std::string>;

TEST(Update, OnlyWhatIsGivenIsWritten) {
  UpdateCase c;
  c.now.memory.limit_bytes = 1 << 20;
  c.now.pids_limit = 5;
  c.change.resources.pids_limit = 9;
  const UpdatePlan plan = c.plan();
  EXPECT_FALSE(has_errors(plan));
  EXPECT_EQ(writes(plan), Lines{"pids.max 9"});
  EXPECT_EQ(plan.cgroup.path, "/minirun/web");
  EXPECT_EQ(plan.result.memory.limit_bytes, 1 << 20);
  EXPECT_EQ(plan.result.pids_limit, 9);
  EXPECT_FALSE(plan.cgroup.attach_devices);
}

TEST(Update, TheOtherHalfOfCpuMaxStays) {
  UpdateCase c;
  c.current = {.quota_us = 20000, .period_us = 50000, .burst_us = 0, .idle = false};
  c.change.resources.cpu.period_us = 10000;
  EXPECT_EQ(writes(c.plan()), Lines{"cpu.max 20000 10000"});
  c.change = {};
  c.change.resources.cpu.quota_us = -1;
  EXPECT_EQ(writes(c.plan()), Lines{"cpu.max max 50000"});
}

TEST(Update, ABurstGoesDownFirstAndUpLast) {
  UpdateCase c;
  c.now.cpu.quota_us = 20000;
  c.current = {.quota_us = 20000, .period_us = 100000, .burst_us = 20000, .idle = false};
  c.change.resources.cpu.quota_us = 10000;
  EXPECT_TRUE(has_errors(c.plan())) << "the old burst is above the new quota";
  c.change.resources.cpu.burst_us = 5000;
  EXPECT_EQ(writes(c.plan()),
            (Lines{"cpu.max.burst 0", "cpu.max 10000 100000", "cpu.max.burst 5000"}));
}

TEST(Update, SwapIsADifference) {
  UpdateCase c;
  c.now.memory.limit_bytes = 100 << 20;
  c.now.memory.swap_bytes = 150 << 20;
  c.change.resources.memory.limit_bytes = 200 << 20;
  UpdatePlan plan = c.plan();
  EXPECT_EQ(writes(plan), Lines{"memory.max 209715200"}) << "the allowance of swap stays";
  EXPECT_EQ(plan.result.memory.swap_bytes, 250 << 20);
  c.change = {};
  c.change.resources.memory.swap_bytes = 110 << 20;
  EXPECT_EQ(writes(c.plan()), Lines{"memory.swap.max 10485760"});
  c.change.resources.memory.swap_bytes = 90 << 20;
  EXPECT_TRUE(has_errors(c.plan()));
  c.change = {};
  c.change.resources.memory.limit_bytes = -1;
  EXPECT_EQ(writes(c.plan()), (Lines{"memory.swap.max max", "memory.max max"}));
}

TEST(Update, AnErrorNamesTheFlag) {
  UpdateCase c;
  c.change.resources.memory.swap_bytes = 64 << 20;
  c.change.origins["memory.swap"] = {"--memory-swap", "64m", ""};
  const UpdatePlan plan = c.plan();
  ASSERT_EQ(plan.findings.size(), 1U);
  EXPECT_EQ(plan.findings[0].pointer, "--memory-swap");
}

TEST(Update, DevicesOfBlockIoAreReplacedOneByOne) {
  UpdateCase c;
  c.now.block_io.read_bps = {{8, 0, 100}, {8, 16, 200}};
  c.change.resources.block_io.read_bps = {{8, 0, 300}};
  const UpdatePlan plan = c.plan();
  EXPECT_EQ(writes(plan), Lines{"io.max 8:0 rbps=300"});
  EXPECT_EQ(plan.result.block_io.read_bps,
            (std::vector<ThrottleDevice>{{8, 16, 200}, {8, 0, 300}}));
}

TEST(Update, AScopeLearnsTheSame) {
  UpdateCase c;
  c.change.resources.pids_limit = 9;
  ContainerView with_scope = view();
  with_scope.record->systemd_unit = "minirun-web.scope";
  const UpdatePlan plan =
      plan_update(ContainerSpec(), with_scope, c.change, c.current, all_controllers());
  ASSERT_TRUE(plan.cgroup.scope);
  EXPECT_EQ(plan.cgroup.scope->properties,
            (std::vector<UnitProperty>{{"TasksMax", std::uint64_t{9}}}));
}

TEST(Update, WhatIsStoredReadsBack) {
  Resources resources;
  resources.memory.limit_bytes = -1;
  resources.memory.reservation_bytes = 5;
  resources.cpu.shares = 512;
  resources.cpu.quota_us = -1;
  resources.cpu.period_us = 100000;
  resources.cpu.burst_us = 7;
  resources.cpu.idle = 0;
  resources.cpu.cpus = "0-1";
  resources.cpu.mems = "0";
  resources.block_io.weight = 100;
  resources.block_io.weight_device = {{8, 0, 300}};
  resources.block_io.read_bps = {{8, 0, 1}};
  resources.block_io.write_bps = {{8, 0, 2}};
  resources.block_io.read_iops = {{8, 0, 3}};
  resources.block_io.write_iops = {{8, 0, 4}};
  resources.hugepage_limits = {{"2MB", 0}};
  resources.pids_limit = 0;
  resources.rdma["mlx"] = {3, std::nullopt};
  resources.unified["memory.high"] = "max";
  Findings findings;
  const auto document = JsonDocument::parse(resources_json(resources), findings);
  ASSERT_TRUE(document);
  Resources back;
  std::map<std::string, Origin> origins;
  read_oci_resources(document->root(findings), back, origins);
  EXPECT_EQ(findings.size(), 0U);
  EXPECT_EQ(back, resources);
}

}  // namespace
}  // namespace minirun
