#include "rootfs/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mount.h>

#include <algorithm>

namespace minirun {
namespace {

using testing::HasSubstr;

constexpr std::int64_t recursive = 0x8000;  // AT_RECURSIVE

ContainerSpec with_mounts(std::vector<Mount> mounts) {
  ContainerSpec spec;
  spec.root.path = "/root";
  spec.mounts = std::move(mounts);
  spec.namespaces = {{NamespaceType::mount, ""}, {NamespaceType::network, ""}};
  return spec;
}

Mount bind(const std::string& destination) {
  Mount mount;
  mount.destination = destination;
  mount.source = "/src";
  mount.options.recursive_bind = true;
  mount.field = "mounts" + destination;
  return mount;
}

RootfsPlan plan_of(const ContainerSpec& spec, const HostFacts& facts = {}) {
  Slots slots;
  return plan_rootfs(spec, facts, {}, slots);
}

std::vector<Step> of(const Steps& steps, Op op, const std::string& field) {
  std::vector<Step> found;
  std::ranges::copy_if(steps, std::back_inserter(found), [&](const Step& step) {
    return step.op == op && (field.empty() || step.field == field);
  });
  return found;
}

TEST(RootfsPlan, MountsWithTheSameMappingsShareAUserNamespace) {
  Mount one = bind("/one"), two = bind("/two"), other = bind("/other");
  one.options.idmap = two.options.recursive_idmap = true;
  one.uid_mappings = one.gid_mappings = two.uid_mappings = two.gid_mappings = {{0, 1000, 10}};
  other.uid_mappings = other.gid_mappings = {{0, 2000, 10}};  // says idmap by itself
  const RootfsPlan plan = plan_of(with_mounts({one, two, other}));
  EXPECT_TRUE(plan.findings.empty());
  const auto made = of(plan.parent, Op::user_namespace, "");
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[0].text(0), "0 1000 10\n");
  auto idmap_of = [&plan](const std::string& field) {
    for (const Step& step : of(plan.parent, Op::set_attr, field))
      if (step.n[1] == MOUNT_ATTR_IDMAP) return step;
    return Step{.op = Op::fail};
  };
  EXPECT_EQ(idmap_of("mounts/one").n[5], made[0].n[0]);
  EXPECT_EQ(idmap_of("mounts/one").n[4], 0);
  EXPECT_EQ(idmap_of("mounts/two").n[5], made[0].n[0]);
  EXPECT_EQ(idmap_of("mounts/two").n[4], recursive);
  EXPECT_EQ(idmap_of("mounts/other").n[5], made[1].n[0]);
}

TEST(RootfsPlan, IdmapTakesTheContainersMappingsOrItsNamespace) {
  Mount mount = bind("/data");
  mount.options.idmap = true;
  ContainerSpec spec = with_mounts({mount});
  spec.namespaces.push_back({NamespaceType::user, ""});
  spec.uid_mappings = {{0, 100000, 65536}};
  spec.gid_mappings = {{0, 200000, 65536}};
  const auto made = of(plan_of(spec).parent, Op::user_namespace, "mounts/data");
  ASSERT_EQ(made.size(), 1U);
  EXPECT_EQ(made[0].text(1), "0 200000 65536\n");
  spec.namespaces.back().path = "/proc/7/ns/user";
  spec.uid_mappings.clear();
  spec.gid_mappings.clear();
  const RootfsPlan joined = plan_of(spec);
  EXPECT_TRUE(of(joined.parent, Op::user_namespace, "").empty());
  const auto opened = of(joined.parent, Op::open_file, "mounts/data");
  ASSERT_EQ(opened.size(), 1U);
  EXPECT_EQ(opened[0].text(0), "/proc/7/ns/user");
}

TEST(RootfsPlan, ANewMountIsIdmappedBeforeItIsAttached) {
  Mount mount;
  mount.destination = "/new";
  mount.type = "tmpfs";
  mount.field = "mounts/new";
  mount.options.idmap = true;
  mount.uid_mappings = mount.gid_mappings = {{0, 1000, 10}};
  const RootfsPlan plan = plan_of(with_mounts({mount}));
  std::vector<Op> order;
  for (const Step& step : plan.build)
    if (step.field == "mounts/new") order.push_back(step.op);
  EXPECT_EQ(order, (std::vector{Op::make_mount, Op::set_attr, Op::attach}));
  mount.options.remount = true;
  EXPECT_EQ(plan_of(with_mounts({mount})).findings.size(), 1U);
}

TEST(RootfsPlan, AttributesOfABindAreTheParentsWork) {
  Mount mount = bind("/data");
  mount.options.rec_attr_set = MOUNT_ATTR_RDONLY;
  mount.options.attr_clear = MOUNT_ATTR_NOSUID;
  const RootfsPlan plan = plan_of(with_mounts({mount}));
  EXPECT_TRUE(of(plan.build, Op::set_attr, "mounts/data").empty());
  const auto set = of(plan.parent, Op::set_attr, "mounts/data");
  ASSERT_EQ(set.size(), 3U);  // slave, this mount, the tree
  EXPECT_EQ(set[1].n[2], MOUNT_ATTR_NOSUID);
  EXPECT_EQ(set[2].n[1], MOUNT_ATTR_RDONLY);
  EXPECT_EQ(set[2].n[4], recursive);
}

TEST(RootfsPlan, LayersInAUserNamespaceAreIdmappedWhereTheyCanBe) {
  ContainerSpec spec = with_mounts({});
  spec.root.kind = Root::Kind::overlay;
  spec.root.lower = {"/good", "/bad"};
  spec.namespaces.push_back({NamespaceType::user, ""});
  spec.uid_mappings = spec.gid_mappings = {{0, 100000, 65536}};
  HostFacts facts;
  facts.idmappable = {"/good"};
  const RootfsPlan plan = plan_of(spec, facts);
  const auto set = of(plan.parent, Op::set_attr, "root");
  EXPECT_EQ(std::ranges::count_if(set, [](const Step& s) { return s.n[1] == MOUNT_ATTR_IDMAP; }),
            1);
  ASSERT_EQ(plan.findings.size(), 1U);
  EXPECT_EQ(plan.findings[0].level, Finding::Level::warning);
  EXPECT_THAT(plan.findings[0].message, HasSubstr("/bad cannot be idmapped"));
}

Mount fresh(const std::string& destination, const std::string& type) {
  Mount mount;
  mount.destination = destination;
  mount.type = type;
  mount.field = "mounts" + destination;
  return mount;
}

TEST(RootfsPlan, AMountInANewTmpfsTakesTheShortWay) {
  Mount pts = fresh("/dev/pts", "devpts");
  pts.options.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  const RootfsPlan plan = plan_of(with_mounts({fresh("/dev", "tmpfs"), pts}));
  const auto inside = of(plan.build, Op::make_mount, "mounts/dev/pts");
  ASSERT_EQ(inside.size(), 1U);
  EXPECT_EQ(inside[0].text(2), "/dev/pts");
  EXPECT_EQ(inside[0].n[4], 0x2 | 0x8);
  EXPECT_EQ(inside[0].n[5], of(plan.build, Op::make_mount, "mounts/dev")[0].n[0]);
}

// mount(2) takes a path and one string: only where nobody else had a hand in the tmpfs, and where
// the string says what was meant.
TEST(RootfsPlan, WhatIsNotSurelyOursIsWalked) {
  auto short_ways = [](std::vector<Mount> mounts) {
    const Steps steps = plan_of(with_mounts(std::move(mounts))).build;
    return std::ranges::count_if(
        steps, [](const Step& step) { return step.op == Op::make_mount && step.n[5] > 0; });
  };
  const Mount dev = fresh("/dev", "tmpfs"), pts = fresh("/dev/pts", "devpts");
  EXPECT_EQ(short_ways({dev, pts}), 1);
  EXPECT_EQ(short_ways({pts}), 0) << "in the image";
  EXPECT_EQ(short_ways({dev, bind("/dev"), pts}), 0) << "in a part of the host";
  EXPECT_EQ(short_ways({dev, fresh("/dev/a/pts", "devpts")}), 0) << "not directly in it";
  EXPECT_EQ(short_ways({dev, fresh("/dev/../dev/pts", "devpts")}), 0) << "by another path";
  EXPECT_EQ(short_ways({dev, fresh("/dev/x", "ext4")}), 0) << "a path of a device";
  Mount copied = dev, read_only = pts, comma = pts;
  copied.options.tmpcopyup = true;
  EXPECT_EQ(short_ways({copied, pts}), 0) << "with the image's content";
  read_only.options.attr_set = MOUNT_ATTR_RDONLY;
  EXPECT_EQ(short_ways({dev, read_only}), 0) << "mount(2) would make the file system read-only";
  comma.options.data = {"mode=0620,uid=5"};
  EXPECT_EQ(short_ways({dev, comma}), 0);
}

TEST(RootfsPlan, ACgroupMountInSysfsNeedsNoWalk) {
  Mount cgroup = fresh("/sys/fs/cgroup", "cgroup2");
  cgroup.options.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  ContainerSpec spec = with_mounts({fresh("/sys", "sysfs"), cgroup});
  spec.namespaces.push_back({NamespaceType::cgroup, ""});
  const RootfsPlan plan = plan_of(spec);
  const auto inside = of(plan.build, Op::make_mount, "mounts/sys/fs/cgroup");
  ASSERT_EQ(inside.size(), 1U);
  EXPECT_EQ(inside[0].n[5], -of(plan.build, Op::make_mount, "mounts/sys")[0].n[0]);
  EXPECT_EQ(inside[0].n[4], 0x1 | 0x2);
  EXPECT_EQ(inside[0].text(3), "fs/cgroup");
  EXPECT_TRUE(of(plan.build, Op::attach, "mounts/sys/fs/cgroup").empty());
}

TEST(RootfsPlan, ReadOnlyComesLast) {
  Mount run = fresh("/run", "tmpfs"), again;
  run.options.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  ContainerSpec spec = with_mounts({run, bind("/run/secret")});
  spec.root.readonly = true;
  const RootfsPlan plan = plan_of(spec);
  EXPECT_EQ(of(plan.build, Op::make_mount, "mounts/run")[0].n[1], MOUNT_ATTR_NOSUID);
  ASSERT_EQ(plan.seal.size(), 2U);
  EXPECT_EQ(plan.seal[0].n[0], of(plan.build, Op::make_mount, "mounts/run")[0].n[0]);
  EXPECT_EQ(plan.seal[1].n[0], number(plan.root));

  again.destination = "/run/";
  again.options.remount = true;
  again.options.attr_clear = MOUNT_ATTR_RDONLY;
  EXPECT_TRUE(plan_of(with_mounts({run, again})).seal.empty()) << "the last word";
  Mount shared = bind("/other");
  shared.options.propagation = {MS_SHARED};
  const RootfsPlan at_once = plan_of(with_mounts({run, shared}));
  EXPECT_TRUE(at_once.seal.empty()) << "a copy in a peer would stay writable";
  EXPECT_EQ(of(at_once.build, Op::make_mount, "mounts/run")[0].n[1],
            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
}

TEST(RootfsPlan, LabelsGoToFileSystemsThatTakeThem) {
  Mount tmpfs, proc;
  tmpfs.destination = "/t";
  tmpfs.type = "tmpfs";
  proc.destination = "/proc";
  proc.type = "proc";
  ContainerSpec spec = with_mounts({proc, tmpfs});
  spec.mount_label = "u:r:t";
  EXPECT_EQ(plan_of(spec).findings.size(), 1U);  // no SELinux
  HostFacts facts;
  facts.selinux = true;
  const RootfsPlan plan = plan_of(spec, facts);
  EXPECT_TRUE(plan.findings.empty());
  const auto made = of(plan.build, Op::make_mount, "");
  ASSERT_EQ(made.size(), 2U);
  EXPECT_TRUE(made[0].list(1).empty());
  EXPECT_EQ(made[1].list(1), (StringList{"context", "u:r:t"}));
}

TEST(RootfsPlan, SysfsOfAJoinedNetworkHasTheHostsInReserve) {
  Mount sysfs;
  sysfs.destination = "/sys";
  sysfs.type = "sysfs";
  ContainerSpec spec = with_mounts({sysfs});
  EXPECT_EQ(of(plan_of(spec).build, Op::make_mount, "")[0].n[2], 0);
  spec.namespaces.push_back({NamespaceType::user, ""});
  EXPECT_EQ(of(plan_of(spec).build, Op::make_mount, "")[0].n[2], 0);
  spec.namespaces[1].path = "/run/netns/x";
  EXPECT_GT(of(plan_of(spec).build, Op::make_mount, "")[0].n[2], 0);
}

}  // namespace
}  // namespace minirun
