#include "runtime/delegate.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

ContainerSpec writable() {
  ContainerSpec spec;
  spec.process.emplace().user.uid = 7;
  spec.namespaces = {{NamespaceType::cgroup, ""}};
  Mount mount;
  mount.destination = "/sys/fs/cgroup";
  mount.type = "cgroup";
  spec.mounts = {mount};
  return spec;
}

TEST(Delegate, OnlyToWhoseNamespaceAndMountAreItsOwn) {
  ContainerSpec spec = writable();
  EXPECT_EQ(cgroup_owner(spec), 7U);
  spec.namespaces.push_back({NamespaceType::user, ""});
  EXPECT_EQ(cgroup_owner(spec), std::nullopt);  // not mapped
  spec.uid_mappings = {{0, 100000, 7}, {7, 5000, 1}};
  EXPECT_EQ(cgroup_owner(spec), 5000U);
  spec.mounts[0].options.attr_set = 1;  // ro
  EXPECT_EQ(cgroup_owner(spec), std::nullopt);
  spec = writable();
  spec.namespaces[0].path = "/proc/1/ns/cgroup";
  EXPECT_EQ(cgroup_owner(spec), std::nullopt);
  spec = writable();
  spec.mounts.clear();
  EXPECT_EQ(cgroup_owner(spec), std::nullopt);
}

}  // namespace
}  // namespace minirun
