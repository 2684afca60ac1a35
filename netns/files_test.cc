#include "netns/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace minirun {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HostsFile, NamesEverybodyOnTheNetwork) {
  NetworkEntry entry{
      .subnet = "10.1.0.0/24", .subnet6 = "fd00::/64", .forwarding = {}, .leases = {}};
  entry.leases["a"] = {.index = 2,
                       .device = {},
                       .shaper = {},
                       .names = {"web", "a"},
                       .hosts = {{"db", "10.9.9.9"}},
                       .ports = {}};
  entry.leases["b"] = {.index = 3,
                       .device = {},
                       .shaper = {},
                       .names = {"evil name\n10.1.0.1 a", "b"},
                       .hosts = {},
                       .ports = {}};
  EXPECT_EQ(hosts_text(entry, "a"),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.9.9.9\tdb\n"
            "10.1.0.2\tweb a\nfd00::2\tweb a\n"
            "10.1.0.1\thost.minirun.internal host.containers.internal\n"
            "fd00::1\thost.minirun.internal host.containers.internal\n"
            "10.1.0.3\tb\nfd00::3\tb\n");
  EXPECT_THAT(hosts_text(entry, "b"), Not(HasSubstr("10.9.9.9")));
}

TEST(ResolvConf, LeavesOutWhatHoldsOnTheHostOnly) {
  const char* host =
      "# x\nsearch lan\nnameserver 127.0.0.53\nnameserver\t10.0.0.1\n"
      "nameserver fe80::1%eth0\noptions edns0\nsortlist 1";
  EXPECT_EQ(resolv_text({}, host), "search lan\nnameserver 10.0.0.1\noptions edns0\n");
  EXPECT_EQ(resolv_text({"9.9.9.9"}, host), "nameserver 9.9.9.9\n");
  EXPECT_THAT(resolv_text({}, "nameserver 127.0.0.1\n"), HasSubstr("# the host's"));
  EXPECT_EQ(resolv_text({}, ""), "");
}

}  // namespace
}  // namespace minirun
