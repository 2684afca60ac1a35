// Directories, processes and device filters: needs root and a cgroup2 mount, no controller.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "cgroups/root_fixture.h"

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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
  deepest = CgroupFd(at.release());
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
  if (other == 0) ::_exit(hammer("minirun/x"));
  EXPECT_EQ(hammer("minirun/y"), 0);
  EXPECT_EQ(exit_code(other), 0);
  EXPECT_FALSE(exists(top_ + "/minirun")) << "the last one to leave is not the one that made it";
  (void)remove_cgroup(host_.cgroup, top_);  // as for this, it need not be removed at all
}

TEST_F(CgroupRoot, SubCgroupsStayBelow) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  ASSERT_EQ(::mkdirat(cgroup->fd().get(), "sub", 0755), 0);
  EXPECT_TRUE(open_sub_cgroup(cgroup->fd(), "/sub"));
  EXPECT_TRUE(open_sub_cgroup(cgroup->fd(), "/"));
  for (const char* path : {"..", "/..", "/../..", "../c", "sub/../sub", "sub/../.."})
    EXPECT_EQ(open_sub_cgroup(cgroup->fd(), path).error().errnum, EXDEV) << path;
  EXPECT_EQ(open_sub_cgroup(cgroup->fd(), "other").error().errnum, ENOENT);
  EXPECT_EQ(open_sub_cgroup(cgroup->fd(), "cgroup.procs").error().errnum, ENOTDIR);
}

TEST_F(CgroupRoot, DelegationGivesAwayNoLimit) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  ASSERT_TRUE(delegate_cgroup(cgroup->fd(), 4711, 4712));
  const auto owner = [&](const char* file) {
    struct stat info{};
    EXPECT_EQ(::fstatat(cgroup->fd().get(), file, &info, 0), 0) << file;
    return info.st_uid;
  };
  EXPECT_EQ(owner("."), 4711u);
  EXPECT_EQ(owner("cgroup.procs"), 4711u);
  EXPECT_EQ(owner("cgroup.subtree_control"), 4711u);
  EXPECT_EQ(owner("cgroup.max.descendants"), 0u);
  EXPECT_EQ(owner("cgroup.kill"), 0u);
  EXPECT_EQ(owner("cgroup.freeze"), 0u);
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
  ASSERT_TRUE(cgroup) << to_string(cgroup.error());
  std::vector<DeviceRule> rules;
  rules.reserve(1000);
  for (unsigned i = 0; i < 1000; ++i)
    rules.push_back({i % 3 != 0, i % 2 ? DeviceRule::Type::block : DeviceRule::Type::all, i, i * 7,
                     i % 5 != 0, i % 7 != 0, i % 2 == 0});
  const Status attached = attach_device_filter(cgroup->fd(), rules);
  if (!attached && attached.error().errnum == EPERM) GTEST_SKIP() << to_string(attached.error());
  EXPECT_TRUE(attached) << to_string(attached.error());
  // Nor does it find anything that cannot be reached.
  unsigned random = 1;
  const auto pick = [&random](unsigned below) {
    return ((random = random * 1103515245 + 12345) >> 16) % below;
  };
  for (int round = 0; round < 300; ++round) {
    rules.resize(pick(7));
    for (DeviceRule& rule : rules) {
      constexpr DeviceRule::Type kTypes[] = {DeviceRule::Type::all, DeviceRule::Type::character,
                                             DeviceRule::Type::block};
      rule = {pick(2) == 0, kTypes[pick(3)], {}, {}, pick(4) > 0, pick(4) > 0, pick(4) > 0};
      if (pick(2) == 0) rule.major = pick(3);
      if (pick(2) == 0) rule.minor = pick(3);
    }
    const Status replaced = replace_device_filter(cgroup->fd(), rules);
    ASSERT_TRUE(replaced) << round << ": " << to_string(replaced.error());
  }
}

TEST_F(CgroupRoot, StatsWithoutControllers) {
  auto cgroup = Cgroup::create(plan(), host_.cgroup);
  ASSERT_TRUE(cgroup);
  EXPECT_EQ(exit_code(spawn(cgroup->fd(),
                            [] {
                              // Time on the CPU: on a busy machine 20 ms of the wall may hold
                              // little of it.
                              while (std::clock() < CLOCKS_PER_SEC / 50) burn(1ms);
                              return 0;
                            })),
            0);
  const auto stats = read_stats(cgroup->fd());
  ASSERT_TRUE(stats) << to_string(stats.error());
  EXPECT_GE(stats->cpu.usage_usec, 5000u);
}

}  // namespace
}  // namespace minirun
