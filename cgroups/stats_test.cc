#include "cgroups/stats.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

TEST(CgroupStatsText, CpuStat) {
  const CpuStats cpu = parse_cpu_stat(
      "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 8\nnr_throttled 7\n"
      "throttled_usec 600\nnr_bursts 1\nburst_usec 2\ncore_sched.force_idle_usec 0\n");
  EXPECT_EQ(cpu, (CpuStats{30, 20, 10, 8, 7, 600, 1, 2}));
  EXPECT_FALSE(parse_cpu_stat("usage_usec 3\n").nr_throttled) << "no cpu controller";
}

TEST(CgroupStatsText, IoStat) {
  const auto io =
      parse_io_stat("254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=9\n7:0\n");
  ASSERT_EQ(io.size(), 1u);
  EXPECT_EQ(io.at("254:0"), (IoStats{1, 2, 3, 4, 5, 6}));
}

TEST(CgroupStatsText, Pressure) {
  EXPECT_EQ(parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"
                           "full avg10=1.50 avg60=0.00 avg300=0.00 total=7\n"),
            (Pressure{12, 7, {}, {1.5, 0, 0}}));
  EXPECT_EQ(parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"),
            (Pressure{12, std::nullopt}));
  EXPECT_FALSE(parse_pressure(""));
}

TEST(CgroupStatsText, PeakSaysWhereItIsFrom) {
  MemoryStats memory;
  memory.current = 5;
  EXPECT_EQ(memory.highest().source, "memory.current");
  memory.peak = 9;
  EXPECT_EQ(memory.highest().source, "memory.peak");
  EXPECT_EQ(memory.highest().bytes, 9u);
}

LevelCounters level(std::string path, FlatKeys events, FlatKeys local, FlatKeys pids = {}) {
  return {std::move(path), std::move(events), std::move(local), std::move(pids), true, {}, {}};
}

TEST(CgroupVerdict, OwnLimit) {
  auto before = std::vector{level("/p/c", {{"oom_kill", 1}, {"oom", 1}}, {{"oom", 1}, {"max", 3}}),
                            level("/p", {{"oom", 9}}, {})};
  auto after = std::vector{level("/p/c", {{"oom_kill", 2}, {"oom", 2}}, {{"oom", 2}, {"max", 10}}),
                           level("/p", {{"oom", 10}}, {})};
  after[0].memory_max = 4096;
  const LimitVerdict verdict = judge_limits(before, after);
  EXPECT_EQ(verdict.oom, OomCause::own_limit);
  EXPECT_EQ(verdict.oom_kills, 1u);
  EXPECT_EQ(verdict.memory_max_hits, 7u);
  EXPECT_EQ(describe(verdict), "killed 1 process: out of memory at memory.max of /p/c, 4096 bytes");
}

TEST(CgroupVerdict, AncestorBelowAndHost) {
  const auto after_own = level("/p/c", {{"oom_kill", 2}, {"oom_group_kill", 1}}, {});
  EXPECT_EQ(describe(judge_limits({}, {after_own, level("/p", {}, {{"oom", 1}})})),
            "killed 2 processes as a group (memory.oom.group): out of memory at memory.max of /p, "
            "above the container");
  EXPECT_EQ(judge_limits({}, {after_own, level("/p", {}, {})}).oom, OomCause::host);
  const auto nested = level("/p/c", {{"oom_kill", 1}, {"oom", 1}}, {});
  EXPECT_EQ(judge_limits({}, {nested, level("/p", {}, {})}).oom, OomCause::below);
}

TEST(CgroupVerdict, NothingHappened) {
  const auto same = std::vector{level("/c", {{"oom_kill", 4}}, {{"oom", 4}}, {{"max", 2}})};
  const LimitVerdict verdict = judge_limits(same, same);
  EXPECT_EQ(verdict, LimitVerdict());
  EXPECT_EQ(describe(verdict), "");
  EXPECT_EQ(judge_limits({}, {}), LimitVerdict());
}

TEST(CgroupVerdict, PidsLimitOfAnAncestor) {
  auto after = std::vector{level("/p/c", {}, {}), level("/p", {}, {}, {{"max", 3}})};
  EXPECT_EQ(describe(judge_limits({}, after)), "3 forks refused at pids.max of /p");
  // Linux before 6.11 counts at the fork, and does not tell whose limit it was ...
  after = {level("/p/c", {}, {}, {{"max", 1}}), level("/p", {}, {})};
  after[0].pids_local = after[1].pids_local = false;
  after[0].pids_max = after[1].pids_max = 5;
  EXPECT_EQ(describe(judge_limits({}, after)), "1 fork refused at pids.max");
  // ... unless there is only one.
  after[0].pids_max.reset();
  EXPECT_EQ(describe(judge_limits({}, after)), "1 fork refused at pids.max of /p");
}

}  // namespace
}  // namespace minirun
