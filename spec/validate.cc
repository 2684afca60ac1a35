// Owns: the entry points of validation, ids and sysctl keys.
// Must not: know the rules of the parts (validate_process.cc, ...).
#include "spec/validate.h"

#include <algorithm>

#include "spec/places.h"

namespace minirun {

Findings validate(const ContainerSpec& spec, Format format) {
  Reporter report(format);
  validate_process(spec, report);
  validate_isolation(spec, report);
  validate_files(spec, report);
  validate_limits(spec, report);
  validate_seccomp(spec, report);
  return report.take();
}

Findings validate_resources(const ContainerSpec& spec, Format format) {
  Reporter report(format);
  validate_limits(spec, report);
  return report.take();
}

Status validate_id(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '+' || c == '.' || c == '-';
  };
  if (id.empty() || id.size() > 128 || id == "." || id == ".." ||
      !std::all_of(id.begin(), id.end(), allowed))
    return plain_error("container id " + quote_text(id),
                       "expected 1 to 128 of the characters A-Z a-z 0-9 _ + . - and not \".\" or "
                       "\"..\"");
  return {};
}

Result<std::string> sysctl_path(std::string_view key) {
  const std::size_t first = key.find_first_of("./");
  const char separator = first == std::string_view::npos ? '.' : key[first];
  std::string path;
  std::size_t start = 0;
  for (std::size_t i = 0; i <= key.size(); ++i) {
    if (i < key.size() && key[i] != separator) {
      if (key[i] == '\0') return plain_error("sysctl", "a NUL in the key");
      path.push_back(separator == '.' && key[i] == '/' ? '.' : key[i]);
      continue;
    }
    const std::string_view component = std::string_view(path).substr(start);
    if (component.empty() || component == "." || component == "..")
      return plain_error("sysctl " + quote_text(key),
                         "expected a name such as net.ipv4.ip_forward");
    if (i < key.size()) path.push_back('/');
    start = path.size();
  }
  if (path.size() > 1024) return plain_error("sysctl", "a key of more than 1024 bytes");
  return path;
}

bool is_cpu_list(std::string_view text) {
  // One number at most is remembered: "3-1" is refused by the kernel, so here as well.
  std::uint32_t number = 0, low = 0;
  bool digit = false, range = false;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    if (c >= '0' && c <= '9') {
      if (number > 1'000'000) return false;
      number = number * 10 + static_cast<std::uint32_t>(c - '0');
      digit = true;
    } else if (c == '-' && digit && !range) {
      range = true;
      low = number;
      number = 0;
      digit = false;
    } else if (c == ',' && digit) {
      if (range && low > number) return false;
      range = digit = false;
      number = 0;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace minirun
