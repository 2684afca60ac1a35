// Owns: the textbook workload: its parts in order.
#include "probe/workload/textbook.h"

#include <cerrno>
#include <cstring>

namespace minirun::probe {

void unsupported_errno(Report& report, const char* metric, const char* call) {
  char text[128];
  std::snprintf(text, sizeof text, "%s: %s", call, std::strerror(errno));
  report.unsupported(metric, text);
}

bool run_textbook(const Options& options, Report& report) {
  const std::uint64_t length =
      options.milliseconds != 0 ? options.milliseconds : (options.quick ? 60 : 400);
  if (chosen(options, "process")) textbook_process(report, length, options.quick);
  if (chosen(options, "calls")) textbook_calls(report, length);
  if (chosen(options, "memory")) textbook_memory(report, length, options.quick);
  if (chosen(options, "faults")) textbook_faults(report, length, options);
  if (chosen(options, "files")) textbook_files(report, length, options);
  if (chosen(options, "ipc")) textbook_ipc(report, length);
  if (chosen(options, "polling")) textbook_polling(report, length, options.quick);
  if (chosen(options, "locks")) textbook_locks(report, length);
  return true;
}

}  // namespace minirun::probe
