// Owns: tests of base/capabilities. Must not: look at the capabilities of this process.
#include "base/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

#include <bit>

namespace minirun {
namespace {

TEST(Capabilities, NumbersAreThoseOfTheKernelHeader) {
  EXPECT_EQ(capability_from_name("CAP_CHOWN"), unsigned{CAP_CHOWN});
  EXPECT_EQ(capability_from_name("CAP_NET_RAW"), unsigned{CAP_NET_RAW});
  EXPECT_EQ(capability_from_name("CAP_MKNOD"), unsigned{CAP_MKNOD});
  EXPECT_EQ(capability_from_name("CAP_AUDIT_READ"), unsigned{CAP_AUDIT_READ});
  EXPECT_EQ(capability_from_name("CAP_BPF"), unsigned{CAP_BPF});
  EXPECT_EQ(capability_names.size(), std::size_t{CAP_LAST_CAP + 1});
}

TEST(Capabilities, EveryNameIsFoundInBothFormsAndAnyCase) {
  for (unsigned number = 0; number < capability_names.size(); ++number) {
    const std::string full{capability_name(number)};
    std::string small = full;
    for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    EXPECT_EQ(capability_from_name(full), number);
    EXPECT_EQ(capability_from_name(full.substr(4)), number);
    EXPECT_EQ(capability_from_name(small), number);
    EXPECT_EQ(capability_from_name(small.substr(4)), number);
  }
}

TEST(Capabilities, RefusesWhatIsNotAName) {
  for (const char* name :
       {"", "CAP_", "cap_", "CAP_CHOWN ", "CAP_CAP_CHOWN", "all", "CHOW", "CAPCHOWN"})
    EXPECT_EQ(capability_from_name(name), std::nullopt) << name;
  EXPECT_EQ(capability_name(41), "");
  EXPECT_EQ(capability_name(4000000000U), "");
  EXPECT_EQ(capability_bit(64), 0U);
}

TEST(Capabilities, TheDefaultSetHasFourteen) {
  EXPECT_EQ(std::popcount(default_capabilities), 14);
  for (const char* name :
       {"chown", "dac_override", "fsetid", "fowner", "mknod", "net_raw", "setgid", "setuid",
        "setfcap", "setpcap", "net_bind_service", "sys_chroot", "kill", "audit_write"})
    EXPECT_NE(default_capabilities & capability_bit(capability_from_name(name).value()), 0U)
        << name;
}

}  // namespace
}  // namespace minirun
