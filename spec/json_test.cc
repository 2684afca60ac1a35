#include "spec/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "spec/finding_matchers.h"
#include "spec/suggest.h"

namespace minirun {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

Findings parse_findings(std::string_view text, const JsonLimits& limits = {}) {
  Findings findings;
  (void)JsonDocument::parse(text, findings, limits);
  return findings;
}

TEST(Json, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_THAT(parse_findings("{\n  \"a\": 1,\n  oops\n}"),
              ElementsAre(error_at("", "line 3, column 3: not JSON")));
  EXPECT_THAT(parse_findings("{\"mounts\": [1, }"),
              ElementsAre(error_at("/mounts", "line 1, column 16: not JSON")));
  EXPECT_THAT(parse_findings(""), ElementsAre(error_at("", "line 1, column 1: not JSON")));
  EXPECT_THAT(parse_findings("{} x"), ElementsAre(error_at("", "line 1, column 4: not JSON")));
  EXPECT_THAT(parse_findings("[1e999]"), ElementsAre(error_at("", "not JSON")));
  EXPECT_THAT(parse_findings("\"\xff\""), ElementsAre(error_at("", "not JSON")));
}

TEST(Json, DuplicateKeysAreErrorsAtTheirPointer) {
  EXPECT_THAT(parse_findings(R"({"a": {"x/y": 1, "b": 2, "x/y": 3}, "a": 4})"),
              ElementsAre(error_at("/a/x~1y", "there twice"), error_at("/a", "there twice")));
}

TEST(Json, NulInStringsAndKeysIsRefused) {
  EXPECT_THAT(parse_findings(R"({"a": ["x", "y\u0000z"]})"),
              ElementsAre(error_at("/a/1", R"("y\u0000z", expected a string without NUL)")));
  EXPECT_THAT(parse_findings(R"({"a": {"k\u0000": 1}})"), ElementsAre(error_at("/a", "NUL")));
}

TEST(Json, LimitsHold) {
  EXPECT_THAT(parse_findings(std::string(64, '[') + std::string(64, ']')), IsEmpty());
  EXPECT_THAT(parse_findings(std::string(65, '[') + std::string(65, ']')),
              ElementsAre(Field(&Finding::message, "nested deeper than 64 levels")));
  EXPECT_THAT(parse_findings(std::string(1'000'000, '[')),
              ElementsAre(Field(&Finding::message, "nested deeper than 64 levels")));
  EXPECT_THAT(parse_findings("[1,2,3]", {.bytes = 6}),
              ElementsAre(error_at("", "7 bytes, expected at most 6")));
  EXPECT_THAT(parse_findings("[1,2,3]", {.values = 3}),
              ElementsAre(error_at("", "more than 3 values")));
}

TEST(Json, ReadsTypedValuesAndReportsEverything) {
  Findings findings;
  const auto document = JsonDocument::parse(
      R"({"t": true, "s": "x", "i": -3, "u": 18446744073709551615, "l": ["a"], "m": {"k": "v"},
          "half": 1.5, "big": 18446744073709551616, "nil": null, "mixed": ["a", 1, null]})",
      findings);
  ASSERT_TRUE(document);
  JsonObject object(document->root(findings));
  bool t = false;
  std::string s;
  int i = 0;
  std::uint64_t u = 0;
  std::vector<std::string> l;
  std::map<std::string, std::string> m;
  EXPECT_TRUE(object.read("t", t) && object.read("s", s) && object.read("i", i) &&
              object.read("u", u) && object.read("l", l) && object.read("m", m));
  EXPECT_TRUE(t);
  EXPECT_EQ(s, "x");
  EXPECT_EQ(i, -3);
  EXPECT_EQ(u, UINT64_MAX);
  EXPECT_THAT(l, ElementsAre("a"));
  EXPECT_EQ(m.at("k"), "v");
  EXPECT_THAT(findings, IsEmpty());

  std::uint64_t other = 7;
  EXPECT_FALSE(object.read("absent", other));
  EXPECT_FALSE(object.read("half", other));
  EXPECT_FALSE(object.read("big", other));
  EXPECT_FALSE(object.read("nil", other)) << "absent, too";
  EXPECT_FALSE(object.read("mixed", l));
  EXPECT_FALSE((object.read_within("i", i, 0, 5)));
  EXPECT_EQ(other, 7U);
  EXPECT_THAT(findings, ElementsAre(error_at("/half", "1.5, expected an integer from 0 to 1844"),
                                    error_at("/big", "18446744073709551616, expected an integer"),
                                    error_at("/mixed/1", "1, expected a string"),
                                    error_at("/mixed/2", "null, expected a string"),
                                    error_at("/i", "-3, expected an integer from 0 to 5")));
}

TEST(Json, UnknownKeysAreWarningsWithASuggestion) {
  Findings findings;
  const auto document = JsonDocument::parse(R"({"hostnam": 1, "zzz": {}, "cwd": "/"})", findings);
  {
    JsonObject object(document->root(findings));
    object.ignore("hostname");
    object.ignore("cwd");
  }
  EXPECT_THAT(findings, ElementsAre(warning_at("/hostnam", "did you mean \"hostname\"?"),
                                    warning_at("/zzz", "unknown property, ignored")));
}

TEST(Json, FieldAndPointerOfAPlace) {
  Findings findings;
  const auto document = JsonDocument::parse(R"({"a": {"b": [0, {"c/d": 1}]}})", findings);
  const Json list = *document->root(findings).find("a")->find("b");
  for (Json item : list)
    for (Json member : item) {
      EXPECT_EQ(member.pointer(), "/a/b/1/c~1d");
      EXPECT_EQ(member.field(), "a.b[1].c/d");
    }
  EXPECT_EQ(document->root(findings).pointer(), "");
}

TEST(Json, FindingsAreBounded) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) text += "\"k" + std::to_string(i) + "\": 1,";
  text.back() = '}';
  Findings findings;
  const auto document = JsonDocument::parse(text, findings);
  {
    JsonObject object(document->root(findings));
  }
  EXPECT_EQ(findings.size(), kMostFindings);
  EXPECT_THAT(findings.back().message, HasSubstr("not shown"));
}

TEST(Json, MessagesDoNotCarryControlCharacters) {
  Findings findings;
  const auto document = JsonDocument::parse(R"({"\u001b[31m": "\u001b]0;x\u0007"})", findings);
  int i = 0;
  for (Json item : document->root(findings)) item.get(i);
  EXPECT_THAT(findings, ElementsAre(error_at("/\\u001b[31m", R"("\u001b]0;x\u0007", expected)")));
}

TEST(Suggest, FindsSlipsOnly) {
  constexpr std::array<std::string_view, 4> known = {"hostname", "cpu", "oom_score_adj", "memory"};
  EXPECT_EQ(suggest("hostanme", known), "hostname");
  EXPECT_EQ(suggest("cpus", known), "cpu");
  EXPECT_EQ(suggest("oomScoreAdj", known), "oom_score_adj");
  EXPECT_EQ(suggest("mem", known), std::nullopt);
  EXPECT_EQ(suggest("", known), std::nullopt);
  EXPECT_EQ(suggest(std::string(1000, 'x'), known), std::nullopt);
}

}  // namespace
}  // namespace minirun
