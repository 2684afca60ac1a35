#include "probe/judge.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "probe/metrics.h"
#include "probe/page.h"
#include "probe/scenario.h"
#include "probe/text.h"
#include "probe/textbook.h"

namespace minirun::probe {
namespace {

using testing::HasSubstr;

/// A result as a workload writes it.
Json result(const char* metric, const char* unit, double median) {
  return {
      {"metric", metric},    {"unit", unit},        {"better", "lower"},    {"n", 3},
      {"median", median},    {"p5", median * 0.95}, {"p95", median * 1.05}, {"p99", median * 1.1},
      {"min", median * 0.9}, {"max", median * 1.2}, {"mean", median}};
}

Json run_of(const char* probe, const char* scenario, const char* side) {
  return {{"probe", probe}, {"scenario", scenario}, {"side", side}, {"change", "none"}};
}

Json recording(Json runs) {
  return {{"schema", run_schema}, {"quick", false}, {"runs", std::move(runs)}};
}

/// Two threads for two seconds under 500m.
Json throttled_run() {
  Json run = run_of("throttle", "nt", "container");
  run["limits"] = {{"cpu.max", "50000 100000"}};
  run["before"] = {{"cpu.stat", {{"nr_periods", 2}, {"nr_throttled", 1}, {"throttled_usec", 10}}}};
  run["after"] = {
      {"cpu.stat", {{"nr_periods", 22}, {"nr_throttled", 21}, {"throttled_usec", 3000010}}}};
  run["document"] = {
      {"results",
       {result("throttle.2t.effective_cores", "cores", 0.5), result("throttle.2t.seconds", "s", 2),
        result("throttle.2t.threads", "1", 2), result("throttle.2t.gap", "ms", 75)}}};
  return run;
}

double median(const Judgement& judgement, const char* metric) {
  const Row* row = judgement.find(metric);
  if (row == nullptr || !row->container) {
    ADD_FAILURE() << "no " << metric;
    return -1;
  }
  return row->container->median;
}

TEST(Judge, ThrottledShareFollowsFromTheCountersAndTheArithmetic) {
  const Judgement judged = judge(recording({throttled_run()}));
  EXPECT_DOUBLE_EQ(median(judged, "throttle.nt.effective_cores"), 0.5);
  EXPECT_DOUBLE_EQ(median(judged, "throttle.effective_cores"), 0.5) << "the short name";
  EXPECT_DOUBLE_EQ(median(judged, "throttle.ratio"), 1.0);
  EXPECT_DOUBLE_EQ(median(judged, "throttle.throttled_share"), 0.75);
  EXPECT_DOUBLE_EQ(median(judged, "throttle.expected_share"), 0.75);
  EXPECT_DOUBLE_EQ(median(judged, "throttle.share_error"), 0);
  EXPECT_THAT(judged.find("throttle.gap")->why, HasSubstr("75 ms"));
}

TEST(Judge, WithoutCountersThereIsNoShareAndNoZero) {
  Json run = throttled_run();
  run.erase("after");
  const Judgement judged = judge(recording({run}));
  EXPECT_EQ(judged.find("throttle.throttled_share"), nullptr);
  EXPECT_EQ(judged.find("throttle.ratio"), nullptr);
  const Outcome outcome = check(*parse_expectation("throttle.ratio<0.5"), judged);
  EXPECT_EQ(outcome.state, Outcome::State::unsupported);
}

TEST(Judge, AnOomKillIsTakenFromTheCounters) {
  Json run = run_of("oom", "anon", "container");
  run["limits"] = {{"memory.max", "67108864"}};
  run["before"] = {{"memory.events", {{"oom_kill", 0}}}};
  run["after"] = {{"memory.events", {{"oom_kill", 1}, {"max", 39}}}, {"memory.peak", 67108864}};
  run["document"] = {{"results", {result("oom.anon.killed", "bool", 1)}}};
  const Judgement judged = judge(recording({run}));
  EXPECT_DOUBLE_EQ(median(judged, "oom.anon.kills"), 1);
  EXPECT_DOUBLE_EQ(median(judged, "oom.anon.peak"), 67108864);
  EXPECT_DOUBLE_EQ(median(judged, "oom.anon.kill_error"), 0);
}

TEST(Judge, AnUnsupportedScenarioIsNeverAPass) {
  Json refused = run_of("throttle", "1t", "container");
  refused["unsupported"] = "cpu is bound to cgroup v1";
  Json host = throttled_run();
  host["side"] = "host";
  const Judgement judged = judge(recording({refused, host}));
  ASSERT_EQ(judged.unsupported.size(), 1U);
  // The host's number exists, and must not stand for the container's.
  for (const char* text : {"throttle.effective_cores<1", "throttle.effective_cores@container<1",
                           "throttle.effective_cores@ratio<1"}) {
    const Outcome outcome = check(*parse_expectation(text), judged);
    EXPECT_EQ(outcome.state, Outcome::State::unsupported) << text;
    EXPECT_THAT(outcome.message, HasSubstr("cgroup v1")) << text;
  }
  EXPECT_EQ(check(*parse_expectation("throttle.effective_cores@host<1"), judged).state,
            Outcome::State::met);
}

TEST(Judge, AWorkloadWithoutADocumentHasItsOwnWordsAsTheReason) {
  Json run = run_of("ctxswitch", "all", "container");
  run["document"] = nullptr;
  run["stderr"] = "minirun-probe: clone: Operation not permitted\n";
  const Judgement judged = judge(recording({run}));
  ASSERT_EQ(judged.unsupported.size(), 1U);
  EXPECT_EQ(judged.unsupported[0].reason, "minirun-probe: clone: Operation not permitted");
}

TEST(Judge, RepeatsAreMerged) {
  Json runs = Json::array();
  for (const double value : {10.0, 30.0, 20.0}) {
    Json run = run_of("ctxswitch", "all", "host");
    run["document"] = {{"results", {result("ctxswitch.pipe", "ns", value)}}};
    runs.push_back(run);
  }
  const Judgement judged = judge(recording(runs));
  const Row* row = judged.find("ctxswitch.pipe");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->host->n, 9U);
  EXPECT_DOUBLE_EQ(row->host->median, 20);
  EXPECT_DOUBLE_EQ(row->host->min, 9);
  EXPECT_DOUBLE_EQ(row->host->max, 36);
}

TEST(Judge, TheRatioOfRepeatsIsThatOfThePairs) {
  // The machine is slow for the second and the third pair; the medians of the sides are 40 and 22.
  Json runs = Json::array();
  for (const auto& [host, container] : {std::pair{20.0, 22.0}, {40.0, 44.0}, {40.0, 20.0}}) {
    for (const auto& [side, value] : {std::pair{"host", host}, {"container", container}}) {
      Json run = run_of("ctxswitch", "all", side);
      run["document"] = {{"results", {result("ctxswitch.pipe", "ns", value)}}};
      runs.push_back(run);
    }
  }
  EXPECT_DOUBLE_EQ(*judge(recording(runs)).find("ctxswitch.pipe")->ratio, 1.1);
  runs.erase(runs.end() - 1);  // no pairs: medians of 40 and 33
  EXPECT_DOUBLE_EQ(*judge(recording(runs)).find("ctxswitch.pipe")->ratio, 33.0 / 40);
}

TEST(Judge, APartIsInTheName) {
  Json run = run_of("throttle", "weights", "container");
  run["part"] = "300";
  EXPECT_EQ(recorded_name(run, "throttle.1t.effective_cores"),
            "throttle.weights.300.effective_cores");
  EXPECT_EQ(recorded_name(run_of("ctxswitch", "no-limits", "host"), "ctxswitch.pipe.x"),
            "ctxswitch.no-limits.pipe.x");
}

TEST(Judge, WhatWasEndedWithTheOthersIsJudgedByItsCounters) {
  Json run = run_of("throttle", "requests+rival", "container");
  run["part"] = "rival";
  run["background"] = true;
  run["document"] = nullptr;
  run["seconds"] = 4.0;
  run["before"] = {{"cpu.stat", {{"usage_usec", 1000}}}};
  run["after"] = {{"cpu.stat", {{"usage_usec", 2001000}}}};
  const Judgement judged = judge(recording({run}));
  EXPECT_TRUE(judged.unsupported.empty());
  EXPECT_DOUBLE_EQ(median(judged, "throttle.requests+rival.rival.effective_cores"), 0.5);
}

TEST(Judge, KillsOfLevelsAboveAreTheirOwnOnly) {
  Json run = run_of("oom", "anon", "container");
  const auto level = [](int kills) { return Json{{"local", {{"oom_kill", kills}}}}; };
  run["levels_before"] = {level(0), level(4), level(1)};
  run["levels"] = {level(1), level(4), level(1)};
  run["document"] = {{"results", Json::array()}};
  EXPECT_DOUBLE_EQ(median(judge(recording({run})), "oom.anon.kills_above"), 0);
  run["levels"][1] = level(6);
  EXPECT_DOUBLE_EQ(median(judge(recording({run})), "oom.anon.kills_above"), 2);
}

TEST(Judge, AStallIsGivenForWhatWasAllocatedAboveTheLimit) {
  Json run = run_of("oom", "high", "container");
  run["limits"] = {{"memory.high", "33554432"}, {"memory.max", "67108864"}};
  run["before"] = {{"memory.pressure", {{"full_usec", 0}}}};
  run["after"] = {{"memory.pressure", {{"full_usec", 8000000}}}};
  run["timeline"] = {{"memory.swap.current", {0, 4096, 1024}}};
  run["document"] = {{"results", {result("oom.anon.reached", "bytes", 48 << 20)}}};
  const Judgement judged = judge(recording({run}));
  EXPECT_DOUBLE_EQ(median(judged, "oom.high.stall"), 500000);
  EXPECT_DOUBLE_EQ(median(judged, "oom.high.swapped"), 4096);
}

TEST(Judge, ABandwidthIsComparedAsFrames) {
  Json run = run_of("net", "bandwidth", "container");
  run["limits"] = {{"network.egress", 20000000}};
  run["document"] = {{"results",
                      {result("net.tcp.upload", "bytes/s", 3e6),
                       result("net.tcp.upload_average", "bytes/s", 20e6 / 8 * 1448 / 1514)}}};
  const Judgement judged = judge(recording({run}));
  EXPECT_DOUBLE_EQ(median(judged, "net.bandwidth.upload"), 3e6);
  EXPECT_NEAR(median(judged, "net.bandwidth.upload_of_limit"), 1, 1e-9);
}

TEST(Recording, WhatIsNoneIsRefusedByName) {
  const std::vector<std::pair<Json, const char*>> cases = {
      {Json::array(), ""},
      {Json::object(), "/schema"},
      {{{"schema", 99}, {"runs", Json::array()}}, "/schema"},
      {{{"schema", run_schema}}, "/runs"},
      {{{"schema", run_schema}, {"runs", {1}}}, "/runs/0/probe"},
      {{{"schema", run_schema}, {"runs", {{{"probe", "x"}, {"scenario", "y"}, {"side", "moon"}}}}},
       "/runs/0/side"}};
  for (const auto& [file, pointer] : cases) {
    const Status status = check_recording(file);
    ASSERT_FALSE(status) << file;
    EXPECT_EQ(status.error().object, pointer) << file;
  }
}

TEST(Recording, MembersOfTheWrongTypeAreNotThere) {
  Json run = run_of("oom", "anon", "container");
  run["limits"] = "no";
  run["before"] = 3;
  run["after"] = {{"memory.events", Json::array()}, {"memory.peak", "much"}};
  run["document"] = {{"results", {1, Json::object(), {{"metric", 7}}}}, {"warnings", {4}}};
  run["warnings"] = "none";
  EXPECT_TRUE(judge(recording({run})).rows.empty());
}

/// The recording that docs/probes.md shows, made in the project's VM with 500m and 64Mi.
TEST(Recording, TheSavedOneIsJudgedAgain) {
  const Result<std::string> text =
      read_file(AT_FDCWD, MINIRUN_SOURCE_DIR "/docs/probes-sample.json", 8 << 20);
  ASSERT_TRUE(text);
  const Json file = Json::parse(*text, nullptr, false);
  ASSERT_TRUE(check_recording(file));
  const Judgement judged = judge(file);
  for (const char* expected :
       {"throttle.1t.effective_cores>=0.47", "throttle.1t.effective_cores<=0.53",
        "throttle.1t.share_error<=5%", "throttle.ratio>=0.9", "oom.anon.peak>=63Mi",
        "oom.anon.peak<=65Mi", "oom.anon.kills==1", "oom.anon.kills@host==0",
        "oom.pagecache.kills==0", "oom.group.kills>=3", "throttle.weights.300.effective_cores>=0.7",
        "throttle.weights.100.effective_cores<=0.3"})
    EXPECT_EQ(check(*parse_expectation(expected), judged).state, Outcome::State::met)
        << check(*parse_expectation(expected), judged).message;
  EXPECT_GE(charts(file, judged).size(), 12U);
}

TEST(Expectation, IsRead) {
  const auto parsed = parse_expectation(" oom.anon.peak@container <= 65Mi ");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->metric, "oom.anon.peak");
  EXPECT_EQ(parsed->side, Expectation::Side::container);
  EXPECT_EQ(parsed->op, "<=");
  EXPECT_DOUBLE_EQ(parsed->value, 65.0 * 1048576);
  EXPECT_DOUBLE_EQ(parse_expectation("throttle.share_error<5%")->value, 0.05);
}

TEST(Expectation, WhatCannotBeReadIsRefused) {
  for (const char* text : {"", "throttle.ratio", "throttle.ratio=0.4", "throttle.ratio>=", ">=3",
                           "throttle.ratio>=x", "throttle.ratio>=4 apples", "throttle>=1",
                           "throttle.ratio@moon>=1", "throttle.ratio>=nan", "throttle.ratio<>1"})
    EXPECT_FALSE(parse_expectation(text)) << text;
}

TEST(Expectation, IsChecked) {
  const Judgement judged = judge(recording({throttled_run()}));
  auto state = [&judged](const char* text) {
    return check(*parse_expectation(text), judged).state;
  };
  EXPECT_EQ(state("throttle.ratio>=0.4"), Outcome::State::met);
  EXPECT_EQ(state("throttle.ratio==1"), Outcome::State::met);
  EXPECT_EQ(state("throttle.ratio!=1"), Outcome::State::failed);
  EXPECT_EQ(state("throttle.effective_cores<0.4"), Outcome::State::failed);
  EXPECT_EQ(state("throttle.effective_cores@host<0.4"), Outcome::State::unsupported);
  EXPECT_EQ(state("throttle.nonsense<0.4"), Outcome::State::unsupported);
}

TEST(Junit, EscapesAndCounts) {
  const std::vector<Expectation> expectations = {*parse_expectation("a.b<1"),
                                                 *parse_expectation("a.c>1")};
  const std::string text = junit(
      expectations, {{Outcome::State::failed, "a \"<&>\""}, {Outcome::State::unsupported, "why"}});
  EXPECT_THAT(text, HasSubstr("tests=\"2\" failures=\"1\" errors=\"1\""));
  EXPECT_THAT(text, HasSubstr("name=\"a.b&lt;1\""));
  EXPECT_THAT(text, HasSubstr("message=\"a &quot;&lt;&amp;&gt;&quot;\""));
}

TEST(Compare, OnlyWhatLeavesTheSpreadHasChanged) {
  auto file = [](double pipe, double futex) {
    Json run = run_of("ctxswitch", "all", "host");
    run["document"] = {{"results", {result("c.pipe", "ns", pipe), result("c.futex", "ns", futex)}}};
    return recording({run});
  };
  const Comparison found = compare(file(100, 100), file(103, 200));
  ASSERT_EQ(found.changes.size(), 2U);
  EXPECT_EQ(found.changes[0].verdict, "same");
  EXPECT_EQ(found.changes[1].verdict, "worse");
  EXPECT_EQ(compare(file(200, 100), file(100, 100)).changes[0].verdict, "better");
}

TEST(Statistics, QuantilesInterpolate) {
  std::vector<double> samples = {4, 1, 3, 2};
  const Summary found = summarize(samples);
  EXPECT_EQ(found.n, 4U);
  EXPECT_DOUBLE_EQ(found.median, 2.5);
  EXPECT_DOUBLE_EQ(found.min, 1);
  EXPECT_DOUBLE_EQ(found.max, 4);
  EXPECT_DOUBLE_EQ(found.p95, 3.85);
  EXPECT_DOUBLE_EQ(found.mean, 2.5);
  EXPECT_EQ(summarize({}).n, 0U);
  std::vector<double> one = {7};
  EXPECT_DOUBLE_EQ(summarize(one).p99, 7);
}

TEST(Scenario, ChangesAreMadeOrRefusedInWords) {
  ContainerSpec spec;
  spec.process.emplace();
  EXPECT_THAT(change_spec(spec, Change::burst).unsupported, HasSubstr("no CPU limit"));
  EXPECT_THAT(change_spec(spec, Change::high).unsupported, HasSubstr("no memory limit"));
  spec.resources.cpu.quota_us = 50000;
  spec.resources.memory.limit_bytes = 64 << 20;
  EXPECT_EQ(change_spec(spec, Change::burst).spec.resources.cpu.burst_us, 50000U);
  EXPECT_EQ(change_spec(spec, Change::high).spec.resources.unified["memory.high"], "33554432");
  EXPECT_EQ(change_spec(spec, Change::swap).spec.resources.memory.swap_bytes, 128 << 20);
  EXPECT_FALSE(change_spec(spec, Change::shared).spec.resources.cpu.quota_us);
  const ChangedSpec free = change_spec(spec, Change::no_limits);
  EXPECT_FALSE(free.spec.resources.cpu.quota_us || free.spec.resources.memory.limit_bytes);
  for (const Probe& probe : probes())
    EXPECT_FALSE(scenarios(probe.name, {.cpus = 2, .memory_max = {}}).empty()) << probe.name;
}

TEST(Textbook, ClaimsAreJudgedByTheirRange) {
  const Claim claim{"x", "m", "1 to 10 us", 1000, 10000, ""};
  EXPECT_EQ(verdict(claim, 600), "as the text says");
  EXPECT_EQ(verdict(claim, 20000), "as the text says");
  EXPECT_EQ(verdict(claim, 100), "10 times less");
  EXPECT_EQ(verdict(claim, 40000), "4 times more");
  for (const Claim& row : claims()) EXPECT_LE(row.low, row.high) << row.subject;
}

TEST(Textbook, WhatWasNotMeasuredIsUnsupported) {
  Json run = run_of("textbook", "all", "host");
  run["document"] = {{"results", {result("textbook.process.thread", "ns", 10000)}}};
  const std::string text = textbook_table(judge(recording({run})));
  EXPECT_THAT(text, testing::ContainsRegex("create a thread +about 10 us +10 us +unsupported +as"));
  EXPECT_THAT(text, testing::ContainsRegex("create a process: fork +about 10 ms +unsupported"));
}

TEST(Page, NothingInTheDataEndsItsElement) {
  const std::string page = fill_page("<a>@DATA@</a>", Json{{"x", "</script>\xff"}});
  EXPECT_EQ(page.find("</script>"), std::string::npos);
  EXPECT_THAT(page, HasSubstr("\\u003c/script>"));
}

TEST(Page, ChartsHaveOneValueForEachPlace) {
  Json run = throttled_run();
  run["document"]["series"] = {{{"name", "throttle.2t.gaps"}, {"x", {1, 5}}, {"y", {75, 74}}}};
  Json host = run;
  host["side"] = "host";
  host["document"]["series"][0]["x"] = {2, 5};
  Json oom = run_of("oom", "anon", "container");
  oom["limits"] = {{"memory.max", "67108864"}};
  oom["timeline"] = {{"t_ms", {0, 1, 2}}, {"memory.current", {0, 1048576, 67108864}}};
  const Json file = recording({run, host, oom});
  const Json made = charts(file, judge(file));
  ASSERT_EQ(made.size(), 3U) << made.dump(1);
  for (const Json& chart : made)
    for (const Json& series : chart["series"])
      EXPECT_EQ(series["y"].size(), chart["x"].size()) << chart["title"];
  EXPECT_EQ(made[1]["x"], Json({1.0, 2.0, 5.0})) << "both sides on one axis";
  EXPECT_EQ(made[2]["marks"][0]["y"], 64.0) << "the limit";
}

TEST(Text, NumbersHaveTheUnitThatFits) {
  EXPECT_EQ(human(1420, "ns"), "1.42 us");
  EXPECT_EQ(human(67108864, "bytes"), "64 MiB");
  EXPECT_EQ(human(0.5, "cores"), "0.500 cores");
  EXPECT_EQ(human(0, "ms"), "0 s");
}

}  // namespace
}  // namespace minirun::probe
