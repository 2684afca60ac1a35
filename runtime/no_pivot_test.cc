#include "runtime/no_pivot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(HostMounts, AreThoseOnTheRootTopmostFirst) {
  const HostMounts mounts = host_mounts(
      "1 0 0:2 / / rw - rootfs rootfs rw\n"
      "20 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n"
      "21 20 0:21 / /proc/fs/nfsd rw - nfsd nfsd rw\n"
      "22 1 0:22 / /sys rw - sysfs sysfs rw\n"
      "23 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
      "24 1 8:1 / /mnt/my\\040disk rw master:1 - ext4 /dev/sda1 rw\n"
      "25 24 8:2 / /mnt/my\\040disk rw - ext4 /dev/sda2 rw\n"
      "26 24 0:20 / /mnt/my\\040disk/proc rw - proc proc rw\n");
  EXPECT_THAT(mounts.on_root, ElementsAre("/mnt/my disk", "/mnt/my disk", "/sys", "/proc"));
  EXPECT_THAT(mounts.kernel, ElementsAre("/mnt/my disk/proc", "/sys", "/proc"));
}

TEST(HostMounts, OfAStackedRootAndOfRubbish) {
  const HostMounts mounts = host_mounts(
      "1 0 0:2 / / rw - rootfs rootfs rw\n"
      "2 1 0:3 / / rw - tmpfs tmpfs rw\n"
      "3 2 0:4 / /dev rw - devtmpfs devtmpfs rw\n"
      "not a line\n5 3 0:5 / /dev/pts rw -\n");
  EXPECT_THAT(mounts.on_root, ElementsAre("/dev"));
  EXPECT_THAT(mounts.kernel, IsEmpty());
}

}  // namespace
}  // namespace minirun
