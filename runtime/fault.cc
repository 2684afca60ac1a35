#include "runtime/fault.h"

#ifdef MINIRUN_FAULTS

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace minirun {
namespace {

/// MINIRUN_FAULT is KIND:N; N of `kind`, or -1.
int chosen(std::string_view kind) {
  const char* text = std::getenv("MINIRUN_FAULT");  // NOLINT(concurrency-mt-unsafe)
  if (text == nullptr) return -1;
  const std::string_view fault = text;
  const std::size_t colon = fault.find(':');
  if (fault.substr(0, colon) != kind || colon == std::string_view::npos) return -1;
  return std::atoi(text + colon + 1);  // NOLINT
}

}  // namespace

Status fault_point(const char* name) {
  static int count = -1;
  ++count;
  if (count == chosen("point")) return os_error(EIO, name, "injected fault");
  if (count == chosen("die")) ::kill(::getpid(), SIGKILL);
  return {};
}

Steps with_fault(const Steps& steps, const char* kind) {
  const int fail = chosen(kind);
  const int die = chosen(std::string(kind) + "-die");
  const int at = fail >= 0 ? fail : die;
  if (at < 0 || static_cast<std::size_t>(at) >= steps.size()) return steps;
  Steps changed = steps;
  // The chosen step itself becomes the fault and keeps its field, so that the report names it.
  Step& step = changed[static_cast<std::size_t>(at)];
  if (step.field.empty()) step.field = describe(step);
  step.n = {fail >= 0 ? EIO : SIGKILL};
  step.op = fail >= 0 ? Op::fail : Op::die;
  return changed;
}

}  // namespace minirun

#endif
