#include "runtime/rdt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A directory that looks like resctrl. Of a real one the files come with the directory.
class Rdt : public testing::Test {
 protected:
  Rdt() {
    std::string name = (std::filesystem::temp_directory_path() / "minirun-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    std::filesystem::create_directories(root_ / "shared");
    std::ofstream(root_ / "shared/schemata") << "    L3:0=7f0;1=01f\n    MB:0= 20;1=70\n";
    std::ofstream(root_ / "shared/tasks");
  }
  ~Rdt() override { std::filesystem::remove_all(root_); }

  RdtPlan plan(const IntelRdt& rdt) {
    findings_.clear();
    return plan_rdt(rdt, "web", read_rdt_facts(root_.string(), rdt, "web"), findings_);
  }
  static std::string content(const std::filesystem::path& path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }

  std::filesystem::path root_;
  Findings findings_;
};

TEST_F(Rdt, NeedsAMount) {
  Findings findings;
  (void)plan_rdt(IntelRdt{}, "web", RdtFacts{}, findings);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].message, HasSubstr("no resctrl file system"));
  EXPECT_EQ(find_resctrl("22 1 0:5 / /proc rw - proc proc rw\n"
                         "30 1 0:9 / /sys/fs/resctrl rw,nosuid shared:3 - resctrl resctrl rw\n"),
            "/sys/fs/resctrl");
  EXPECT_EQ(find_resctrl("22 1 0:5 / /resctrl rw - tmpfs resctrl rw\n"), "");
}

TEST_F(Rdt, TheIdIsTheGroupAndBothSchemasAreOne) {
  const RdtPlan made = plan({.clos_id = "",
                             .schemata = {"L2:0=f"},
                             .l3_cache_schema = "L3:0=f\nMB:0=99",
                             .mem_bw_schema = "MB:0=20",
                             .enable_monitoring = true});
  EXPECT_TRUE(findings_.empty());
  EXPECT_EQ(made.group, (root_ / "web").string());
  EXPECT_TRUE(made.make_group);
  EXPECT_THAT(made.schemata, ElementsAre("L3:0=f", "MB:0=20", "L2:0=f"));
  EXPECT_THAT(groups_made(made),
              ElementsAre((root_ / "web").string(), (root_ / "web/mon_groups/web").string()));
}

TEST_F(Rdt, AGroupThatIsThereMustMatch) {
  EXPECT_EQ(plan({.clos_id = "shared",
                  .schemata = {},
                  .l3_cache_schema = "L3:0=07F0;1=1f",
                  .mem_bw_schema = "MB:1=70",
                  .enable_monitoring = false}),
            (RdtPlan{(root_ / "shared").string(), false, "", {}}));
  EXPECT_TRUE(findings_.empty());
  (void)plan({.clos_id = "shared",
              .schemata = {},
              .l3_cache_schema = "L3:0=1",
              .mem_bw_schema = "MB:2=5",
              .enable_monitoring = false});
  ASSERT_EQ(findings_.size(), 2U);
  EXPECT_EQ(findings_[0].pointer, "/linux/intelRdt/l3CacheSchema");
  EXPECT_EQ(findings_[1].pointer, "/linux/intelRdt/memBwSchema");
}

TEST_F(Rdt, AnIdWithoutSchemaMustExist) {
  (void)plan({.clos_id = "nobody",
              .schemata = {},
              .l3_cache_schema = "",
              .mem_bw_schema = "",
              .enable_monitoring = false});
  ASSERT_EQ(findings_.size(), 1U);
  EXPECT_EQ(findings_[0].pointer, "/linux/intelRdt/closID");
  EXPECT_EQ(plan({.clos_id = "shared",
                  .schemata = {},
                  .l3_cache_schema = "",
                  .mem_bw_schema = "",
                  .enable_monitoring = false})
                .make_group,
            false);
  EXPECT_EQ(plan({.clos_id = "/",
                  .schemata = {},
                  .l3_cache_schema = "",
                  .mem_bw_schema = "",
                  .enable_monitoring = false})
                .group,
            root_.string());
  EXPECT_TRUE(findings_.empty());
}

TEST_F(Rdt, WritesAndRemovesOnlyWhatItMade) {
  {
    const Result<RdtGroup> group =
        RdtGroup::create({(root_ / "shared").string(), false, "", {"L3:0=1"}});
    ASSERT_TRUE(group);
    EXPECT_TRUE(group->add(42));
  }
  EXPECT_TRUE(content(root_ / "shared/schemata").starts_with("L3:0=1\n"));
  EXPECT_TRUE(content(root_ / "shared/tasks").starts_with("42"));
  // A new directory of this tree has no schemata file: the failure takes it away again.
  const Result<RdtGroup> made = RdtGroup::create({(root_ / "new").string(), true, "", {"L3:0=1"}});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().object, "linux.intelRdt");
  EXPECT_FALSE(std::filesystem::exists(root_ / "new"));
  {
    Result<RdtGroup> kept = RdtGroup::create({(root_ / "kept").string(), true, "", {}});
    ASSERT_TRUE(kept);
    kept->keep();
  }
  EXPECT_TRUE(std::filesystem::exists(root_ / "kept"));
  EXPECT_TRUE(remove_rdt({(root_ / "kept").string()}));
  EXPECT_TRUE(remove_rdt({(root_ / "kept").string()}));
  EXPECT_FALSE(std::filesystem::exists(root_ / "kept"));
}

}  // namespace
}  // namespace minirun
