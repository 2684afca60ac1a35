#include "base/fault.h"

#ifdef MINIRUN_FAULTS

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <string>

#include "base/file.h"

namespace minirun {

int chosen_fault(std::string_view kind) {
  const char* text = std::getenv("MINIRUN_FAULT");  // NOLINT(concurrency-mt-unsafe)
  if (text == nullptr) return -1;
  const std::string_view fault = text;
  const std::size_t colon = fault.find(':');
  if (fault.substr(0, colon) != kind || colon == std::string_view::npos) return -1;
  return std::atoi(text + colon + 1);  // NOLINT
}

void tell_fault(std::string_view kind, std::size_t index, std::string_view words) {
  const char* text = std::getenv("MINIRUN_FAULT");  // NOLINT(concurrency-mt-unsafe)
  if (text != nullptr && std::string_view(text) == "list")
    (void)write_all(STDERR_FILENO, fmt::format("fault: {} {} {}\n", kind, index, words), "stderr");
}

Status fault_step(std::string_view kind, std::string_view words) {
  static std::map<std::string, int, std::less<>> counts;
  const int index = counts[std::string(kind)]++;
  tell_fault(kind, static_cast<std::size_t>(index), words);
  if (index == chosen_fault(kind)) return os_error(EIO, std::string(words), "injected fault");
  if (index == chosen_fault(std::string(kind) + "-die")) ::kill(::getpid(), SIGKILL);
  return {};
}

}  // namespace minirun

#endif
