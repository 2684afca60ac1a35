#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace minirun {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return plain_error("n", "is odd");
  return n / 2;
}

Result<int> quarter(int n) {
  return half(TRY(half(n)));
}

TEST(Result, TryReturnsTheValueOrTheError) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).error(), (Error{0, "n", "is odd", {}}));
}

TEST(Result, OneLineOutermostContextFirst) {
  Error error = Error{ENOSPC, "memory.max", "write 5", {}}.in("cgroup /a").in("run");
  EXPECT_EQ(to_string(error), "run: cgroup /a: memory.max: write 5: No space left on device");
}

TEST(Result, ErrnoNames) {
  EXPECT_EQ(errno_name(ENOENT), "ENOENT");
  EXPECT_EQ(errno_name(4711), "errno 4711");
}

}  // namespace
}  // namespace minirun
