#include "spec/address.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

TEST(Address, ReadsAndWritesBothFamilies) {
  for (const char* text : {"10.88.0.9", "255.255.255.255", "fd00::9", "::1"})
    EXPECT_EQ(Address::parse(text)->text(), text);
  for (const char* text : {"", "10.88.0", "10.88.0.256", "localhost", "fd00::g", "1.2.3.4/8"})
    EXPECT_FALSE(Address::parse(text)) << text;
  EXPECT_FALSE(Address::parse(std::string("1.2.3.4\0x", 9)));
}

TEST(Subnet, RefusesBitsBehindThePrefix) {
  EXPECT_EQ(Subnet::parse("10.88.0.0/16")->text(), "10.88.0.0/16");
  EXPECT_EQ(Subnet::parse("fd00:10:88::/64")->text(), "fd00:10:88::/64");
  for (const char* text : {"10.88.0.1/16", "10.88.0.0", "10.88.0.0/33", "10.88.0.0/", "/16",
                           "10.88.0.0/16x", "fd00::1/64", "fd00::/129"})
    EXPECT_FALSE(Subnet::parse(text)) << text;
}

TEST(Subnet, CountsHosts) {
  const Subnet subnet = *Subnet::parse("10.88.254.0/23");
  EXPECT_EQ(subnet.at(1).text(), "10.88.254.1");
  EXPECT_EQ(subnet.at(256).text(), "10.88.255.0");
  EXPECT_EQ(subnet.last_index(), 510U);
  EXPECT_EQ(subnet.index_of(*Address::parse("10.88.255.0")), 256U);
  EXPECT_EQ(Subnet::parse("fd00::/64")->at(65536 + 9).text(), "fd00::1:9");
  EXPECT_FALSE(Subnet::parse("fd00::/64")->index_of(*Address::parse("fd00::1:0:0")));
  EXPECT_EQ(Subnet::parse("10.0.0.0/30")->last_index(), 2U);
}

TEST(Subnet, Overlaps) {
  auto overlaps = [](const char* a, const char* b) {
    return Subnet::parse(a)->overlaps(*Subnet::parse(b));
  };
  EXPECT_TRUE(overlaps("10.88.0.0/16", "10.88.3.0/24"));
  EXPECT_TRUE(overlaps("10.88.3.0/24", "10.0.0.0/8"));
  EXPECT_TRUE(overlaps("10.0.0.0/8", "0.0.0.0/0"));
  EXPECT_FALSE(overlaps("10.88.0.0/16", "10.89.0.0/16"));
  EXPECT_FALSE(overlaps("10.88.0.0/16", "fd00::/64"));
}

}  // namespace
}  // namespace minirun
