// Owns: tests of compile_seccomp: words, errors, flags, warnings and single rules.
// Must not: load a program (seccomp_load_test.cc does).
#include "security/seccomp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>

#include <cerrno>

#include "security/bpf_vm.h"

namespace minirun {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Seccomp profile(std::string default_action, std::vector<SeccompSyscall> syscalls) {
  Seccomp out;
  out.default_action = std::move(default_action);
  out.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
  out.syscalls = std::move(syscalls);
  return out;
}

SeccompSyscall rule(std::string name, std::string action, std::vector<SeccompArg> args = {}) {
  return {{std::move(name)}, std::move(action), std::nullopt, std::move(args)};
}

std::uint32_t verdict(const Seccomp& seccomp, const BpfCall& call) {
  const Result<SeccompProgram> program = compile_seccomp(seccomp);
  if (!program) {
    ADD_FAILURE() << to_string(program.error());
    return 0;
  }
  const auto out = run_bpf(program->filter, call);
  if (!out) ADD_FAILURE() << "the program is not valid";
  return out ? out->action : 0;
}

Error error_of(const Seccomp& seccomp) {
  const Result<SeccompProgram> program = compile_seccomp(seccomp);
  if (program) ADD_FAILURE() << "compiled";
  return program ? Error{} : program.error();
}

constexpr std::uint32_t errno_action(unsigned value) {
  return SECCOMP_RET_ERRNO | value;
}

TEST(Seccomp, EveryActionReachesTheKernelsNumber) {
  const std::pair<const char*, std::uint32_t> cases[] = {
      {"SCMP_ACT_ERRNO", errno_action(EPERM)},
      {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD},
      {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD},
      {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS},
      {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP},
      {"SCMP_ACT_TRACE", SECCOMP_RET_TRACE | EPERM},
      {"SCMP_ACT_LOG", SECCOMP_RET_LOG},
      {"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF}};
  for (const auto& [name, action] : cases) {
    EXPECT_EQ(verdict(profile("SCMP_ACT_ALLOW", {rule("getppid", name)}), {x86_64, 110, {}}),
              action)
        << name;
    EXPECT_EQ(verdict(profile("SCMP_ACT_ALLOW", {rule("getppid", name)}), {i386, 64, {}}), action)
        << name;
  }
  EXPECT_EQ(
      verdict(profile("SCMP_ACT_KILL", {rule("getppid", "SCMP_ACT_ALLOW")}), {x86_64, 110, {}}),
      SECCOMP_RET_ALLOW);
}

TEST(Seccomp, ErrnoOfRuleAndDefault) {
  Seccomp seccomp = profile("SCMP_ACT_ERRNO", {rule("getppid", "SCMP_ACT_ERRNO")});
  seccomp.default_errno_ret = ENOMEM;
  seccomp.syscalls[0].errno_ret = EAGAIN;
  EXPECT_EQ(verdict(seccomp, {x86_64, 110, {}}), errno_action(EAGAIN));
  EXPECT_EQ(verdict(seccomp, {x86_64, 39, {}}), errno_action(ENOMEM));
  seccomp.syscalls[0].errno_ret = 4094;
  EXPECT_EQ(verdict(seccomp, {x86_64, 110, {}}), errno_action(4094));
  seccomp.syscalls[0].errno_ret = 4095;
  EXPECT_EQ(error_of(seccomp).object, "linux.seccomp.syscalls[0].errnoRet");
  seccomp.syscalls[0] = rule("getppid", "SCMP_ACT_TRACE");
  seccomp.syscalls[0].errno_ret = 65535;
  EXPECT_EQ(verdict(seccomp, {x86_64, 110, {}}), SECCOMP_RET_TRACE | 65535U);
}

TEST(Seccomp, ErrnoWhereTheActionHasNoneIsAnError) {
  for (const std::string_view action : seccomp_actions) {
    Seccomp seccomp = profile("SCMP_ACT_ALLOW", {rule("getppid", std::string(action))});
    seccomp.syscalls[0].errno_ret = 1;
    const bool takes = action == "SCMP_ACT_ERRNO" || action == "SCMP_ACT_TRACE";
    EXPECT_EQ(compile_seccomp(seccomp).has_value(), takes) << action;
  }
  Seccomp seccomp = profile("SCMP_ACT_ALLOW", {});
  seccomp.default_errno_ret = 1;
  EXPECT_EQ(error_of(seccomp).object, "linux.seccomp.defaultErrnoRet");
}

TEST(Seccomp, UnknownWordsAreErrorsThatNameTheField) {
  EXPECT_EQ(error_of(profile("", {})).object, "linux.seccomp.defaultAction");
  EXPECT_EQ(error_of(profile("SCMP_ACT_ALLOW", {rule("read", "SCMP_ACT_DENY")})).object,
            "linux.seccomp.syscalls[0].action");
  EXPECT_EQ(error_of(profile("SCMP_ACT_ALLOW", {{{}, "SCMP_ACT_KILL", {}, {}}})).object,
            "linux.seccomp.syscalls[0].names");
  EXPECT_EQ(error_of(profile("SCMP_ACT_ALLOW",
                             {rule("read", "SCMP_ACT_KILL", {{0, 1, 0, "SCMP_CMP_IN"}})}))
                .object,
            "linux.seccomp.syscalls[0].args[0].op");
  EXPECT_EQ(error_of(profile("SCMP_ACT_ALLOW",
                             {rule("read", "SCMP_ACT_KILL", {{6, 1, 0, "SCMP_CMP_EQ"}})}))
                .object,
            "linux.seccomp.syscalls[0].args[0].index");
  Seccomp seccomp = profile("SCMP_ACT_ALLOW", {});
  seccomp.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_Z80"};
  EXPECT_EQ(error_of(seccomp).object, "linux.seccomp.architectures[1]");
  seccomp = profile("SCMP_ACT_ALLOW", {});
  seccomp.flags = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"};
  EXPECT_EQ(error_of(seccomp).object, "linux.seccomp.flags[1]");
}

TEST(Seccomp, Flags) {
  const auto flags_of = [](Seccomp seccomp) {
    const auto program = compile_seccomp(seccomp);
    return program ? program->flags : ~0U;
  };
  Seccomp seccomp = profile("SCMP_ACT_ALLOW", {});
  EXPECT_EQ(flags_of(seccomp), SECCOMP_FILTER_FLAG_SPEC_ALLOW) << "absent";
  seccomp.flags.emplace();
  EXPECT_EQ(flags_of(seccomp), 0U) << "present and empty";
  seccomp.flags = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"};
  EXPECT_EQ(flags_of(seccomp), SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG);
  seccomp.syscalls = {rule("mkdir", "SCMP_ACT_NOTIFY")};
  EXPECT_EQ(flags_of(seccomp), SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
                                   SECCOMP_FILTER_FLAG_NEW_LISTENER |
                                   SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
  seccomp.flags = {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
  EXPECT_EQ(flags_of(seccomp), 0x20U | SECCOMP_FILTER_FLAG_NEW_LISTENER);
  seccomp.syscalls.clear();
  const auto program = compile_seccomp(seccomp);
  ASSERT_TRUE(program);
  EXPECT_EQ(program->flags, 0U);
  EXPECT_THAT(program->warnings, SizeIs(1));
}

TEST(Seccomp, NotifyThatWouldWaitForItselfIsRefused) {
  EXPECT_THAT(error_of(profile("SCMP_ACT_NOTIFY", {})).detail, HasSubstr("default"));
  for (const char* name : {"write", "sendmsg"})
    EXPECT_EQ(
        error_of(profile("SCMP_ACT_ALLOW", {{{"mkdir", name}, "SCMP_ACT_NOTIFY", {}, {}}})).object,
        "linux.seccomp.syscalls[0].names[1]");
  const auto program =
      compile_seccomp(profile("SCMP_ACT_ALLOW", {rule("mkdir", "SCMP_ACT_NOTIFY")}));
  ASSERT_TRUE(program);
  EXPECT_TRUE(program->notify);
}

TEST(Seccomp, ConditionsOnSeveralArgumentsAreANDed) {  // CVE-2017-18367
  const Seccomp seccomp = profile(
      "SCMP_ACT_ERRNO",
      {rule("openat", "SCMP_ACT_ALLOW", {{0, 3, 0, "SCMP_CMP_EQ"}, {2, 0, 0, "SCMP_CMP_EQ"}})});
  EXPECT_EQ(verdict(seccomp, {x86_64, 257, {3, 9, 0}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {x86_64, 257, {3, 9, 1}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {x86_64, 257, {4, 9, 0}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {i386, 295, {3, 9, 1}}), errno_action(EPERM));
}

TEST(Seccomp, OneArgumentTwiceMeansEither) {
  const Seccomp seccomp =
      profile("SCMP_ACT_ERRNO", {rule("personality", "SCMP_ACT_ALLOW",
                                      {{0, 0, 0, "SCMP_CMP_EQ"}, {0, 8, 0, "SCMP_CMP_EQ"}})});
  EXPECT_EQ(verdict(seccomp, {x86_64, 135, {8}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {x86_64, 135, {0}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {x86_64, 135, {1}}), errno_action(EPERM));
  const auto program = compile_seccomp(seccomp);
  ASSERT_TRUE(program);
  EXPECT_THAT(program->warnings, SizeIs(1));
}

TEST(Seccomp, MaskedCompareSeesThroughHighBits) {  // CVE-2019-10063: TIOCSTI | 1 << 32
  const std::uint64_t tiocsti = 0x5412;
  const Seccomp masked =
      profile("SCMP_ACT_ALLOW",
              {rule("ioctl", "SCMP_ACT_ERRNO", {{1, 0xffffffff, tiocsti, "SCMP_CMP_MASKED_EQ"}})});
  EXPECT_EQ(verdict(masked, {x86_64, 16, {0, tiocsti}}), errno_action(EPERM));
  EXPECT_EQ(verdict(masked, {x86_64, 16, {0, tiocsti | 1ULL << 32}}), errno_action(EPERM));
  EXPECT_EQ(verdict(masked, {x86_64, 16, {0, tiocsti + 1}}), SECCOMP_RET_ALLOW);
  // EQ compares 64 bits, as the specification has it.
  const Seccomp equal = profile(
      "SCMP_ACT_ALLOW", {rule("ioctl", "SCMP_ACT_ERRNO", {{1, tiocsti, 0, "SCMP_CMP_EQ"}})});
  EXPECT_EQ(verdict(equal, {x86_64, 16, {0, tiocsti | 1ULL << 32}}), SECCOMP_RET_ALLOW);
}

TEST(Seccomp, AnArchitectureThatIsNotListedIsKilled) {
  Seccomp seccomp = profile("SCMP_ACT_ALLOW", {});
  seccomp.architectures.clear();
  EXPECT_EQ(verdict(seccomp, {x86_64, 39, {}}), SECCOMP_RET_ALLOW) << "native is always there";
  EXPECT_EQ(verdict(seccomp, {i386, 20, {}}), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(seccomp, {x86_64, x32_bit | 39, {}}), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(seccomp, {AUDIT_ARCH_AARCH64, 172, {}}), SECCOMP_RET_KILL_PROCESS);
  seccomp.default_action = "SCMP_ACT_ERRNO";  // with the prologue in front
  EXPECT_EQ(verdict(seccomp, {i386, 451, {}}), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(seccomp, {x86_64, x32_bit | 451, {}}), SECCOMP_RET_KILL_PROCESS);
  seccomp.architectures = {"SCMP_ARCH_X86"};
  EXPECT_EQ(verdict(seccomp, {i386, 20, {}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {x86_64, 39, {}}), errno_action(EPERM));
}

TEST(Seccomp, ArchitecturesThatThisMachineCannotExecuteChangeNothing) {
  Seccomp seccomp = profile("SCMP_ACT_ALLOW", {rule("mkdir", "SCMP_ACT_ERRNO")});
  const auto three = compile_seccomp(seccomp);
  for (const std::string_view name : seccomp_architectures)
    seccomp.architectures.emplace_back(name);
  const auto all = compile_seccomp(seccomp);
  ASSERT_TRUE(three && all);
  EXPECT_EQ(*three, *all);
}

TEST(Seccomp, UnknownNames) {
  for (const char* action : {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG"}) {
    Seccomp seccomp = profile("SCMP_ACT_ERRNO", {rule("no_such_call", action)});
    seccomp.syscalls[0].errno_ret = action == std::string_view("SCMP_ACT_ERRNO")
                                        ? std::optional<std::uint32_t>{5}
                                        : std::nullopt;
    const auto program = compile_seccomp(seccomp);
    ASSERT_TRUE(program) << action;
    ASSERT_THAT(program->warnings, SizeIs(1));
    EXPECT_THAT(program->warnings[0], HasSubstr("no_such_call"));
  }
  for (const char* action :
       {"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_NOTIFY"})
    EXPECT_EQ(error_of(profile("SCMP_ACT_ALLOW", {rule("no_such_call", action)})).object,
              "linux.seccomp.syscalls[0]");
  const auto open =
      compile_seccomp(profile("SCMP_ACT_ALLOW", {rule("no_such_call", "SCMP_ACT_ERRNO")}));
  ASSERT_TRUE(open);
  EXPECT_THAT(open->warnings[0], HasSubstr("NOT refused"));
}

TEST(Seccomp, CallsNewerThanLibseccomp) {
  Seccomp seccomp = profile("SCMP_ACT_ERRNO", {rule("fchmodat2", "SCMP_ACT_ALLOW"),
                                               rule("mseal", "SCMP_ACT_KILL_PROCESS")});
  for (const std::uint32_t base : {0U, x32_bit}) {
    EXPECT_EQ(verdict(seccomp, {x86_64, base | 452, {}}), SECCOMP_RET_ALLOW);
    EXPECT_EQ(verdict(seccomp, {x86_64, base | 462, {}}), SECCOMP_RET_KILL_PROCESS);
    EXPECT_EQ(verdict(seccomp, {x86_64, base | 463, {}}), errno_action(ENOSYS));
    EXPECT_EQ(verdict(seccomp, {x86_64, base | 500, {}}), errno_action(ENOSYS));
    EXPECT_EQ(verdict(seccomp, {x86_64, base | 450, {}}), errno_action(EPERM));
    EXPECT_EQ(verdict(seccomp, {x86_64, base | 0, {}}), errno_action(EPERM));
  }
  EXPECT_EQ(verdict(seccomp, {x86_64, x32_bit | 513, {}}), errno_action(EPERM))
      << "x32's own sigreturn";
  EXPECT_EQ(verdict(seccomp, {i386, 452, {}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {i386, 463, {}}), errno_action(ENOSYS));
  EXPECT_EQ(verdict(seccomp, {i386, 450, {}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {x86_64, 9999, {}}), errno_action(ENOSYS));

  seccomp.default_action = "SCMP_ACT_KILL_PROCESS";
  EXPECT_EQ(verdict(seccomp, {x86_64, 452, {}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {x86_64, 463, {}}), SECCOMP_RET_KILL_PROCESS)
      << "asked for by default";
  seccomp = profile("SCMP_ACT_ALLOW", {rule("mseal", "SCMP_ACT_ERRNO")});
  EXPECT_EQ(verdict(seccomp, {x86_64, 462, {}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {x86_64, 463, {}}), SECCOMP_RET_ALLOW);
}

TEST(Seccomp, TheFirstRuleWithoutConditionsWins) {
  const SeccompSyscall denied = rule("read", "SCMP_ACT_ERRNO");
  const SeccompSyscall allowed = rule("read", "SCMP_ACT_ALLOW");
  const SeccompSyscall in_part = rule("read", "SCMP_ACT_ALLOW", {{0, 1, 0, "SCMP_CMP_EQ"}});
  const BpfCall call{x86_64, 0, {1}};
  EXPECT_EQ(verdict(profile("SCMP_ACT_TRAP", {denied, allowed}), call), errno_action(EPERM));
  EXPECT_EQ(verdict(profile("SCMP_ACT_TRAP", {allowed, denied}), call), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(profile("SCMP_ACT_TRAP", {in_part, denied}), call), errno_action(EPERM));
  const auto program = compile_seccomp(profile("SCMP_ACT_TRAP", {allowed, denied}));
  ASSERT_TRUE(program);
  ASSERT_THAT(program->warnings, SizeIs(1));
  EXPECT_THAT(program->warnings[0], HasSubstr("linux.seccomp.syscalls[1]: read"));
}

TEST(Seccomp, AKillThatWouldBeLostIsAnError) {
  EXPECT_THAT(error_of(profile("SCMP_ACT_ERRNO",
                               {rule("read", "SCMP_ACT_ALLOW"), rule("read", "SCMP_ACT_KILL")}))
                  .detail,
              HasSubstr("read"));
  EXPECT_EQ(error_of(profile("SCMP_ACT_ERRNO",
                             {rule("mseal", "SCMP_ACT_KILL"), rule("ioctl", "SCMP_ACT_ALLOW"),
                              rule("ioctl", "SCMP_ACT_KILL", {{1, 0x5412, 0, "SCMP_CMP_EQ"}})}))
                .object,
            "linux.seccomp.syscalls[2]");
}

TEST(Seccomp, OfConditionalRulesTheFirstThatHoldsWins) {
  const Seccomp seccomp =
      profile("SCMP_ACT_ERRNO", {rule("read", "SCMP_ACT_KILL", {{0, 1, 0, "SCMP_CMP_EQ"}}),
                                 rule("read", "SCMP_ACT_ALLOW", {{0, 2, 0, "SCMP_CMP_LE"}})});
  EXPECT_EQ(verdict(seccomp, {x86_64, 0, {1}}), SECCOMP_RET_KILL_THREAD);
  EXPECT_EQ(verdict(seccomp, {x86_64, 0, {2}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {x86_64, 0, {3}}), errno_action(EPERM));
}

TEST(Seccomp, TheSameRuleTwiceIsFine) {
  EXPECT_EQ(
      verdict(profile("SCMP_ACT_ERRNO", {{{"read", "read", "mseal"}, "SCMP_ACT_ALLOW", {}, {}},
                                         rule("read", "SCMP_ACT_ALLOW"),
                                         rule("mseal", "SCMP_ACT_ALLOW")}),
              {x86_64, 0, {}}),
      SECCOMP_RET_ALLOW);
}

TEST(Seccomp, AConditionOnSocketDoesNotOpenSocketcall) {  // SEC-58
  const SeccompSyscall inet = rule("socket", "SCMP_ACT_ALLOW", {{0, 2, 0, "SCMP_CMP_EQ"}});
  const Seccomp seccomp = profile("SCMP_ACT_ERRNO", {inet, rule("bind", "SCMP_ACT_ALLOW")});
  EXPECT_EQ(verdict(seccomp, {i386, 359, {2}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {i386, 359, {38}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {i386, 102, {1}}), errno_action(EPERM)) << "SYS_SOCKET";
  EXPECT_EQ(verdict(seccomp, {i386, 102, {2}}), SECCOMP_RET_ALLOW) << "SYS_BIND";
  // Taken at its word: the multiplexer itself, or socket without a condition.
  EXPECT_EQ(verdict(profile("SCMP_ACT_ERRNO", {inet, rule("socketcall", "SCMP_ACT_ALLOW")}),
                    {i386, 102, {1}}),
            SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(profile("SCMP_ACT_ERRNO", {inet, rule("socket", "SCMP_ACT_ALLOW")}),
                    {i386, 102, {1}}),
            SECCOMP_RET_ALLOW);
  // Where everything is allowed by default, the whole multiplexed form is refused.
  const Seccomp open =
      profile("SCMP_ACT_ALLOW", {rule("socket", "SCMP_ACT_ERRNO", {{0, 38, 0, "SCMP_CMP_EQ"}})});
  EXPECT_EQ(verdict(open, {i386, 102, {1}}), errno_action(EPERM));
}

TEST(Seccomp, AConditionOnSystemVDoesNotOpenIpc) {
  const Seccomp seccomp =
      profile("SCMP_ACT_ERRNO", {rule("shmget", "SCMP_ACT_ALLOW", {{1, 4096, 0, "SCMP_CMP_LE"}}),
                                 rule("semop", "SCMP_ACT_ALLOW")});
  EXPECT_EQ(verdict(seccomp, {i386, 395, {0, 4096}}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(seccomp, {i386, 117, {23, 0, 8192}}), errno_action(EPERM));
  EXPECT_EQ(verdict(seccomp, {i386, 117, {1}}), SECCOMP_RET_ALLOW) << "SEMOP";
}

TEST(Seccomp, TooLongAProgramIsAnErrorAndNotACut) {
  Seccomp seccomp = profile("SCMP_ACT_ERRNO", {});
  for (std::uint64_t i = 0; i < 5000; ++i)
    seccomp.syscalls.push_back(rule("ioctl", "SCMP_ACT_ALLOW", {{1, i * 7, 0, "SCMP_CMP_EQ"}}));
  seccomp.architectures.clear();
  EXPECT_THAT(error_of(seccomp).detail, HasSubstr("4096"));
}

TEST(Seccomp, TheProgramDoesNotDependOnTheRunningKernel) {
  const Seccomp seccomp = profile("SCMP_ACT_ERRNO", {rule("mkdir", "SCMP_ACT_NOTIFY")});
  const auto once = compile_seccomp(seccomp);
  const auto again = compile_seccomp(seccomp);
  ASSERT_TRUE(once && again);
  EXPECT_EQ(*once, *again);
  EXPECT_THAT(once->warnings, IsEmpty());
}

}  // namespace
}  // namespace minirun
