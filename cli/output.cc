#include "cli/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "runtime/container.h"
#include "spec/load.h"

namespace minirun::cli {

Result<Output> Output::open(const GlobalOptions& options) {
  Output output;
  output.json_ = options.log_format == "json";
  output.debug_ = options.debug || options.log_level == "debug";
  if (!output.json_ && options.log_format != "text")
    return plain_error("--log-format",
                       fmt::format("\"{}\" is neither text nor json", options.log_format));
  if (!options.log.empty()) {
    output.log_ =
        Fd(::open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
    if (!output.log_) return os_error(options.log, "cannot open the log file");
  }
  return output;
}

std::string sentence(const Error& failure) {
  std::string text = to_string(failure);
  if (failure.errnum != 0) text += fmt::format(" ({})", errno_name(failure.errnum));
  return text;
}

void Output::line(std::string_view level, std::string_view message) {
  std::string text;
  if (json_) {
    const nlohmann::ordered_json object = {
        {"level", level}, {"msg", message}, {"time", timestamp()}};
    text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  } else {
    text = fmt::format("minirun: {}: {}\n", level, message);
  }
  if (log_) (void)write_all(log_.get(), text, "log");  // a full disk must not hide the cause
  // Whoever reads standard error reads words, also where the log is JSON.
  if (log_ && json_)
    print_error(fmt::format("minirun: {}: {}\n", level, message));
  else
    print_error(text);
}

void Output::error(std::string_view message) {
  line("error", message);
}
void Output::error(const Error& failure) {
  error(sentence(failure));
}
void Output::warning(std::string_view message) {
  line("warning", message);
}
void Output::debug(std::string_view message) {
  if (debug_) line("debug", message);
}

bool Output::findings(const Findings& findings, bool warnings) {
  std::string errors;
  int count = 0;
  for (const Finding& finding : findings) {
    const std::string where = finding.pointer.empty() ? "" : finding.pointer + ": ";
    if (finding.level == Finding::Level::error) {
      errors += (count++ == 0 ? "" : "\n") + where + finding.message;
    } else if (warnings) {
      warning(where + finding.message);
    }
  }
  if (count == 0) return false;
  if (json_) {
    for (char& c : errors)
      if (c == '\n') c = ';';
    error(errors);
    return true;
  }
  for (std::size_t at = 0; at <= errors.size();) {
    const std::size_t end = std::min(errors.find('\n', at), errors.size());
    error(std::string_view(errors).substr(at, end - at));
    at = end + 1;
  }
  return true;
}

bool Output::positioned(std::string_view file, const Findings& findings, bool warnings) {
  bool failed = false;
  for (const Finding& finding : findings) {
    std::string where(file == "-" ? "standard input" : file);
    if (finding.line > 0) where += fmt::format(":{}:{}", finding.line, finding.column);
    if (!finding.pointer.empty()) where += ": " + finding.pointer;
    if (finding.level == Finding::Level::error) {
      failed = true;
      error(where + ": " + finding.message);
    } else if (warnings) {
      warning(where + ": " + finding.message);
    }
  }
  return failed;
}

bool print(std::string_view text) {
  return write_all(STDOUT_FILENO, text, "stdout").has_value();
}

void print_error(std::string_view text) {
  (void)write_all(STDERR_FILENO, text, "stderr");
}

}  // namespace minirun::cli
