// Real cgroups, made below "/minirun-test-PID" and gone afterwards. A case that needs root or a
// controller which this host lacks is skipped with the reason; the VM has them all (vm/run).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "cgroups/apply.h"
#include "cgroups/device_filter.h"
#include "cgroups/discovery.h"
#include "cgroups/files.h"
#include "cgroups/stats.h"

namespace minirun {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

class CgroupRoot : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto facts = discover_cgroups();
    ASSERT_TRUE(facts) << to_string(facts.error());
    host_.cgroup = *std::move(facts);
    host_.kernel_major = 6;
    host_.kernel_minor = 1;
    if (host_.cgroup.mount_point.empty()) GTEST_SKIP() << "no cgroup2 mount";
    top_ = "/minirun-test-" + std::to_string(::getpid());
  }

  void TearDown() override {
    if (top_.empty()) return;
    EXPECT_NE(::access((host_.cgroup.mount_point + top_).c_str(), F_OK), 0) << "left behind";
    (void)remove_cgroup(host_.cgroup, top_);
  }

  // Why a limit cannot be tested here; empty when it can.
  std::string missing(std::string_view controller) const {
    return why_missing(host_.cgroup, controller);
  }

  CgroupPlan plan(const ContainerSpec& resources = {}, std::string name = "c") const {
    ContainerSpec spec = resources;
    spec.cgroups_path = top_ + "/" + name;
    CgroupPlanResult result = plan_cgroup(spec, host_, "unused");
    for (const Finding& finding : result.findings)
      ADD_FAILURE() << finding.pointer << ": " << finding.message;
    return std::move(result.plan);
  }

  std::string text(const Cgroup& cgroup, const char* file) const {
    return read_beneath(cgroup.fd().get(), file).value_or("(absent)");
  }

  bool exists(const std::string& path) const {
    return ::access((host_.cgroup.mount_point + path).c_str(), F_OK) == 0;
  }

  HostFacts host_;
  std::string top_;
};

// A child that is in `cgroup` from its first instruction; its exit status is what `work` returns.
pid_t spawn(const CgroupFd& cgroup, const std::function<int()>& work) {
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<unsigned>(cgroup.get());
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  if (pid == 0) ::_exit(work());
  return pid;
}

int wait_status(pid_t pid) {
  int status = -1;
  ::waitpid(pid, &status, 0);
  return status;
}

int exit_code(pid_t pid) {
  const int status = wait_status(pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int sleep_forever() {
  for (;;) ::pause();
}

void burn(std::chrono::milliseconds wall) {
  const auto end = Clock::now() + wall;
  while (Clock::now() < end) {
  }
}

// Touches `bytes` of new memory.
int hog(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  auto* byte = static_cast<volatile char*>(memory);
  for (std::size_t i = 0; i < bytes; i += 4096) byte[i] = 1;
  return 0;
}

TEST_F(CgroupRoot, MakesAndRemovesDirectories) {
  {
    auto cgroup = Cgroup::create(plan({}, "a/b"), host_.cgroup);
    ASSERT_TRUE(cgroup) << to_string(cgroup.error());
    EXPECT_EQ(cgroup->path(), top_ + "/a/b");
    EXPECT_TRUE(exists(top_ + "/a/b"));
    Cgroup moved = *std::move(cgroup);
    EXPECT_TRUE(exists(top_ + "/a/b"));
  }
  EXPECT_FALSE(exists(top_));
}

TEST_F(CgroupRoot, ParentsStayWhileOthersUseThem) {
  auto first = Cgroup::create(plan({}, "first"), host_.cgroup);
  auto second = Cgroup::create(plan({}, "second"), host_.cgroup);
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(first->remove());
  EXPECT_FALSE(exists(top_ + "/first"));
  EXPECT_TRUE(exists(top_ + "/second"));
  EXPECT_TRUE(second->remove());
  EXPECT_TRUE(exists(top_)) << "second did not make it";
  EXPECT_TRUE(remove_cgroup(host_.cgroup, top_));
}

TEST_F(CgroupRoot, KeepAndRemoveByPath) {
  {
    auto cgroup = Cgroup::create(plan(), host_.cgroup);
    ASSERT_TRUE(cgroup);
    cgroup->keep();
  }
  EXPECT_TRUE(exists(top_ + "/c"));
  EXPECT_TRUE(remove_cgroup(host_.cgroup, top_ + "/c"));
  EXPECT_TRUE(remove_cgroup(host_.cgroup, top_ + "/c")) << "a second time is fine";
  EXPECT_TRUE(remove_cgroup(host_.cgroup, top_ + "/x/y")) << "so is one that never was";
  EXPECT_TRUE(remove_cgroup(host_.cgroup, top_));
}

TEST_F(CgroupRoot, NeverLeavesTheMount) {
  CgroupPlan escape;
  escape.path = top_ + "/../../x";
  EXPECT_THAT(to_string(Cgroup::create(escape, host_.cgroup).error()), HasSubstr(".."));
  EXPECT_EQ(open_cgroup(host_.cgroup, "/../..").error().errnum, EXDEV);
  EXPECT_FALSE(remove_cgroup(host_.cgroup, "/"));
  CgroupFacts wrong = host_.cgroup;
  wrong.mount_point = "/proc";
  EXPECT_THAT(to_string(open_cgroup(wrong, "/self").error()), HasSubstr("not a cgroup2"));
}

TEST_F(CgroupRoot, RefusesACgroupThatIsInUse) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  const pid_t pid = spawn(cgroup->fd(), sleep_forever);
  ASSERT_GT(pid, 0);
  const auto again = Cgroup::create(plan(), host_.cgroup);
  ASSERT_FALSE(again);
  EXPECT_THAT(to_string(again.error()), HasSubstr("is not empty: " + std::to_string(pid)));
  EXPECT_EQ(::kill(pid, 0), 0) << "must not be harmed";
  EXPECT_THAT(*cgroup_pids(cgroup->fd(), false), ElementsAre(pid));
  EXPECT_TRUE(cgroup->remove());
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
}

TEST_F(CgroupRoot, RefusesFrozenOnes) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  ASSERT_TRUE(freeze_cgroup(cgroup->fd()));
  const auto same = Cgroup::create(plan(), host_.cgroup);
  ASSERT_FALSE(same);
  EXPECT_THAT(to_string(same.error()), HasSubstr("exists and is frozen"));
  const auto below = Cgroup::create(plan({}, "c/d"), host_.cgroup);
  ASSERT_FALSE(below);
  EXPECT_THAT(to_string(below.error()), HasSubstr("would be frozen"));
  EXPECT_FALSE(exists(top_ + "/c/d"));
  EXPECT_TRUE(thaw_cgroup(cgroup->fd()));
  EXPECT_TRUE(Cgroup::create(plan({}, "c/d"), host_.cgroup));
}

TEST_F(CgroupRoot, FreezesThawsAndKillsFrozenProcesses) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  const pid_t pid = spawn(cgroup->fd(), [] {
    for (;;) burn(1ms);
    return 0;
  });
  ASSERT_TRUE(freeze_cgroup(cgroup->fd()));
  EXPECT_EQ(*read_cgroup_events(cgroup->fd()), (CgroupEvents{true, true}));
  const auto usage = read_stats(cgroup->fd())->cpu.usage_usec;
  burn(20ms);
  EXPECT_EQ(read_stats(cgroup->fd())->cpu.usage_usec, usage);
  ASSERT_TRUE(thaw_cgroup(cgroup->fd()));
  EXPECT_EQ(*read_cgroup_events(cgroup->fd()), (CgroupEvents{true, false}));
  ASSERT_TRUE(freeze_cgroup(cgroup->fd()));
  EXPECT_TRUE(cgroup->remove());
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
}

TEST_F(CgroupRoot, RemovesNestedCgroupsOfAnyDepth) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  Fd at(open_beneath(cgroup->fd().get(), ".", O_RDONLY | O_DIRECTORY));
  CgroupFd deepest;
  constexpr int kDepth = 300;  // more than there are descriptors to spend on it
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
    ASSERT_EQ(::mkdirat(at.get(), "beside", 0755), 0);
    at = Fd(open_beneath(at.get(), "d", O_RDONLY | O_DIRECTORY));
  }
  deepest = CgroupFd(::dup(at.get()));
  const pid_t pid = spawn(deepest, sleep_forever);
  EXPECT_TRUE(cgroup_pids(cgroup->fd(), false)->empty());
  const Status removed = cgroup->remove();
  EXPECT_TRUE(removed) << to_string(removed.error());
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
}

TEST_F(CgroupRoot, ListsProcessesBelow) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  ASSERT_EQ(::mkdirat(cgroup->fd().get(), "sub", 0755), 0);
  const CgroupFd sub(open_beneath(cgroup->fd().get(), "sub", O_RDONLY | O_DIRECTORY));
  const pid_t pid = spawn(sub, sleep_forever);
  EXPECT_TRUE(cgroup_pids(cgroup->fd(), false)->empty());
  EXPECT_THAT(*cgroup_pids(cgroup->fd(), true), ElementsAre(pid));
  EXPECT_TRUE(kill_cgroup(host_.cgroup, cgroup->path()));
  EXPECT_EQ(exit_code(pid), 128 + SIGKILL);
  EXPECT_TRUE(*wait_until_empty(cgroup->fd()));
}

// Two programs that create and remove in the same parent: no attempt may fail.
TEST_F(CgroupRoot, ParentsComeAndGoBesideOthers) {
  const auto hammer = [&](const char* name) {
    for (int i = 0; i < 200; ++i) {
      auto cgroup = Cgroup::create(plan({}, name), host_.cgroup);
      if (!cgroup) return 1;
      if (!cgroup->remove()) return 2;
    }
    return 0;
  };
  const pid_t other = ::fork();
  if (other == 0) ::_exit(hammer("x"));
  EXPECT_EQ(hammer("y"), 0);
  EXPECT_EQ(exit_code(other), 0);
  (void)remove_cgroup(host_.cgroup, top_);  // the last one to make it may not be the last to leave
}

TEST_F(CgroupRoot, DeviceFilterDecides) {
  CgroupPlan devices = plan();
  ASSERT_TRUE(devices.attach_devices);
  auto cgroup = Cgroup::create(devices, host_.cgroup);
  if (!cgroup && cgroup.error().errnum == EPERM) GTEST_SKIP() << to_string(cgroup.error());
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  EXPECT_EQ(*count_device_filters(cgroup->fd()), 1u);
  const auto try_open = [](const char* path) {
    const int fd = ::open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    const int errnum = fd < 0 ? errno : 0;
    if (fd >= 0) ::close(fd);
    return errnum;
  };
  const auto inside = [&](const char* path) {
    return exit_code(spawn(cgroup->fd(), [&] { return try_open(path); }));
  };
  EXPECT_EQ(inside("/dev/null"), 0);
  EXPECT_EQ(inside("/dev/urandom"), 0);
  ASSERT_EQ(try_open("/dev/kmsg"), 0) << "the test itself needs it";
  EXPECT_EQ(inside("/dev/kmsg"), EPERM);
  const DeviceRule kmsg{true, DeviceRule::Type::character, 1, 11};
  ASSERT_TRUE(replace_device_filter(cgroup->fd(), {&kmsg, 1}));
  EXPECT_EQ(*count_device_filters(cgroup->fd()), 1u);
  EXPECT_EQ(inside("/dev/kmsg"), 0);
  EXPECT_EQ(inside("/dev/null"), EPERM);
}

TEST_F(CgroupRoot, VerifierTakesManyRules) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  if (!cgroup && cgroup.error().errnum == EPERM) GTEST_SKIP() << to_string(cgroup.error());
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  std::vector<DeviceRule> rules;
  for (unsigned i = 0; i < 1000; ++i)
    rules.push_back({i % 3 != 0, i % 2 ? DeviceRule::Type::block : DeviceRule::Type::all, i, i * 7,
                     i % 5 != 0, i % 7 != 0, i % 2 == 0});
  const Status attached = attach_device_filter(cgroup->fd(), rules);
  EXPECT_TRUE(attached) << to_string(attached.error());
}

TEST_F(CgroupRoot, StatsWithoutControllers) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  EXPECT_EQ(exit_code(spawn(cgroup->fd(), [] { return burn(20ms), 0; })), 0);
  const auto stats = read_stats(cgroup->fd());
  ASSERT_TRUE(stats) << to_string(stats.error());
  EXPECT_GE(stats->cpu.usage_usec, 5000u);
}

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
  spec.resources.pids_limit = 500;
  auto cgroup = Cgroup::create(plan(spec), host_.cgroup);
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  const pid_t pid = spawn(cgroup->fd(), [] {
    for (;;) (void)!::fork();
    return 0;
  });
  const auto hits = [&] { return read_stats(cgroup->fd())->pids->max_events; };
  const auto patience = Clock::now() + 20s;
  while (hits() == 0 && Clock::now() < patience) burn(10ms);
  ASSERT_GT(hits(), 0u) << "the bomb did not reach its limit";
  const auto begin = Clock::now();
  const Status removed = cgroup->remove();
  const auto took = Clock::now() - begin;
  EXPECT_TRUE(removed) << to_string(removed.error());
  EXPECT_LT(took, 2s);
  RecordProperty("removal_ms", static_cast<int>(took / 1ms));
  std::printf("             removed 500 forking processes in %d ms\n",
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
