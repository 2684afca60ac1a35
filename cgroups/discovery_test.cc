#include "cgroups/discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kHybridMounts =
    "23 1 0:21 / / rw - ext4 /dev/root rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr std::string_view kHybridSelf =
    "9:name=systemd:/\n4:memory:/job/7\n1:cpu,cpuacct:/\n0::/user.slice/a b\n";

TEST(CgroupDiscovery, FindsCgroup2BesideV1) {
  const auto mounts = parse_mountinfo(kHybridMounts);
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_FALSE(mounts[0].v2);
  EXPECT_EQ(mounts[2],
            (CgroupMount{true, true, "/", "/sys/fs/cgroup/unified", {"rw", "nsdelegate"}}));
}

TEST(CgroupDiscovery, ReadsMembership) {
  const auto self = parse_proc_cgroup(kHybridSelf);
  ASSERT_EQ(self.size(), 4u);
  EXPECT_EQ(self[2], (CgroupMembership{1, {"cpu", "cpuacct"}, "/"}));
  EXPECT_EQ(self[3], (CgroupMembership{0, {}, "/user.slice/a b"}));
}

TEST(CgroupDiscovery, NamesTheV1HolderEvenWithoutAMount) {
  const auto v1 = bound_to_v1(parse_proc_cgroup(kHybridSelf), parse_mountinfo(kHybridMounts));
  EXPECT_THAT(v1, ElementsAre(CgroupV1Mount{"", {"memory"}},
                              CgroupV1Mount{"/sys/fs/cgroup/cpu,cpuacct", {"cpu", "cpuacct"}}));
}

// "cpuset" contains "cpu": tokens, not substrings.
TEST(CgroupDiscovery, ComparesControllerTokens) {
  const auto v1 = bound_to_v1(parse_proc_cgroup("1:cpu:/\n"),
                              parse_mountinfo("1 1 0:1 / /c rw - cgroup none rw,cpuset\n"));
  EXPECT_THAT(v1, ElementsAre(CgroupV1Mount{"", {"cpu"}}));
}

TEST(CgroupDiscovery, UnescapesAndSkipsMalformedLines) {
  const auto mounts = parse_mountinfo(
      "41 31 0:38 /a\\040b /mnt/x\\134y rw - cgroup2 none rw\n"
      "garbage - cgroup2\n"
      "41 31 0:38 / /not rw - cgroup2000 none rw\n");
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].root, "/a b");
  EXPECT_EQ(mounts[0].mount_point, "/mnt/x\\y");
}

TEST(CgroupDiscovery, PrefersWritableThenWhole) {
  const auto ranked =
      rank_cgroup2_mounts(parse_mountinfo("1 1 0:1 / /ro ro - cgroup2 none rw\n"
                                          "1 1 0:1 / /super-ro rw - cgroup2 none ro\n"
                                          "1 1 0:1 /sub /part rw - cgroup2 none rw\n"
                                          "1 1 0:1 / /whole rw - cgroup2 none rw\n"));
  std::vector<std::string> order;
  order.reserve(ranked.size());
  for (const CgroupMount& mount : ranked) order.push_back(mount.mount_point);
  EXPECT_THAT(order, ElementsAre("/whole", "/part", "/ro", "/super-ro"));
}

TEST(CgroupDiscovery, OwnPathBelowABindMountedSubtree) {
  EXPECT_EQ(path_below_mount("/a/b/c", "/"), "/a/b/c");
  EXPECT_EQ(path_below_mount("/a/b/c", "/a/b"), "/c");
  EXPECT_EQ(path_below_mount("/a/b", "/a/b"), "/");
  EXPECT_EQ(path_below_mount("/a/bc", "/a/b"), "");
  EXPECT_EQ(path_below_mount("/", "/.."), "");
  EXPECT_EQ(path_below_mount("/../x", "/"), "");
}

TEST(CgroupDiscovery, DeletedAndDisabled) {
  EXPECT_EQ(parse_proc_cgroup("0::/gone (deleted)\n")[0].path, "/gone");
  EXPECT_THAT(parse_disabled_controllers("#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
                                         "cpu\t0\t1\t1\nmemory\t0\t1\t0\n"),
              ElementsAre("memory"));
  EXPECT_THAT(parse_proc_cgroup("x::/\n1:2\n"), IsEmpty());
}

TEST(CgroupDiscovery, ThisHost) {
  const auto facts = discover_cgroups();
  ASSERT_TRUE(facts) << to_string(facts.error());
  if (facts->mount_point.empty()) GTEST_SKIP() << "no cgroup2 mount here";
  EXPECT_TRUE(facts->own_path.empty() || facts->own_path.front() == '/');
}

}  // namespace
}  // namespace minirun
