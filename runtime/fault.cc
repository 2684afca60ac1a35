#include "runtime/fault.h"

#ifdef MINIRUN_FAULTS

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "base/file.h"

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

/// MINIRUN_FAULT=list: the loop learns what there is, so that a new step cannot escape it.
void tell(std::string_view kind, std::size_t index, std::string_view words) {
  const char* text = std::getenv("MINIRUN_FAULT");  // NOLINT(concurrency-mt-unsafe)
  if (text != nullptr && std::string_view(text) == "list")
    (void)write_all(STDERR_FILENO, fmt::format("fault: {} {} {}\n", kind, index, words), "stderr");
}

/// What the report of a failure must name.
std::string name_of(const Step& step) {
  return step.field.empty() ? describe(step) : step.field;
}

}  // namespace

Status fault_point(const char* name) {
  static int count = -1;
  ++count;
  tell("point", static_cast<std::size_t>(count), name);
  if (count == chosen("point")) return os_error(EIO, name, "injected fault");
  if (count == chosen("die")) ::kill(::getpid(), SIGKILL);
  return {};
}

Steps with_fault(const Steps& steps, const char* kind) {
  for (std::size_t i = 0; i < steps.size(); ++i) tell(kind, i, name_of(steps[i]));
  const int fail = chosen(kind);
  const int die = chosen(std::string(kind) + "-die");
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
