#include "spec/kubernetes/range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace minirun::kubernetes {
namespace {

using ::testing::HasSubstr;

TEST(Range, CpuIsSharesOfTheRequestAndQuotaOfTheLimit) {
  Resources resources;
  std::map<std::string, Origin> origins;
  ASSERT_TRUE(set_cpu_range("--cpu", "250m..500m", resources, origins));
  EXPECT_EQ(resources.cpu.shares, 256U);
  EXPECT_EQ(resources.cpu.quota_us, 50000);
  EXPECT_EQ(resources.cpu.period_us, 100000U);
  EXPECT_EQ(origins.at("cpu.quota").field, "--cpu");
  ASSERT_TRUE(set_cpu_range("--cpu", "2", resources, origins));
  EXPECT_EQ(resources.cpu.shares, 2048U);
  EXPECT_EQ(resources.cpu.quota_us, 200000);
  ASSERT_TRUE(set_cpu_range("--cpu", "100m..max", resources, origins));
  EXPECT_EQ(resources.cpu.quota_us, -1);
}

TEST(Range, MemoryIsTheLimit) {
  Resources resources;
  std::map<std::string, Origin> origins;
  ASSERT_TRUE(set_memory_range("--memory", "256Mi..512Mi", resources, origins));
  EXPECT_EQ(resources.memory.limit_bytes, std::int64_t{512} << 20);
  ASSERT_TRUE(set_memory_range("--memory", "1Gi..max", resources, origins));
  EXPECT_EQ(resources.memory.limit_bytes, -1);
}

TEST(Range, SaysWhatIsWrong) {
  const auto why = [](std::string_view text) {
    const auto range = parse_range(text);
    return range ? std::string() : to_string(range.error());
  };
  EXPECT_THAT(why("500m..250m"), HasSubstr("the request 500m is above the limit 250m"));
  EXPECT_THAT(why("0..1"), HasSubstr("not more than 0"));
  EXPECT_THAT(why("-1"), HasSubstr("not more than 0"));
  EXPECT_THAT(why("1..2..3"), HasSubstr("2..3"));
  EXPECT_THAT(why("64mb"), HasSubstr("64mb"));
  EXPECT_FALSE(why("..1").empty());
  EXPECT_FALSE(why("1..").empty());
  EXPECT_FALSE(why("").empty());
}

}  // namespace
}  // namespace minirun::kubernetes
