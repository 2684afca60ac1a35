#include "cli/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/file.h"
#include "runtime/container.h"
#include "spec/load.h"

namespace minirun::cli {

Result<Output> Output::open(const GlobalOptions& options) {
  Output output;
  output.json_ = options.log_format == "json";
  if (options.debug || options.log_level == "debug")
    output.log_level_ = output.print_level_ = Level::debug;
  else if (options.log_level == "warning")
    output.log_level_ = Level::warning;
  else if (options.log_level == "error")
    output.print_level_ = Level::error;
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

namespace {

/// One line that a terminal shows as it is: words of a document may have control characters, which
/// would move the cursor, or end the line and begin another that only looks like one of ours.
std::string visible(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", c);
    } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {  // the controls of ISO 6429, in UTF-8
      out += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

void Output::line(Level level, std::string_view message) {
  const char* word = level == Level::error     ? "error"
                     : level == Level::warning ? "warning"
                                               : "debug";
  const std::string words = fmt::format("minirun: {}: {}\n", word, visible(message));
  std::string text = words;
  if (json_) {
    const nlohmann::ordered_json object = {
        {"level", word}, {"msg", message}, {"time", timestamp()}};
    text = object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  // A full disk must not hide the cause.
  if (log_ && level <= log_level_) (void)write_all(log_.get(), text, "log");
  // Whoever reads standard error reads words, also where the log is JSON.
  if (level <= print_level_) print_error(log_ ? words : text);
}

void Output::error(std::string_view message) {
  line(Level::error, message);
}
void Output::error(const Error& failure) {
  error(sentence(failure));
}
void Output::warning(std::string_view message) {
  line(Level::warning, message);
}
void Output::debug(std::string_view message) {
  line(Level::debug, message);
}

bool Output::findings(const Findings& findings, bool warnings, std::string_view document) {
  std::vector<std::string> errors;
  for (const Finding& finding : findings) {
    const std::string where =
        fmt::format("{}: ", finding.pointer.empty() ? document : finding.pointer);
    if (finding.level == Finding::Level::error) {
      errors.push_back(where + finding.message);
    } else if (warnings) {
      warning(where + finding.message);
    }
  }
  if (json_ && !errors.empty())
    error(fmt::format("{}", fmt::join(errors, "; ")));
  else
    for (const std::string& words : errors) error(words);
  return !errors.empty();
}

void Output::left_out(const Findings& findings) {
  for (const Finding& finding : findings)
    if (finding.level == Finding::Level::warning &&
        finding.pointer.find("/capabilities") != std::string::npos)
      warning(finding.pointer + ": " + finding.message);
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
