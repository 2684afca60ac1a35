#include "spec/kubernetes/cpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "spec/kubernetes/vectors_test.h"

namespace minirun {
namespace {

using nlohmann::json;

TEST(Cpu, ShareVectors) {
  ASSERT_GE(vectors().at("cpuShares").size(), 23U);
  for (const json& row : vectors().at("cpuShares")) {
    SCOPED_TRACE(row.dump());
    const std::uint64_t shares = milli_cpu_to_shares(row.at("milliCPU").get<std::int64_t>());
    EXPECT_EQ(shares, row.at("shares").get<std::uint64_t>());
    EXPECT_EQ(shares_to_weight(shares, WeightFormula::linear),
              row.at("weightLinear").get<std::uint64_t>());
    EXPECT_EQ(shares_to_weight(shares, WeightFormula::quadratic),
              row.at("weightQuadratic").get<std::uint64_t>());
  }
}

TEST(Cpu, QuotaVectors) {
  ASSERT_GE(vectors().at("cpuQuota").size(), 10U);
  for (const json& row : vectors().at("cpuQuota")) {
    SCOPED_TRACE(row.dump());
    const auto period = row.at("periodUs").get<std::uint64_t>();
    const std::int64_t quota =
        milli_cpu_to_quota_us(row.at("milliCPU").get<std::int64_t>(), period);
    EXPECT_EQ(quota, row.at("quotaUs").get<std::int64_t>());
    EXPECT_EQ(systemd_rounded_quota_us(quota, period),
              row.at("systemdQuotaUs").get<std::int64_t>());
    const json& per_second = row.at("systemdCPUQuotaPerSecUSec");
    const auto mine = systemd_quota_per_sec_us(quota, period);
    ASSERT_EQ(mine.has_value(), !per_second.is_null());
    if (mine) {
      EXPECT_EQ(*mine, per_second.get<std::uint64_t>());
    }
  }
}

TEST(Cpu, QuadraticWeightAgreesWithLongDoubleForEveryShareValue) {
  for (std::uint64_t shares = 3; shares < 262144; ++shares) {
    const long double log = std::log2(static_cast<long double>(shares));
    const long double exponent = (log * log + 125.0L * log) / 612.0L - 7.0L / 34.0L;
    // 1024 gives exactly 100; there long double lands 1e-17 above it. One part in 10^15 is far
    // below the distance of any other share value from an integer.
    const long double exact = std::pow(10.0L, exponent) * (1.0L - 1e-15L);
    ASSERT_EQ(shares_to_weight(shares, WeightFormula::quadratic),
              static_cast<std::uint64_t>(std::ceil(exact)))
        << shares;
  }
  EXPECT_EQ(shares_to_weight(2, WeightFormula::quadratic), 1U);
  EXPECT_EQ(shares_to_weight(1024, WeightFormula::quadratic), 100U);
  EXPECT_EQ(shares_to_weight(262144, WeightFormula::quadratic), 10000U);
}

TEST(Cpu, EndsOfTheRange) {
  for (const WeightFormula formula : {WeightFormula::linear, WeightFormula::quadratic}) {
    EXPECT_EQ(shares_to_weight(0, formula), 0U);
    EXPECT_EQ(shares_to_weight(1, formula), 1U);
    EXPECT_EQ(shares_to_weight(std::numeric_limits<std::uint64_t>::max(), formula), 10000U);
    EXPECT_EQ(weight_to_shares(0, formula), 0U);
    EXPECT_EQ(weight_to_shares(1, formula), 2U);
    EXPECT_EQ(weight_to_shares(20000, formula), weight_to_shares(10000, formula));
  }
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(milli_cpu_to_shares(most), 262144U);
  EXPECT_EQ(milli_cpu_to_shares(-5), 2U);
  EXPECT_EQ(milli_cpu_to_quota_us(most, 1000000), most);
  EXPECT_EQ(milli_cpu_to_quota_us(-5), 0);
  EXPECT_EQ(systemd_rounded_quota_us(-1, 100000), -1);
  EXPECT_EQ(systemd_rounded_quota_us(123456, 100000), 124000);  // runc#4622
}

TEST(Cpu, Inverses) {
  EXPECT_EQ(shares_to_milli_cpu(1), 0);
  EXPECT_EQ(shares_to_milli_cpu(2), 2);
  EXPECT_EQ(shares_to_milli_cpu(1024), 1000);
  EXPECT_EQ(quota_us_to_milli_cpu(-1, 100000), 0);
  EXPECT_EQ(quota_us_to_milli_cpu(33300, 100000), 333);
  EXPECT_EQ(quota_us_to_milli_cpu(1000, 0), 0);
  for (std::int64_t milli = 3; milli <= 255999; ++milli)
    ASSERT_EQ(shares_to_milli_cpu(milli_cpu_to_shares(milli)), milli);
  for (std::uint64_t weight = 1; weight <= 10000; ++weight) {
    // Linear truncates both ways, so it may land one below; never above.
    const std::uint64_t linear =
        shares_to_weight(weight_to_shares(weight, WeightFormula::linear), WeightFormula::linear);
    ASSERT_TRUE(linear == weight || linear + 1 == weight) << weight;
    const std::uint64_t shares = weight_to_shares(weight, WeightFormula::quadratic);
    ASSERT_GE(shares_to_weight(shares, WeightFormula::quadratic), weight);
    if (shares > 2) {
      ASSERT_LT(shares_to_weight(shares - 1, WeightFormula::quadratic), weight);
    }
  }
}

}  // namespace
}  // namespace minirun
