#include "cgroups/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

HostFacts pure_v2() {
  HostFacts host;
  host.kernel_major = 6;
  host.kernel_minor = 1;
  host.cgroup.mount_point = "/sys/fs/cgroup";
  host.cgroup.own_path = "/";
  host.cgroup.controllers = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"};
  return host;
}

// "file=value", in order.
std::vector<std::string> writes(const ContainerSpec& spec, const HostFacts& host = pure_v2(),
                                CgroupPlanOptions options = {}) {
  const CgroupPlanResult result = plan_cgroup(spec, host, "c1", options);
  for (const Finding& finding : result.findings)
    EXPECT_NE(finding.level, Finding::Level::error) << finding.pointer << ": " << finding.message;
  std::vector<std::string> lines;
  lines.reserve(result.plan.writes.size());
  for (const CgroupWrite& write : result.plan.writes)
    lines.push_back(write.file + "=" + write.value);
  return lines;
}

// The only finding, as "pointer: message".
std::string finding(const ContainerSpec& spec, Finding::Level level = Finding::Level::error,
                    const HostFacts& host = pure_v2()) {
  const CgroupPlanResult result = plan_cgroup(spec, host, "c1");
  EXPECT_EQ(result.findings.size(), 1u);
  if (result.findings.empty()) return "";
  EXPECT_EQ(result.findings[0].level, level);
  return result.findings[0].pointer + ": " + result.findings[0].message;
}

ContainerSpec with(auto change) {
  ContainerSpec spec;
  change(spec.resources);
  return spec;
}

TEST(CgroupPlan, EmptySpecWritesNothing) {
  const auto result = plan_cgroup({}, pure_v2(), "c1");
  EXPECT_EQ(result.plan.path, "/minirun/c1");
  EXPECT_THAT(result.plan.writes, IsEmpty());
  EXPECT_THAT(result.plan.controllers, IsEmpty());
  EXPECT_THAT(result.findings, IsEmpty());
  EXPECT_TRUE(result.plan.attach_devices);
}

TEST(CgroupPlan, Paths) {
  const auto path = [](std::string cgroups_path, uid_t euid = 0) {
    ContainerSpec spec;
    spec.cgroups_path = std::move(cgroups_path);
    HostFacts host = pure_v2();
    host.euid = euid;
    host.cgroup.own_path = "/user.slice/session.scope";
    return plan_cgroup(spec, host, "c1").plan.path;
  };
  EXPECT_EQ(path(""), "/minirun/c1");
  EXPECT_EQ(path("/a//b/./c/"), "/a/b/c");
  EXPECT_EQ(path("a/b"), "/minirun/a/b");
  EXPECT_EQ(path("", 1000), "/user.slice/minirun/c1");
  EXPECT_EQ(path("/x", 1000), "/x");
}

TEST(CgroupPlan, RefusesPathsThatEscape) {
  for (const char* path : {"..", "/..", "../x", "/a/../b", "/a/..", "/", "//", ".", "a\nb"}) {
    ContainerSpec spec;
    spec.cgroups_path = path;
    const auto result = plan_cgroup(spec, pure_v2(), "c1");
    EXPECT_TRUE(has_errors(result.findings)) << path;
    EXPECT_EQ(result.plan.path, "") << path;
  }
  for (const char* id : {"..", "a/b", "", "/"})
    EXPECT_TRUE(has_errors(plan_cgroup({}, pure_v2(), id).findings)) << id;
  ContainerSpec spec;
  spec.cgroups_path = "system.slice:minirun:x";
  EXPECT_THAT(finding(spec, Finding::Level::warning), HasSubstr("slice:prefix:name"));
}

TEST(CgroupPlan, CpuWeightByBothFormulas) {
  const ContainerSpec spec = with([](Resources& r) { r.cpu.shares = 1024; });
  EXPECT_THAT(writes(spec), ElementsAre("cpu.weight=100"));
  EXPECT_THAT(writes(spec, pure_v2(), {.formula = WeightFormula::linear}),
              ElementsAre("cpu.weight=39"));
  EXPECT_THAT(writes(with([](Resources& r) { r.cpu.shares = 0; })), IsEmpty());
  const CgroupWrite write = plan_cgroup(spec, pure_v2(), "c1").plan.writes[0];
  EXPECT_EQ(write.formula, "quadratic(shares 1024) = 100");
  EXPECT_EQ(write.source, "linux.resources.cpu.shares");
  EXPECT_EQ(write.v1_name, "cpu.shares");
}

TEST(CgroupPlan, CpuMaxAndBurst) {
  EXPECT_THAT(writes(with([](Resources& r) { r.cpu.quota_us = 50000; })),
              ElementsAre("cpu.max=50000 100000"));
  EXPECT_THAT(writes(with([](Resources& r) { r.cpu.period_us = 20000; })),
              ElementsAre("cpu.max=max 20000"));
  EXPECT_THAT(writes(with([](Resources& r) { r.cpu.quota_us = -1; })),
              ElementsAre("cpu.max=max 100000"));
  const ContainerSpec burst = with([](Resources& r) {
    r.cpu.quota_us = 20000;
    r.cpu.burst_us = 20000;
  });
  EXPECT_THAT(writes(burst), ElementsAre("cpu.max=20000 100000", "cpu.max.burst=20000"));
  EXPECT_THAT(writes(burst, pure_v2(), {.update = true}),
              ElementsAre("cpu.max.burst=0", "cpu.max=20000 100000", "cpu.max.burst=20000"));
}

TEST(CgroupPlan, CpuRefusesWhatTheKernelWould) {
  EXPECT_THAT(finding(with([](Resources& r) { r.cpu.quota_us = 999; })),
              HasSubstr("/linux/resources/cpu/quota: 999 us"));
  EXPECT_THAT(finding(with([](Resources& r) { r.cpu.period_us = 1000001; })), HasSubstr("period"));
  EXPECT_THAT(finding(with([](Resources& r) {
                r.cpu.quota_us = 1000;
                r.cpu.burst_us = 1001;
              })),
              HasSubstr("more than the quota"));
  EXPECT_THAT(finding(with([](Resources& r) { r.cpu.idle = 2; })), HasSubstr("not 0 or 1"));
  HostFacts old = pure_v2();
  old.kernel_major = 5;
  old.kernel_minor = 10;
  EXPECT_THAT(finding(with([](Resources& r) { r.cpu.burst_us = 1; }), Finding::Level::error, old),
              HasSubstr("cpu.max.burst needs Linux 5.14, this is 5.10"));
}

TEST(CgroupPlan, IdleAndWeight) {
  EXPECT_THAT(writes(with([](Resources& r) {
                r.cpu.idle = 0;
                r.cpu.shares = 2;
              })),
              ElementsAre("cpu.idle=0", "cpu.weight=1"));
  const ContainerSpec idle = with([](Resources& r) {
    r.cpu.idle = 1;
    r.cpu.shares = 512;
  });
  EXPECT_THAT(writes(idle), ElementsAre("cpu.idle=1"));
  EXPECT_THAT(finding(idle, Finding::Level::warning), HasSubstr("cpu/shares"));
}

TEST(CgroupPlan, MemoryAndSwap) {
  const auto memory = [](std::optional<std::int64_t> limit, std::optional<std::int64_t> swap) {
    return with([&](Resources& r) {
      r.memory.limit_bytes = limit;
      r.memory.swap_bytes = swap;
    });
  };
  EXPECT_THAT(writes(memory(4096, 12288)), ElementsAre("memory.swap.max=8192", "memory.max=4096"));
  EXPECT_THAT(writes(memory(4096, 4096)), ElementsAre("memory.swap.max=0", "memory.max=4096"));
  EXPECT_THAT(writes(memory(4096, -1)), ElementsAre("memory.swap.max=max", "memory.max=4096"));
  EXPECT_THAT(writes(memory(4096, 0)), ElementsAre("memory.max=4096"));
  EXPECT_THAT(writes(memory(-1, std::nullopt)),
              ElementsAre("memory.swap.max=max", "memory.max=max"));
  EXPECT_THAT(writes(memory(0, std::nullopt)), IsEmpty());
  EXPECT_THAT(writes(with([](Resources& r) { r.memory.reservation_bytes = 100; })),
              ElementsAre("memory.low=100"));
  EXPECT_THAT(finding(memory(4096, 4095)), HasSubstr("must not be below"));
  EXPECT_THAT(finding(memory(std::nullopt, 4095)), HasSubstr("needs a memory limit"));
  EXPECT_THAT(finding(memory(-2, std::nullopt)), HasSubstr("memory/limit: -2"));
  const auto plan = plan_cgroup(memory(5000, 5000), pure_v2(), "c1").plan;
  EXPECT_EQ(plan.writes[0].if_absent, IfAbsent::skip);
  EXPECT_EQ(plan.writes[1].formula, "the kernel rounds down to pages: 4096");
}

TEST(CgroupPlan, Pids) {
  const auto pids = [](std::int64_t limit) {
    return with([&](Resources& r) { r.pids_limit = limit; });
  };
  EXPECT_THAT(writes(pids(-1)), ElementsAre("pids.max=max"));
  EXPECT_THAT(writes(pids(0)), ElementsAre("pids.max=1"));
  EXPECT_THAT(writes(pids(4194304)), ElementsAre("pids.max=4194304"));
  EXPECT_THAT(finding(pids(4194305)), HasSubstr("pids/limit: 4194305"));
  EXPECT_THAT(finding(pids(-2)), HasSubstr("-2"));
}

TEST(CgroupPlan, Io) {
  const ContainerSpec spec = with([](Resources& r) {
    r.block_io.weight = 100;
    r.block_io.weight_device = {{8, 0, 1000}};
    r.block_io.read_bps = {{8, 0, 1048576}};
    r.block_io.write_iops = {{8, 16, 0}};
  });
  EXPECT_THAT(writes(spec), ElementsAre("io.bfq.weight=100", "io.bfq.weight=8:0 1000",
                                        "io.max=8:0 rbps=1048576", "io.max=8:16 wiops=max"));
  const auto plan = plan_cgroup(spec, pure_v2(), "c1").plan;
  EXPECT_EQ(plan.writes[0].else_file + "=" + plan.writes[0].else_value, "io.weight=910");
  EXPECT_EQ(plan.writes[1].else_value, "8:0 10000");
  EXPECT_THAT(finding(with([](Resources& r) { r.block_io.weight = 9; })), HasSubstr("10 to 1000"));
}

TEST(CgroupPlan, CpusetHugetlbRdma) {
  EXPECT_THAT(writes(with([](Resources& r) {
                r.cpu.cpus = "0-3,8,0-31:2/8";
                r.cpu.mems = "0";
              })),
              ElementsAre("cpuset.cpus=0-3,8,0-31:2/8", "cpuset.mems=0"));
  for (const char* list : {"a", "3-1", "1,,2", "1,", "-1", "0-3:2", "1 2", "0:1/2"})
    EXPECT_THAT(finding(with([&](Resources& r) { r.cpu.cpus = list; })), HasSubstr("cpu/cpus"));
  EXPECT_THAT(writes(with([](Resources& r) { r.hugepage_limits = {{"2MB", 4194304}}; })),
              ElementsAre("hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"));
  for (const char* size : {"2M", "", "MB", "../MB", "2TB"})
    EXPECT_THAT(finding(with([&](Resources& r) { r.hugepage_limits = {{size, 1}}; })),
                HasSubstr("page size"));
  EXPECT_THAT(writes(with([](Resources& r) { r.rdma["mlx5_1"] = {3, 10000}; })),
              ElementsAre("rdma.max=mlx5_1 hca_handle=3 hca_object=10000"));
  EXPECT_THAT(finding(with([](Resources& r) { r.rdma["mlx5_1"] = {}; })), HasSubstr("hcaHandles"));
  EXPECT_THAT(finding(with([](Resources& r) { r.rdma["a b"] = {3, {}}; })), HasSubstr("device"));
}

TEST(CgroupPlan, UnifiedIsLastAndWins) {
  EXPECT_THAT(writes(with([](Resources& r) {
                r.memory.limit_bytes = 8192;
                r.pids_limit = 5;
                r.unified["memory.max"] = "4096";
                r.unified["memory.oom.group"] = "1";
                r.unified["misc.max"] = "a 1\nb 2\n";
                r.unified["cgroup.max.depth"] = "3";
              })),
              ElementsAre("pids.max=5", "cgroup.max.depth=3", "memory.max=4096",
                          "memory.oom.group=1", "misc.max=a 1", "misc.max=b 2"));
  // A keyed file is added to, not replaced.
  EXPECT_THAT(writes(with([](Resources& r) {
                r.block_io.read_bps = {{8, 0, 10}};
                r.unified["io.max"] = "8:16 rbps=1";
              })),
              ElementsAre("io.max=8:0 rbps=10", "io.max=8:16 rbps=1"));
}

TEST(CgroupPlan, UnifiedKeysAreChecked) {
  for (const char* key : {"../memory.max", "memory/max", "memory", ".max", "memory.", "",
                          "cgroup.procs", "cgroup.kill", "cgroup.subtree_control", "net.max"})
    EXPECT_THAT(finding(with([&](Resources& r) { r.unified[key] = "1"; })),
                HasSubstr("/linux/resources/unified/" + std::string(key)));
  EXPECT_THAT(finding(with([](Resources& r) { r.unified["memory.high"] = "\n"; })),
              HasSubstr("has no value"));
  HostFacts newer = pure_v2();
  newer.cgroup.controllers.emplace_back("future");
  const ContainerSpec future = with([](Resources& r) { r.unified["future.max"] = "1"; });
  EXPECT_THAT(writes(future, newer), ElementsAre("future.max=1"));
  EXPECT_THAT(plan_cgroup(future, newer, "c1").plan.controllers, ElementsAre("future"));
}

TEST(CgroupPlan, ControllersAreNamedOnceInTableOrder) {
  const ContainerSpec spec = with([](Resources& r) {
    r.cpu.cpus = "0";
    r.cpu.quota_us = 1000;
    r.cpu.shares = 5;
    r.memory.limit_bytes = 4096;
  });
  EXPECT_THAT(plan_cgroup(spec, pure_v2(), "c1").plan.controllers,
              ElementsAre("memory", "cpu", "cpuset"));
  EXPECT_THAT(plan_cgroup({}, pure_v2(), "c1", {.account = true}).plan.controllers,
              ElementsAre("pids", "memory", "io", "cpu"));
}

TEST(CgroupPlan, MissingControllersSayWhy) {
  const ContainerSpec spec = with([](Resources& r) {
    r.memory.limit_bytes = 4096;
    r.memory.swap_bytes = 4096;
  });
  HostFacts host = pure_v2();
  host.cgroup.controllers = {"hugetlb"};
  const auto message = [&] { return plan_cgroup(spec, host, "c1").findings.at(0).message; };
  EXPECT_THAT(message(), HasSubstr("not compiled into this kernel"));
  host.cgroup.hierarchy_root = false;
  EXPECT_THAT(message(), HasSubstr("not delegated"));
  EXPECT_THAT(message(), HasSubstr("Delegate=yes"));
  host.cgroup.disabled = {"memory"};
  EXPECT_THAT(message(), HasSubstr("cgroup_disable="));
  host.cgroup.v1 = {{"/sys/fs/cgroup/memory", {"memory"}}};
  EXPECT_THAT(message(), HasSubstr("bound to cgroup v1 at /sys/fs/cgroup/memory"));
  EXPECT_THAT(message(), HasSubstr("cgroup_no_v1=all"));
  EXPECT_EQ(plan_cgroup(spec, host, "c1").findings.size(), 2u) << "one for each field";
  host.cgroup.mount_point.clear();
  EXPECT_EQ(plan_cgroup(spec, host, "c1").findings.size(), 1u);
}

TEST(CgroupPlan, IoIsBlkioInV1) {
  HostFacts host = pure_v2();
  host.cgroup.controllers.clear();
  host.cgroup.v1 = {{"/sys/fs/cgroup/blkio", {"blkio"}}};
  EXPECT_THAT(why_missing(host.cgroup, "io"), HasSubstr("blkio controller is bound to cgroup v1"));
}

TEST(CgroupPlan, NamesTheUsersField) {
  ContainerSpec spec = with([](Resources& r) { r.cpu.quota_us = 50000; });
  spec.origins["cpu.quota"] = {"resources.limits.cpu", "500m", "500 * 100000 / 1000 = 50000"};
  const CgroupWrite write = plan_cgroup(spec, pure_v2(), "c1").plan.writes.at(0);
  EXPECT_EQ(write.source, "resources.limits.cpu");
  EXPECT_THAT(write.formula, HasSubstr("500 * 100000 / 1000 = 50000"));
  HostFacts host = pure_v2();
  host.cgroup.controllers.clear();
  EXPECT_EQ(plan_cgroup(spec, host, "c1").findings.at(0).pointer, "/resources/limits/cpu");
}

TEST(CgroupPlan, Devices) {
  const DeviceRule deny_all{false, DeviceRule::Type::all, {}, {}};
  const DeviceRule allow_all{true, DeviceRule::Type::all, {}, {}};
  const auto denied =
      plan_cgroup(with([&](Resources& r) { r.devices = {deny_all}; }), pure_v2(), "c1");
  EXPECT_TRUE(denied.plan.attach_devices);
  EXPECT_EQ(denied.plan.devices.front(), deny_all);
  EXPECT_EQ(denied.plan.devices.size(), 11u);
  EXPECT_FALSE(
      plan_cgroup(with([&](Resources& r) { r.devices = {deny_all, allow_all}; }), pure_v2(), "c1")
          .plan.attach_devices);
  HostFacts user = pure_v2();
  user.euid = 1000;
  EXPECT_FALSE(plan_cgroup({}, user, "c1").plan.attach_devices);
  EXPECT_THAT(
      finding(with([&](Resources& r) { r.devices = {deny_all}; }), Finding::Level::warning, user),
      HasSubstr("need root"));
}

}  // namespace
}  // namespace minirun
