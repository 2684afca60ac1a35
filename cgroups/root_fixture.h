// Owns: the fixture of the tests with real cgroups: a place of their own below
// "/minirun-test-PID", gone afterwards, and processes to put there.
// Must not: be included by anything but tests.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "cgroups/apply.h"
#include "cgroups/device_filter.h"
#include "cgroups/discovery.h"
#include "cgroups/files.h"
#include "cgroups/stats.h"

namespace minirun {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class CgroupRoot : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto facts = discover_cgroups();
    ASSERT_TRUE(facts) << to_string(facts.error());
    host_.cgroup = *std::move(facts);
    host_.kernel_major = 6;
    host_.kernel_minor = 1;
    if (host_.cgroup.mount_point.empty()) GTEST_SKIP() << "no cgroup2 mount";
    top_ = "/minirun-test-" + std::to_string(::getpid());
  }

  void TearDown() override {
    if (top_.empty()) return;
    EXPECT_NE(::access((host_.cgroup.mount_point + top_).c_str(), F_OK), 0) << "left behind";
    (void)remove_cgroup(host_.cgroup, top_);
  }

  // Why a limit cannot be tested here; empty when it can.
  std::string missing(std::string_view controller) const {
    return why_missing(host_.cgroup, controller);
  }

  CgroupPlan plan(const ContainerSpec& resources = {}, const std::string& name = "c") const {
    ContainerSpec spec = resources;
    spec.cgroups_path = top_ + "/" + name;
    CgroupPlanResult result = plan_cgroup(spec, host_, "unused");
    for (const Finding& finding : result.findings)
      ADD_FAILURE() << finding.pointer << ": " << finding.message;
    return std::move(result.plan);
  }

  std::string text(const Cgroup& cgroup, const char* file) const {
    return read_beneath(cgroup.fd().get(), file).value_or("(absent)");
  }

  bool exists(const std::string& path) const {
    return ::access((host_.cgroup.mount_point + path).c_str(), F_OK) == 0;
  }

  HostFacts host_;
  std::string top_;
};

// A child that is in `cgroup` from its first instruction; its exit status is what `work` returns.
inline pid_t spawn(const CgroupFd& cgroup, const std::function<int()>& work) {
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<unsigned>(cgroup.get());
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  if (pid == 0) ::_exit(work());
  return pid;
}

inline int wait_status(pid_t pid) {
  int status = -1;
  ::waitpid(pid, &status, 0);
  return status;
}

inline int exit_code(pid_t pid) {
  const int status = wait_status(pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline int sleep_forever() {
  for (;;) ::pause();
}

inline void burn(std::chrono::milliseconds wall) {
  const auto end = Clock::now() + wall;
  while (Clock::now() < end) {
  }
}

// Touches `bytes` of new memory.
inline int hog(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  auto* byte = static_cast<volatile char*>(memory);
  for (std::size_t i = 0; i < bytes; i += 4096) byte[i] = 1;
  return 0;
}

}  // namespace minirun
