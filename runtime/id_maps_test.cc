#include "runtime/id_maps.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

TEST(IdMaps, RangeByNameOrNumber) {
  constexpr const char* file = "other:100000:65536\nann:165536:65536\n1001:231072:1000\n";
  EXPECT_EQ(subordinate_range(file, "ann", 1000), (IdMapping{1, 165536, 65536}));
  EXPECT_EQ(subordinate_range(file, "bob", 1001), (IdMapping{1, 231072, 1000}));
  EXPECT_EQ(subordinate_range(file, "", 1001), (IdMapping{1, 231072, 1000}));
  EXPECT_EQ(subordinate_range(file, "eve", 1002).size, 0u);
}

TEST(IdMaps, BadLinesAreNobodys) {
  EXPECT_EQ(subordinate_range("ann:x:65536\nann:1:0\nann:5\n:1:1\n", "ann", 7).size, 0u);
  EXPECT_EQ(subordinate_range("ann:4294967296:1\nann:70000:5", "ann", 7), (IdMapping{1, 70000, 5}));
  EXPECT_EQ(subordinate_range("", "ann", 7).size, 0u);
}

TEST(IdMaps, SelfMap) {
  EXPECT_TRUE(is_self_map({{{0, 1000, 1}}, {{0, 100, 1}}}, 1000, 100));
  EXPECT_TRUE(is_self_map({{{1000, 1000, 1}}, {{5, 100, 1}}}, 1000, 100));
  EXPECT_FALSE(is_self_map({{{0, 1000, 1}, {1, 100000, 10}}, {{0, 100, 1}}}, 1000, 100));
  EXPECT_FALSE(is_self_map({{{0, 1000, 1}}, {{0, 101, 1}}}, 1000, 100));
}

}  // namespace
}  // namespace minirun
