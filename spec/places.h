// Owns: where a thing of the model stands in the document of each format.
// Must not: be included outside spec/.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "spec/json.h"
#include "spec/validate.h"

namespace minirun {

/// Collects findings at pointers of one format.
class Reporter {
 public:
  explicit Reporter(Format format) : format_(format) {}

  /// `oci` and `short_form` are the pointers of the same thing. A Pod's reader knows its own
  /// document and checks before; what is left for it is named as in the short form.
  void error(std::string_view oci, std::string_view short_form, std::string message) {
    add(Finding::Level::error, oci, short_form, std::move(message));
  }
  void warning(std::string_view oci, std::string_view short_form, std::string message) {
    add(Finding::Level::warning, oci, short_form, std::move(message));
  }
  /// At a value whose origin is known.
  void error_at(const ContainerSpec& spec, const std::string& origin, std::string_view oci,
                std::string_view short_form, std::string message) {
    const auto found = spec.origins.find(origin);
    if (found == spec.origins.end()) return error(oci, short_form, std::move(message));
    const std::string place = pointer_of_field(found->second.field);
    error(place, place, fmt::format("\"{}\": {}", found->second.text, message));
  }
  [[nodiscard]] Findings take() { return std::move(findings_); }
  [[nodiscard]] Format format() const { return format_; }

  /// "mounts[4].source" -> "/mounts/4/source". A key that has a dot itself is not recoverable.
  [[nodiscard]] static std::string pointer_of_field(std::string_view field) {
    std::string out = "/";
    for (char c : field) {
      if (c == '.' || c == '[')
        out.push_back('/');
      else if (c != ']')
        out.push_back(c);
    }
    return out;
  }

 private:
  void add(Finding::Level level, std::string_view oci, std::string_view short_form,
           std::string message) {
    const std::string_view pointer = format_ == Format::oci ? oci : short_form;
    add_finding(findings_, {level, std::string(pointer), std::move(message)});
  }

  Format format_;
  Findings findings_;
};

void validate_process(const ContainerSpec& spec, Reporter& report);
void validate_isolation(const ContainerSpec& spec, Reporter& report);
void validate_files(const ContainerSpec& spec, Reporter& report);
void validate_limits(const ContainerSpec& spec, Reporter& report);
void validate_seccomp(const ContainerSpec& spec, Reporter& report);

}  // namespace minirun
