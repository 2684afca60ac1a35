#include "runtime/fault.h"

#ifdef MINIRUN_FAULTS

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/fault.h"

namespace minirun {
namespace {

/// What the report of a failure must name.
std::string name_of(const Step& step) {
  return step.field.empty() ? describe(step) : step.field;
}

}  // namespace

Status fault_point(const char* name) {
  static int count = -1;
  ++count;
  tell_fault("point", static_cast<std::size_t>(count), name);
  if (count == chosen_fault("point")) return os_error(EIO, name, "injected fault");
  if (count == chosen_fault("die")) ::kill(::getpid(), SIGKILL);
  return {};
}

Steps with_fault(const Steps& steps, const char* kind) {
  for (std::size_t i = 0; i < steps.size(); ++i) tell_fault(kind, i, name_of(steps[i]));
  const int fail = chosen_fault(kind);
  const int die = chosen_fault(std::string(kind) + "-die");
  const int at = fail >= 0 ? fail : die;
  if (at < 0 || static_cast<std::size_t>(at) >= steps.size()) return steps;
  Steps changed = steps;
  // The chosen step itself becomes the fault and keeps its field, so that the report names it.
  Step& step = changed[static_cast<std::size_t>(at)];
  step.field = name_of(step);
  step.n = {fail >= 0 ? EIO : SIGKILL};
  step.op = fail >= 0 ? Op::fail : Op::die;
  return changed;
}

}  // namespace minirun

#endif
