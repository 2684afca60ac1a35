#include "security/seccomp_verdict.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>

#include <csignal>

#include "security/seccomp.h"
#include "spec/default_seccomp.h"

namespace minirun {
namespace {

constexpr std::uint64_t fork_flags = CLONE_PARENT | SIGCHLD;

std::vector<std::uint64_t> filter_of(const Seccomp& profile) {
  const auto program = compile_seccomp(profile);
  EXPECT_TRUE(program);
  return program ? program->filter : std::vector<std::uint64_t>{};
}

TEST(LetsThrough, TheDefaultProfileAllowsAForkAndNoNewNamespace) {
  const auto filter = filter_of(default_seccomp(0));
  EXPECT_TRUE(lets_through(filter, {SYS_clone, {fork_flags}}));
  EXPECT_FALSE(lets_through(filter, {SYS_clone, {fork_flags | CLONE_NEWUSER}}));
  EXPECT_TRUE(lets_through(filter, {SYS_setsid}));
  EXPECT_FALSE(lets_through(filter, {SYS_init_module}));
}

TEST(LetsThrough, EveryActionButAllowAndLogStops) {
  for (const char* action : {"SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP",
                             "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY", "SCMP_ACT_LOG"}) {
    Seccomp profile;
    profile.default_action = "SCMP_ACT_ALLOW";
    profile.syscalls = {{.names = {"clone"}, .action = action, .errno_ret = {}, .args = {}}};
    const auto filter = filter_of(profile);
    EXPECT_EQ(lets_through(filter, {SYS_clone, {fork_flags}}),
              std::string_view(action) == "SCMP_ACT_LOG")
        << action;
    EXPECT_TRUE(lets_through(filter, {SYS_setsid})) << action;
  }
}

TEST(LetsThrough, WhatTheKernelWouldRefuseAllowsNothing) {
  EXPECT_FALSE(lets_through({}, {SYS_setsid}));
  EXPECT_FALSE(lets_through({0xffff}, {SYS_setsid}));
}

}  // namespace
}  // namespace minirun
