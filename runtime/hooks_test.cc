#include "runtime/hooks.h"

#include <gtest/gtest.h>

#include <csignal>

#include "runtime/child_program.h"
#include "runtime/standard_pipes.h"

namespace minirun {
namespace {

Record some_record() {
  Record record;
  record.id = "box";
  record.bundle = "/bundle";
  record.oci_version = "1.2.0";
  record.annotations = {{"a", "b"}};
  return record;
}

TEST(HookState, HasTheFieldsOfTheSpecification) {
  EXPECT_EQ(hook_state(some_record(), "creating", 7),
            R"({"ociVersion":"1.2.0","id":"box","status":"creating","pid":7,)"
            R"("bundle":"/bundle","annotations":{"a":"b"}})");
}

TEST(HookState, WithoutAProcessHasNoPid) {
  Record record = some_record();
  record.annotations.clear();
  EXPECT_EQ(hook_state(record, "stopped", 0),
            R"({"ociVersion":"1.2.0","id":"box","status":"stopped","bundle":"/bundle"})");
}

ChildProgram shell(const std::string& script) {
  ChildProgram program;
  program.input = "input";
  program.body = [script] { return execute("/bin/sh", {"sh", "-c", script}, {"A=b"}); };
  return program;
}

TEST(ChildProgramTest, KeepsTheEndOfTheOutput) {
  ChildProgram program = shell("cat; echo $A; echo 0123456789 >&2; exit 3");
  program.output_limit = 8;
  const Result<ChildEnd> end = run_child(program);
  ASSERT_TRUE(end) << to_string(end.error());
  EXPECT_EQ(end->exit_code, 3);
  EXPECT_EQ(end->output, "3456789\n");
  EXPECT_EQ(run_child(shell("cat; printf $A"))->output, "inputb");
}

TEST(ChildProgramTest, TellsWhyTheBodyCouldNotBegin) {
  ChildProgram program;
  program.body = [] { return execute("/no/such/program", {"x"}, {}); };
  const Result<ChildEnd> end = run_child(program);
  ASSERT_TRUE(end) << to_string(end.error());
  ASSERT_TRUE(end->failure);
  EXPECT_EQ(end->failure->errnum, ENOENT);
  EXPECT_EQ(end->failure->object, "/no/such/program");
}

TEST(ChildProgramTest, KillsTheGroupAfterItsTime) {
  ChildProgram program = shell("sleep 30 & sleep 30");
  program.timeout = std::chrono::seconds(1);
  const Result<ChildEnd> end = run_child(program);
  ASSERT_TRUE(end) << to_string(end.error());
  EXPECT_TRUE(end->timed_out);
  EXPECT_EQ(end->signal, SIGKILL);
}

TEST(HostUid, FollowsTheMappingOfAUserNamespace) {
  ContainerSpec spec;
  Process process;
  process.user.uid = 5;
  EXPECT_EQ(host_uid(spec, process), 5U);
  spec.namespaces.push_back({.type = NamespaceType::user, .path = ""});
  EXPECT_EQ(host_uid(spec, process), std::nullopt);
  spec.uid_mappings = {{.container_id = 0, .host_id = 1000, .size = 1},
                       {.container_id = 1, .host_id = 100000, .size = 5}};
  EXPECT_EQ(host_uid(spec, process), 100004U);
  process.user.uid = 6;
  EXPECT_EQ(host_uid(spec, process), std::nullopt);
}

}  // namespace
}  // namespace minirun
