// Owns: how the tests of this folder speak of findings. Must not: be included by anything else.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "spec/load.h"

namespace minirun {

inline auto error_at(const std::string& pointer, const std::string& words) {
  return testing::AllOf(testing::Field(&Finding::level, Finding::Level::error),
                        testing::Field(&Finding::pointer, pointer),
                        testing::Field(&Finding::message, testing::HasSubstr(words)));
}

inline auto warning_at(const std::string& pointer, const std::string& words) {
  return testing::AllOf(testing::Field(&Finding::level, Finding::Level::warning),
                        testing::Field(&Finding::pointer, pointer),
                        testing::Field(&Finding::message, testing::HasSubstr(words)));
}

inline void PrintTo(const Finding& finding, std::ostream* out) {
  *out << to_string(finding);
}

}  // namespace minirun
