#include "spec/duration.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

using std::chrono::microseconds;

TEST(Duration, ReadsUnits) {
  EXPECT_EQ(parse_duration("20ms"), microseconds(20'000));
  EXPECT_EQ(parse_duration("100us"), microseconds(100));
  EXPECT_EQ(parse_duration("1m30s"), microseconds(90'000'000));
  EXPECT_EQ(parse_duration("1h"), microseconds(3'600'000'000));
  EXPECT_EQ(parse_duration("0.1s"), microseconds(100'000));
  EXPECT_EQ(parse_duration("0s"), microseconds(0));
}

TEST(Duration, RefusesOtherShapes) {
  for (const char* text : {"", "5", "s", "5 s", "-5s", "5x", "1s1s", "1s1m", ".5s", "5.s", "0.5us",
                           "5sec", "99999999999999999999s", "9223372036854775807h", "1S"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

}  // namespace
}  // namespace minirun
