// Owns: points at which a test build can be told to fail or to die (MINIRUN_FAULT=KIND:N), so that
// the fault loop (tests/faults) reaches every step. In a normal build they are nothing.
//   point:N the parent's Nth point fails       die:N        SIGKILL there
//   parent:N the parent's Nth step fails       child:N      the child's
//   child-die:N the child ends at its Nth step list         tells all of them on standard error
// Must not: exist in a build that is shipped.
#pragma once

#include "base/result.h"
#include "stage/step.h"

namespace minirun {

#ifdef MINIRUN_FAULTS
/// The next point of the parent; fails with EIO or kills this process when it is the chosen one.
[[nodiscard]] Status fault_point(const char* name);
/// Puts the chosen fault in front of step N of the child's (or the parent's) steps.
[[nodiscard]] Steps with_fault(const Steps& steps, const char* kind);
#else
[[nodiscard]] inline Status fault_point(const char* /*name*/) {
  return {};
}
[[nodiscard]] inline const Steps& with_fault(const Steps& steps, const char* /*kind*/) {
  return steps;
}
#endif

}  // namespace minirun
