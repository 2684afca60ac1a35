#include "runtime/plan_attributes.h"

#include <gtest/gtest.h>

#include <memory>

#include "runtime/seccomp_listener.h"

namespace minirun {
namespace {

std::string bits(std::initializer_list<int> bytes) {
  std::string text;
  for (const int byte : bytes) text += static_cast<char>(byte);
  return text;
}

TEST(PlanAttributes, MasksOfLists) {
  EXPECT_EQ(mask_of_list("0-3,7,9", 2), bits({0x8f, 2}));
  EXPECT_EQ(mask_of_list("15-40,99999999999", 2), bits({0, 0x80}));
  EXPECT_EQ(mask_of_list("", 1), bits({0}));
}

TEST(PlanAttributes, MemoryPolicyCountsOneBitMore) {
  // Not on the stack: gcc 12 warns of an uninitialized string in the optional there.
  const auto owned = std::make_unique<ContainerSpec>();
  ContainerSpec& spec = *owned;
  spec.memory_policy = MemoryPolicy{2, "1", 1U << 15};
  Steps steps;
  add_container_attributes(spec, steps);
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0].n[0], 2 | 1 << 15);
  EXPECT_EQ(steps[0].n[1], 1025);
  EXPECT_EQ(steps[0].text(0).size(), 128U);
  EXPECT_EQ(steps[0].text(0)[0], 2);
  steps.clear();
  spec.memory_policy = MemoryPolicy{4, "", 0};  // MPOL_LOCAL takes no nodes
  add_container_attributes(spec, steps);
  EXPECT_EQ(steps[0].n[1], 0);
}

TEST(PlanAttributes, LabelsNeedTheirKernel) {
  Process process;
  process.apparmor_profile = "p";
  process.selinux_label = "l";
  HostFacts facts;
  EXPECT_EQ(check_labels(process, facts).size(), 2U);
  facts.apparmor = facts.selinux = true;
  EXPECT_TRUE(check_labels(process, facts).empty());
  Steps steps;
  add_labels(process, Slot{5}, steps);
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].text(1), "exec p");
  EXPECT_EQ(steps[1].text(0), "self/attr/exec");
}

TEST(PlanAttributes, KeyringNamesDifferByNonce) {
  EXPECT_EQ(keyring_name("a", "00"), keyring_name("a", "00"));
  EXPECT_NE(keyring_name("a", "00"), keyring_name("a", "01"));
  EXPECT_TRUE(keyring_name("web", "x").starts_with("_ses.web."));
  EXPECT_EQ(keyring_name("web", "0123456789abcdef").find("0123456789abcdef"), std::string::npos);
}

TEST(PlanAttributes, ContainerProcessState) {
  ProcessState state{"1.3.0", "web", "creating", 7, 6, "/b", {}};
  EXPECT_EQ(container_process_state(state, ""),
            R"({"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7,"state":{"ociVersion":"1.3.0",)"
            R"("id":"web","status":"creating","pid":6,"bundle":"/b"}})");
  state.annotations = {{"k", "v"}};
  EXPECT_NE(container_process_state(state, "m\"").find(R"("metadata":"m\"")"), std::string::npos);
}

TEST(PlanAttributes, ListenerNeedsAnAgent) {
  const Status sent = send_listener("/nonexistent/agent.sock", "{}", 0);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().object, "linux.seccomp.listenerPath");
  EXPECT_EQ(sent.error().errnum, ENOENT);
}

}  // namespace
}  // namespace minirun
