#include "spec/mount_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

MountOptions made_of(std::initializer_list<const char*> words) {
  MountOptions options;
  for (const char* word : words) apply_mount_option(word, options);
  finish_mount_options(options);
  return options;
}

TEST(MountOptions, AttributesAndTheirOpposites) {
  MountOptions options = made_of({"ro", "nosuid", "nodev", "noexec", "nosymfollow"});
  EXPECT_EQ(options.attr_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                  MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW);
  EXPECT_EQ(options.attr_clear, 0U);
  options = made_of({"ro", "rw", "suid"});
  EXPECT_EQ(options.attr_set, 0U);
  EXPECT_EQ(options.attr_clear, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
}

TEST(MountOptions, AccessTimeIsAField) {
  MountOptions options = made_of({"strictatime"});
  EXPECT_EQ(options.attr_set, std::uint64_t{MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(options.attr_clear, std::uint64_t{MOUNT_ATTR__ATIME});
  EXPECT_EQ(made_of({"noatime", "strictatime"}).attr_set, std::uint64_t{MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(made_of({"noatime", "atime"}).attr_set, 0U);
  EXPECT_EQ(made_of({"strictatime", "atime"}).attr_set, std::uint64_t{MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(made_of({"strictatime", "nostrictatime"}).attr_set, 0U);
  EXPECT_EQ(made_of({"rnoatime"}).rec_attr_clear, std::uint64_t{MOUNT_ATTR__ATIME});
}

TEST(MountOptions, RecursivePropagationAndKinds) {
  const MountOptions options = made_of({"rbind", "rro", "rslave", "private", "idmap", "tmpcopyup"});
  EXPECT_TRUE(options.recursive_bind && options.idmap && options.tmpcopyup && !options.bind);
  EXPECT_EQ(options.rec_attr_set, std::uint64_t{MOUNT_ATTR_RDONLY});
  EXPECT_EQ(options.attr_set, 0U);
  EXPECT_THAT(options.propagation,
              ElementsAre(std::uint64_t{MS_SLAVE | MS_REC}, std::uint64_t{MS_PRIVATE}));
}

TEST(MountOptions, TheRestIsForTheFileSystem) {
  EXPECT_THAT(made_of({"size=64k", "sync", "defaults", "mand", "mode=755"}).data,
              ElementsAre("size=64k", "sync", "mode=755"));
  EXPECT_THAT(made_of({"sync", "bind"}).data, IsEmpty());
  EXPECT_THAT(made_of({"size=1", "bind"}).data, ElementsAre("size=1"));
}

}  // namespace
}  // namespace minirun
