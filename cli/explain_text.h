// Owns: how an Explanation looks: text of 80 to 120 columns, markdown.
// Must not: say anything that the Explanation does not.
#pragma once

#include <string>
#include <vector>

#include "runtime/explain.h"

namespace minirun::cli {

struct TextStyle {
  bool color = false;
  std::size_t columns = 100;
};
/// The terminal's width within 80..120 and colour, when `fd` is one; else 100 without colour.
[[nodiscard]] TextStyle style_for(int fd);

[[nodiscard]] std::string explanation_text(const Explanation& explanation, const TextStyle& style);
[[nodiscard]] std::string explanation_markdown(const Explanation& explanation);
/// Of a spec or a container; pods have kubernetes::plans_json.
[[nodiscard]] std::string explanation_json(const Explanation& explanation,
                                           const ContainerSpec& spec, const std::string& name);

}  // namespace minirun::cli
