// Limits that bite. A case whose controller this host lacks is skipped with the reason; the VM has
// them all (vm/run).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cgroups/root_fixture.h"

namespace minirun {
namespace {

using testing::HasSubstr;

TEST_F(CgroupRoot, ErrorNamesFileValueAndField) {
  if (auto why = missing("pids"); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.unified["pids.max"] = "many";
  spec.origins["unified.pids.max"] = {"limits.pids", "many", ""};
  const auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_FALSE(cgroup);
  EXPECT_EQ(cgroup.error().errnum, EINVAL);
  EXPECT_EQ(cgroup.error().object, "pids.max");
  EXPECT_THAT(cgroup.error().detail, HasSubstr("cannot write \"many\", from limits.pids"));
}

TEST_F(CgroupRoot, EnablesControllersFromTheRootAndReadsBack) {
  for (const char* name : {"cpu", "cpuset", "memory", "pids"})
    if (auto why = missing(name); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.cpu.quota_us = 20000;
  spec.resources.cpu.period_us = 50000;
  spec.resources.cpu.burst_us = 10000;
  spec.resources.cpu.shares = 1024;
  spec.resources.cpu.cpus = "0";
  spec.resources.cpu.mems = "0";
  spec.resources.memory.limit_bytes = 64 << 20;
  spec.resources.memory.reservation_bytes = 1 << 20;
  spec.resources.memory.swap_bytes = 96 << 20;
  spec.resources.pids_limit = 0;
  spec.resources.unified = {
      {"memory.high", "60M"}, {"memory.oom.group", "1"}, {"memory.min", "4096"}};
  if (missing("hugetlb").empty()) spec.resources.hugepage_limits = {{"2MB", 4 << 20}};
  auto cgroup = Cgroup::create(plan(spec, "a/b/c"), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  EXPECT_EQ(text(*cgroup, "cpu.max"), "20000 50000\n");
  EXPECT_EQ(text(*cgroup, "cpu.max.burst"), "10000\n");
  EXPECT_EQ(text(*cgroup, "cpu.weight"), "100\n");
  EXPECT_EQ(text(*cgroup, "cpuset.cpus"), "0\n");
  EXPECT_EQ(text(*cgroup, "memory.max"), "67108864\n");
  EXPECT_EQ(text(*cgroup, "memory.low"), "1048576\n");
  EXPECT_EQ(text(*cgroup, "memory.min"), "4096\n");
  EXPECT_EQ(text(*cgroup, "memory.high"), "62914560\n");
  EXPECT_EQ(text(*cgroup, "memory.oom.group"), "1\n");
  EXPECT_EQ(text(*cgroup, "pids.max"), "1\n");
  if (!spec.resources.hugepage_limits.empty()) {
    EXPECT_EQ(text(*cgroup, "hugetlb.2MB.max"), "4194304\n");
    EXPECT_EQ(text(*cgroup, "hugetlb.2MB.rsvd.max"), "4194304\n");
  }
  const auto stats = read_stats(cgroup->fd());
  ASSERT_TRUE(stats && stats->memory && stats->pids);
  EXPECT_EQ(stats->memory->max, 64u << 20);
  EXPECT_EQ(stats->pids->max, 1u);
  EXPECT_TRUE(stats->cpu.nr_throttled && stats->cpu.nr_bursts);
}

TEST_F(CgroupRoot, UpdatesLimitsInBothDirections) {
  for (const char* name : {"cpu", "memory"})
    if (auto why = missing(name); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.cpu.quota_us = 50000;
  spec.resources.cpu.burst_us = 50000;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  const auto update = [&](std::int64_t quota, std::uint64_t burst) {
    spec.resources.cpu.quota_us = quota;
    spec.resources.cpu.burst_us = burst;
    spec.cgroups_path = cgroup->path();
    return update_cgroup(plan_cgroup(spec, host_, "unused", {.update = true}).plan, host_.cgroup);
  };
  for (const auto& [quota, burst] : {std::pair{10000, 5000u}, {80000, 80000u}, {2000, 0u}}) {
    const Status updated = update(quota, burst);
    ASSERT_TRUE(updated) << to_string(updated.error());
    EXPECT_EQ(text(*cgroup, "cpu.max"), std::to_string(quota) + " 100000\n");
    EXPECT_EQ(text(*cgroup, "cpu.max.burst"), std::to_string(burst) + "\n");
  }
  spec.resources.memory.limit_bytes = 4096;
  spec.resources.memory.check_before_update = true;
  ASSERT_TRUE(update(2000, 0)) << "nothing is used yet; also enables memory on the way";
  EXPECT_EQ(text(*cgroup, "memory.max"), "4096\n");
}

TEST_F(CgroupRoot, CheckBeforeUpdateRefuses) {
  if (auto why = missing("memory"); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.memory.limit_bytes = 64 << 20;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t pid = spawn(cgroup->fd(), [&] {
    hog(16 << 20);
    (void)!::write(ready[1], "x", 1);
    return sleep_forever();
  });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  spec.cgroups_path = cgroup->path();
  spec.resources.memory.limit_bytes = 8 << 20;
  spec.resources.memory.check_before_update = true;
  const Status updated =
      update_cgroup(plan_cgroup(spec, host_, "x", {.update = true}).plan, host_.cgroup);
  ASSERT_FALSE(updated);
  EXPECT_THAT(to_string(updated.error()), HasSubstr("is not above the current usage"));
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_TRUE(cgroup->remove());
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(CgroupRoot, ThrottlingIsCounted) {
  if (auto why = missing("cpu"); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.cpu.quota_us = 20000;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  EXPECT_EQ(exit_code(spawn(cgroup->fd(), [] { return burn(1000ms), 0; })), 0);
  const CpuStats cpu = read_stats(cgroup->fd())->cpu;
  EXPECT_GE(cpu.nr_throttled.value_or(0), 5u);
  EXPECT_GE(cpu.throttled_usec.value_or(0), 300000u);
  EXPECT_LE(cpu.usage_usec, 450000u) << "20 % of a second, with slack for the last period";
}

TEST_F(CgroupRoot, OomIsCountedWithTheLevel) {
  if (auto why = missing("memory"); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec, none;
  spec.resources.memory.limit_bytes = spec.resources.memory.swap_bytes = 16 << 20;
  auto outer = Cgroup::create(plan(spec, "pod"), host_.cgroup);
  ASSERT_TRUE(outer) << to_string(outer.error());
  spec.resources.memory.limit_bytes = spec.resources.memory.swap_bytes = 64 << 20;
  auto inner = Cgroup::create(plan(spec, "pod/inner"), host_.cgroup);
  ASSERT_TRUE(inner) << to_string(inner.error());
  const auto run = [&] {
    const auto before = read_levels(host_.cgroup, inner->path());
    EXPECT_EQ(exit_code(spawn(inner->fd(), [] { return hog(128 << 20); })), 128 + SIGKILL);
    return judge_limits(*before, *read_levels(host_.cgroup, inner->path()));
  };
  LimitVerdict verdict = run();
  EXPECT_EQ(verdict.oom, OomCause::ancestor);
  EXPECT_EQ(verdict.oom_path, outer->path());
  EXPECT_EQ(verdict.oom_limit_bytes, 16u << 20);
  ASSERT_TRUE(write_beneath(outer->fd().get(), "memory.max", "max"));
  verdict = run();
  EXPECT_EQ(verdict.oom, OomCause::own_limit);
  EXPECT_EQ(verdict.oom_kills, 1u);
  EXPECT_EQ(verdict.oom_path, inner->path());
  EXPECT_GT(verdict.memory_max_hits, 0u);
  const auto stats = read_stats(inner->fd());
  EXPECT_GE(stats->memory->highest().bytes, 15u << 20);
  EXPECT_EQ(stats->memory->events.at("oom_kill"), 2u);
  EXPECT_TRUE(inner->remove());
}

TEST_F(CgroupRoot, PidsLimitRefusesForks) {
  if (auto why = missing("pids"); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.pids_limit = 3;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  const int forks = exit_code(spawn(cgroup->fd(), [] {
    int made = 0;
    for (int i = 0; i < 6; ++i) {
      const pid_t pid = ::fork();
      if (pid == 0) sleep_forever();
      if (pid > 0) ++made;
    }
    return made;
  }));
  EXPECT_EQ(forks, 2);
  const LimitVerdict verdict = judge_limits({}, *read_levels(host_.cgroup, cgroup->path()));
  EXPECT_EQ(verdict.pids_hits, 4u);
  EXPECT_EQ(verdict.pids_path, cgroup->path());
}

TEST_F(CgroupRoot, ForkBombIsGoneInTwoSeconds) {
  if (auto why = missing("pids"); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec spec;
  spec.resources.pids_limit = 300;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  const pid_t pid = spawn(cgroup->fd(), [] {
    for (;;) (void)!::fork();
    return 0;
  });
  const auto hits = [&] { return read_stats(cgroup->fd())->pids->max_events; };
  const auto patience = Clock::now() + 90s;
  while (hits() == 0 && Clock::now() < patience) ::usleep(10000);  // leaves the bomb its CPU
  ASSERT_GT(hits(), 0u) << "the bomb did not reach its limit";
  const auto begin = Clock::now();
  const Status removed = cgroup->remove();
  const auto took = Clock::now() - begin;
  EXPECT_TRUE(removed) << to_string(removed.error());
  EXPECT_LT(took, 2s);
  RecordProperty("removal_ms", static_cast<int>(took / 1ms));
  std::printf("             removed 300 forking processes in %d ms\n",
              static_cast<int>(took / 1ms));
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
}

// /dev/vda with a file system of its own at /mnt/disk is what the VM has.
TEST_F(CgroupRoot, IoMaxSlowsWrites) {
  if (auto why = missing("io"); !why.empty()) GTEST_SKIP() << why;
  struct stat disk{};
  struct stat directory{};
  if (::stat("/dev/vda", &disk) != 0 || !S_ISBLK(disk.st_mode) ||
      ::stat("/mnt/disk", &directory) != 0 || directory.st_dev != disk.st_rdev)
    GTEST_SKIP() << "no scratch file system of /dev/vda at /mnt/disk (the VM has one)";
  ContainerSpec spec;
  const unsigned major = gnu_dev_major(disk.st_rdev), minor = gnu_dev_minor(disk.st_rdev);
  spec.resources.block_io.write_bps = {{major, minor, 1 << 20}};
  spec.resources.block_io.read_iops = {{major, minor, 100}};
  spec.resources.block_io.weight = 500;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  const std::string device = std::to_string(major) + ":" + std::to_string(minor);
  EXPECT_EQ(text(*cgroup, "io.max"), device + " rbps=max wbps=1048576 riops=100 wiops=max\n");
  EXPECT_THAT(text(*cgroup, "io.bfq.weight") + text(*cgroup, "io.weight"),
              testing::AnyOf(HasSubstr("default 500"), HasSubstr("default 4950")));
  const auto begin = Clock::now();
  const int code = exit_code(spawn(cgroup->fd(), [] {
    const std::string file = "/mnt/disk/io-max-test";
    const int fd = ::open(file.c_str(), O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
    void* block = nullptr;
    if (fd < 0 || ::posix_memalign(&block, 4096, 1 << 18) != 0) return 1;
    for (int i = 0; i < 8; ++i)
      if (::write(fd, block, 1 << 18) != 1 << 18) return 2;
    return ::unlink(file.c_str());
  }));
  EXPECT_EQ(code, 0);
  EXPECT_GT(Clock::now() - begin, 1s) << "2 MiB at 1 MiB/s";
  const auto stats = read_stats(cgroup->fd());
  ASSERT_TRUE(stats && stats->io);
  EXPECT_GE(stats->io->at(device).wbytes, 2u << 20);
}

// A subtree that was handed to somebody without the controller: nothing below can have it.
TEST_F(CgroupRoot, SaysWhichAncestorDoesNotDelegate) {
  for (const char* name : {"memory", "pids"})
    if (auto why = missing(name); !why.empty()) GTEST_SKIP() << why;
  ContainerSpec pids, both;
  pids.resources.pids_limit = 5;
  both.resources.pids_limit = 5;
  both.resources.memory.limit_bytes = 64 << 20;
  auto keeper = Cgroup::create(plan(pids, "keeper/c"), host_.cgroup);
  ASSERT_TRUE(keeper) << to_string(keeper.error());
  CgroupFacts inside = host_.cgroup;
  inside.mount_point += top_ + "/keeper";  // what a bind mount of the subtree would show
  CgroupPlan limited = plan(both);
  limited.path = "/below/d";
  const auto refused = Cgroup::create(limited, inside);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().errnum, ENOENT);
  EXPECT_THAT(to_string(refused.error()), HasSubstr("cannot enable memory: not delegated"));
  limited = plan(pids);
  limited.path = "/below/d";
  EXPECT_TRUE(Cgroup::create(limited, inside)) << "what is delegated works";
}

TEST_F(CgroupRoot, ProcessesInTheWayAreNamed) {
  if (auto why = missing("memory"); !why.empty()) GTEST_SKIP() << why;
  auto parent = Cgroup::create(plan({}, "busy"), host_.cgroup);
  ASSERT_TRUE(parent);
  const pid_t pid = spawn(parent->fd(), sleep_forever);
  ContainerSpec spec;
  spec.resources.memory.limit_bytes = 64 << 20;
  const auto child = Cgroup::create(plan(spec, "busy/c"), host_.cgroup);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().errnum, EBUSY);
  EXPECT_THAT(to_string(child.error()), HasSubstr("here sit " + std::to_string(pid)));
  EXPECT_FALSE(exists(parent->path() + "/c"));
  EXPECT_TRUE(parent->remove());
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
}

}  // namespace
}  // namespace minirun
