#include "runtime/live.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

LiveReading reading(int milliseconds) {
  LiveReading one;
  one.id = "a";
  one.at = std::chrono::steady_clock::time_point(std::chrono::milliseconds(milliseconds));
  return one;
}

TEST(Live, RatesArePerSecondOfTheTimeBetweenTheReadings) {
  LiveReading before = reading(1000), after = reading(3000);
  before.stats.cpu.usage_usec = 100'000;
  after.stats.cpu.usage_usec = 1'100'000;
  before.stats.cpu.nr_periods = 10;
  before.stats.cpu.nr_throttled = 1;
  before.stats.cpu.throttled_usec = 0;
  after.stats.cpu.nr_periods = 30;
  after.stats.cpu.nr_throttled = 6;
  after.stats.cpu.throttled_usec = 500'000;
  after.cpus_allowed = 0.5;
  after.stats.io = {{"8:0", {.wbytes = 2000}}, {"8:16", {.wbytes = 2000}}};
  const LiveUsage usage = usage_between(before, after);
  EXPECT_DOUBLE_EQ(usage.cpus, 0.5);
  EXPECT_DOUBLE_EQ(usage.throttled_share, 0.25);
  EXPECT_DOUBLE_EQ(usage.throttled_seconds, 0.25);
  EXPECT_DOUBLE_EQ(usage.written_bytes, 2000);
  EXPECT_EQ(usage.cpus_allowed, 0.5);
  EXPECT_FALSE(usage.memory);
}

TEST(Live, TheWorkingSetIsUsageWithoutInactiveFilePages) {
  LiveReading before = reading(0), after = reading(1000);
  after.stats.memory = MemoryStats{};
  after.stats.memory->current = 100;
  after.stats.memory->stat["inactive_file"] = 30;
  after.stats.memory->events["oom_kill"] = 2;
  EXPECT_EQ(usage_between(before, after).working_set, 70U);
  EXPECT_EQ(usage_between(before, after).oom_kills, 2U);
  after.stats.memory->stat["inactive_file"] = 130;
  EXPECT_EQ(usage_between(before, after).working_set, 0U);
}

TEST(Live, ARestartedContainerCountsFromZero) {
  LiveReading before = reading(0), after = reading(1000);
  before.stats.cpu.usage_usec = 9'000'000;
  after.stats.cpu.usage_usec = 250'000;
  before.stats.cpu_pressure = Pressure{.some_usec = 5'000'000, .full_usec = {}};
  after.stats.cpu_pressure = Pressure{.some_usec = 100'000, .full_usec = {}};
  EXPECT_DOUBLE_EQ(usage_between(before, after).cpus, 0.25);
  EXPECT_DOUBLE_EQ(*usage_between(before, after).cpu_pressure, 0.1);
}

}  // namespace
}  // namespace minirun
