#include <gtest/gtest.h>
#include <linux/mount.h>

#include <cerrno>

#include "stage/step.h"

namespace minirun {
namespace {

using wire::Call;

TEST(Rules, MountAttributes) {
  Step step{.op = Op::set_attr, .n = {3, MOUNT_ATTR_IDMAP, 0, 0, 0, 4}};
  EXPECT_NE(failure_rule(step, Call::mount_setattr, EINVAL).find("cannot idmap"),
            std::string::npos);
  step.n[5] = -1;
  EXPECT_EQ(failure_rule(step, Call::mount_setattr, EINVAL), "");
  EXPECT_NE(failure_rule(step, Call::mount_setattr, EPERM).find("taken back"), std::string::npos);
}

TEST(Rules, NewMountsAndTargets) {
  const Step proc{.op = Op::make_mount, .s = {"proc", StringList{}}};
  EXPECT_NE(failure_rule(proc, Call::fsmount, EPERM).find("pid namespace"), std::string::npos);
  const Step unknown{.op = Op::make_mount, .s = {"nofs", StringList{}}};
  EXPECT_NE(failure_rule(unknown, Call::fsopen, ENODEV).find("\"nofs\""), std::string::npos);
  EXPECT_EQ(failure_rule(unknown, Call::fsconfig, EINVAL), "");  // the kernel's own words say it
  const Step attach{.op = Op::attach, .s = {"/x"}};
  EXPECT_NE(failure_rule(attach, Call::move_mount, ENOTDIR).find("a file only on a file"),
            std::string::npos);
}

TEST(Rules, LabelsNameTheLsm) {
  const Step apparmor{.op = Op::lsm_label, .s = {"self/attr/apparmor/exec", "exec p"}};
  EXPECT_NE(failure_rule(apparmor, Call::write, ENOENT).find("not loaded"), std::string::npos);
  const Step selinux{.op = Op::lsm_label, .s = {"self/attr/exec", "l"}};
  EXPECT_NE(failure_rule(selinux, Call::openat2, ENOENT).find("no SELinux"), std::string::npos);
}

TEST(Rules, WordsFollowTheCall) {
  const Steps steps{{.op = Op::attach, .s = {"/proc/x"}, .field = "mounts[2]"}};
  wire::Failure failure{0, static_cast<std::uint32_t>(Call::move_mount), ENOTDIR, 4, "here"};
  EXPECT_EQ(
      describe_failure(steps, failure).detail,
      "mount on /proc/x: move_mount (here): a directory can be mounted only on a directory, and "
      "a file only on a file");
}

}  // namespace
}  // namespace minirun
