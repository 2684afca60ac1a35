#include "stage/step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "stage/freestanding/interpreter.h"

namespace minirun {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Steps small_child() {
  return {{.op = Op::propagation, .n = {1 << 19, 1}},
          {.op = Op::attach_root, .n = {1}},
          {.op = Op::attach, .n = {2, 1}, .s = {"/proc"}, .field = "mounts[0]"},
          {.op = Op::mask, .n = {1, 3}, .s = {"/proc/kcore"}},
          {.op = Op::pivot_root},
          {.op = Op::bounding, .n = {0, 40}},
          {.op = Op::ids, .n = {0, 0}},
          {.op = Op::capset},
          {.op = Op::no_new_privs},
          {.op = Op::barrier},
          {.op = Op::seccomp},
          {.op = Op::execute, .s = {StringList{"/bin/true"}, StringList{"true"}, StringList{}}}};
}

TEST(StepOrder, AGoodPlanHasNoViolation) {
  EXPECT_THAT(order_violations(small_child()), IsEmpty());
}

TEST(StepOrder, EverySwapOfTwoRuledStepsIsSeen) {
  Steps steps = small_child();
  std::swap(steps[6], steps[7]);  // capabilities before ids
  EXPECT_THAT(order_violations(steps), SizeIs(1));
  steps = small_child();
  std::swap(steps[8], steps[10]);  // seccomp before no_new_privs, while capset came before it
  EXPECT_THAT(order_violations(steps), Not(IsEmpty()));
  steps = small_child();
  steps.push_back({.op = Op::new_session});
  EXPECT_THAT(order_violations(steps), SizeIs(1));
}

TEST(StepOrder, WithoutNoNewPrivsTheFilterComesBeforeCapset) {
  Steps steps = small_child();
  steps.erase(steps.begin() + 8);
  EXPECT_THAT(order_violations(steps), SizeIs(1));
}

TEST(Encode, TheInterpreterReadsBackWhatWasWritten) {
  const Steps steps = {
      {.op = Op::home, .n = {5, 1000}, .s = {StringList{"A=1", "B=2"}}},
      {.op = Op::execute,
       .s = {StringList{"/bin/x"}, StringList{"x", "", "z"}, StringList{"A=1", "B=2"}}}};
  std::string program = encode(steps, std::array{-1, 7, 9}, true).value();
  wire::Context context;
  context.base = program.data();
  context.program = reinterpret_cast<const wire::Program*>(program.data());
  EXPECT_EQ(context.program->size, program.size());
  ASSERT_EQ(context.program->fd_count, 3U);
  EXPECT_EQ(reinterpret_cast<const int*>(context.base + context.program->fds)[2], 9);
  wire::relocate(context);
  wire::relocate(context);  // harmless
  const auto* flat = reinterpret_cast<const wire::Step*>(context.base + context.program->steps);
  EXPECT_EQ(flat[0].n[1], 1000);
  EXPECT_EQ(flat[0].s[0], flat[1].s[2]) << "home adds to the environment that execute uses";
  char** argv = context.list(flat[1].s[1]);
  EXPECT_STREQ(argv[0], "x");
  EXPECT_STREQ(argv[1], "");
  EXPECT_STREQ(argv[2], "z");
  EXPECT_EQ(argv[3], nullptr);
  char** env = context.list(flat[1].s[2]);
  EXPECT_STREQ(env[1], "B=2");
  EXPECT_EQ(env[2], nullptr);
  EXPECT_EQ(env[3], nullptr) << "room for HOME";
}

TEST(Describe, AFailureNamesTheFieldTheCallAndTheKernelsWords) {
  const Steps steps = {
      {.op = Op::make_mount, .s = {"tmpfs", StringList{"size", "64megs"}}, .field = "mounts[4]"}};
  wire::Failure failure{};
  failure.call = static_cast<std::uint32_t>(wire::Call::fsconfig);
  failure.errnum = EINVAL;
  const char words[] = "tmpfs: Bad value for 'size'\x1b";
  failure.detail_length = sizeof words - 1;
  std::memcpy(failure.detail, words, sizeof words - 1);
  const Error error = describe_failure(steps, failure);
  EXPECT_EQ(error.object, "mounts[4]");
  EXPECT_EQ(error.errnum, EINVAL);
  EXPECT_THAT(error.detail, HasSubstr("size=64megs"));
  EXPECT_THAT(error.detail, HasSubstr("(kernel: tmpfs: Bad value for 'size'?)"));
}

TEST(Describe, EveryOperationAndCallHasAName) {
  for (int op = 0; op < static_cast<int>(Op::count_); ++op) {
    EXPECT_NE(name(static_cast<Op>(op)), "?") << op;
    EXPECT_NE(describe({.op = static_cast<Op>(op)}), "?") << op;
  }
}

}  // namespace
}  // namespace minirun
