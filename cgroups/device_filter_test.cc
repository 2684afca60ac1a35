#include "cgroups/device_filter.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>

namespace minirun {
namespace {

struct Request {
  std::uint32_t type, access, major, minor;
};

// A BPF machine of the instructions that the compiler may emit; anything else fails the test.
int run(const std::vector<bpf_insn>& program, const Request& request) {
  std::array<std::uint64_t, 11> reg{};
  const std::array<std::uint32_t, 3> context{(request.access << 16) | request.type, request.major,
                                             request.minor};
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    const bpf_insn& in = program[pc];
    std::uint64_t& dst = reg[in.dst_reg];
    const auto imm = static_cast<std::uint32_t>(in.imm);
    const auto low = static_cast<std::uint32_t>(dst);
    switch (in.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        dst = context.at(static_cast<std::size_t>(in.off) / 4);
        break;
      case BPF_ALU | BPF_MOV | BPF_X:
        dst = static_cast<std::uint32_t>(reg[in.src_reg]);
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        dst = low >> imm;
        break;
      case BPF_ALU | BPF_LSH | BPF_K:
        dst = static_cast<std::uint32_t>(low << imm);
        break;
      case BPF_ALU | BPF_OR | BPF_X:
        dst = low | static_cast<std::uint32_t>(reg[in.src_reg]);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        dst = low & imm;
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        dst = imm;
        break;
      case BPF_JMP32 | BPF_JEQ | BPF_K:
        if (low == imm) pc += static_cast<std::size_t>(in.off);
        break;
      case BPF_JMP32 | BPF_JSET | BPF_K:
        if ((low & imm) != 0) pc += static_cast<std::size_t>(in.off);
        break;
      case BPF_JMP | BPF_JA:
        pc += static_cast<std::size_t>(in.off);
        break;
      case BPF_JMP | BPF_EXIT:
        return static_cast<int>(reg[0]);
      default:
        ADD_FAILURE() << "instruction " << pc << " has code " << int{in.code};
        return -1;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return -1;
}

bool matches(const DeviceRule& rule, const Request& request) {
  const bool type = rule.type == DeviceRule::Type::all ||
                    (rule.type == DeviceRule::Type::block) == (request.type == BPF_DEVCG_DEV_BLOCK);
  return type && rule.major.value_or(request.major) == request.major &&
         rule.minor.value_or(request.minor) == request.minor;
}

// The meaning of the rules, forwards: a set of granted access bits.
bool reference(const std::vector<DeviceRule>& rules, const Request& request) {
  std::uint32_t granted = 0;
  for (const DeviceRule& rule : rules) {
    if (!matches(rule, request)) continue;
    std::uint32_t access = 0;
    if (rule.mknod) access |= BPF_DEVCG_ACC_MKNOD;
    if (rule.read) access |= BPF_DEVCG_ACC_READ;
    if (rule.write) access |= BPF_DEVCG_ACC_WRITE;
    granted = rule.allow ? granted | access : granted & ~access;
  }
  return (request.access & ~granted) == 0;
}

constexpr Request character(std::uint32_t major, std::uint32_t minor, std::uint32_t access) {
  return {BPF_DEVCG_DEV_CHAR, access, major, minor};
}
constexpr std::uint32_t kRead = BPF_DEVCG_ACC_READ, kWrite = BPF_DEVCG_ACC_WRITE,
                        kMknod = BPF_DEVCG_ACC_MKNOD;

TEST(CgroupDeviceFilter, AgreesWithTheReferenceOnRandomRules) {
  std::mt19937 random(20231015);
  const auto pick = [&](unsigned below) { return static_cast<std::uint32_t>(random() % below); };
  // The kernel's devices have 12 and 20 bits. Rules may name others, which must not meet one of
  // these; all bits set catch a sign-extended comparison.
  constexpr std::array<std::uint32_t, 4> kMajors{0, 1, 0xfff, 0xfffffff0};
  constexpr std::array<std::uint32_t, 4> kMinors{0, 1, 0xfffff, 0x100000};
  constexpr std::array<DeviceRule::Type, 3> kTypes{
      DeviceRule::Type::all, DeviceRule::Type::character, DeviceRule::Type::block};
  int allowed = 0, total = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<DeviceRule> rules(pick(9));
    for (DeviceRule& rule : rules) {
      rule = {pick(2) == 0, kTypes.at(pick(3)), {}, {}, pick(3) > 0, pick(3) > 0, pick(3) > 0};
      if (pick(2) == 0) rule.major = kMajors.at(pick(4));
      if (pick(2) == 0) rule.minor = kMinors.at(pick(4));
    }
    const auto program = compile_device_rules(rules);
    for (int i = 0; i < 50; ++i) {
      const Request request{1 + pick(2), 1 + pick(7), kMajors.at(pick(3)), kMinors.at(pick(3))};
      const bool expected = reference(rules, request);
      ASSERT_EQ(run(program, request), expected ? 1 : 0) << "round " << round;
      allowed += expected;
      ++total;
    }
  }
  EXPECT_GT(allowed, total / 20);
  EXPECT_LT(allowed, total - total / 20);
}

TEST(CgroupDeviceFilter, JumpsOfALongProgramReachTheirEnds) {
  std::vector<DeviceRule> rules;
  rules.reserve(60000);
  for (unsigned i = 0; i < 60000; ++i)
    rules.push_back(
        {i % 3 != 0, DeviceRule::Type::character, i % 4096, i / 4096, true, i % 2 == 0});
  const auto program = compile_device_rules(rules);
  for (unsigned i = 0; i < 60000; i += 997)
    for (const std::uint32_t access : {kRead, kRead | kWrite})
      for (const std::uint32_t type : {BPF_DEVCG_DEV_CHAR, BPF_DEVCG_DEV_BLOCK}) {
        const Request request{type, access, i % 4096, i / 4096};
        EXPECT_EQ(run(program, request), reference(rules, request) ? 1 : 0) << i;
      }
  // Each of the 16 bits of a jump is signed.
  for (std::size_t at = 0; at < program.size(); ++at)
    ASSERT_TRUE(program[at].off >= 0 &&
                at + static_cast<std::size_t>(program[at].off) < program.size())
        << at;
}

TEST(CgroupDeviceFilter, NoRulesDenyEverything) {
  EXPECT_EQ(run(compile_device_rules({}), character(1, 3, kRead)), 0);
}

TEST(CgroupDeviceFilter, DefaultsAllowWhatEveryContainerNeeds) {
  const auto rules = default_device_rules();
  const auto program = compile_device_rules(rules);
  for (const auto& [major, minor] : {std::pair{1u, 3u},
                                     {1u, 5u},
                                     {1u, 7u},
                                     {1u, 8u},
                                     {1u, 9u},
                                     {5u, 0u},
                                     {5u, 2u},
                                     {136u, 0u},
                                     {136u, 77u}})
    EXPECT_EQ(run(program, character(major, minor, kRead | kWrite)), 1) << major << ":" << minor;
  EXPECT_EQ(run(program, character(1, 1, kRead)), 0) << "mem";
  EXPECT_EQ(run(program, character(1, 11, kRead)), 0) << "kmsg";
  EXPECT_EQ(run(program, character(10, 229, kWrite)), 0) << "fuse";
  EXPECT_EQ(run(program, {BPF_DEVCG_DEV_BLOCK, kRead, 254, 0}), 0);
  EXPECT_EQ(run(program, {BPF_DEVCG_DEV_BLOCK, kMknod, 254, 0}), 1);
  EXPECT_EQ(run(program, character(1, 1, kMknod)), 1);
  EXPECT_EQ(run(program, character(1, 1, kMknod | kRead)), 0);
}

// Code behind an unconditional end is unreachable, which the verifier refuses.
TEST(CgroupDeviceFilter, StopsAtARuleForEverything) {
  const std::vector<DeviceRule> deny_then_one{{false, DeviceRule::Type::all, {}, {}},
                                              {true, DeviceRule::Type::character, 1, 3}};
  const std::vector<DeviceRule> behind{{true, DeviceRule::Type::block, 8, 0},
                                       {false, DeviceRule::Type::all, {}, {}},
                                       {true, DeviceRule::Type::character, 1, 3}};
  EXPECT_EQ(compile_device_rules(deny_then_one).size(), compile_device_rules(behind).size());
  EXPECT_EQ(run(compile_device_rules(behind), {BPF_DEVCG_DEV_BLOCK, kRead, 8, 0}), 0);
  EXPECT_EQ(run(compile_device_rules(behind), character(1, 3, kRead)), 1);
}

TEST(CgroupDeviceFilter, KnowsWhenEverythingIsAllowed) {
  const DeviceRule everything{true, DeviceRule::Type::all, {}, {}};
  const DeviceRule no_kmsg{false, DeviceRule::Type::character, 1, 11};
  DeviceRule read_all = everything, rest = everything;
  read_all.write = read_all.mknod = false;
  rest.read = false;
  EXPECT_TRUE(allows_everything(std::vector{no_kmsg, everything}));
  EXPECT_FALSE(allows_everything(std::vector{everything, no_kmsg}));
  EXPECT_TRUE(allows_everything(std::vector{read_all, rest}));
  EXPECT_FALSE(allows_everything(std::vector{read_all}));
  EXPECT_FALSE(allows_everything({}));
}

}  // namespace
}  // namespace minirun
