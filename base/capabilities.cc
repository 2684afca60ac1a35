// Owns: the look-up of a capability by name. Must not: use the locale (names are ASCII).
#include "base/capabilities.h"

#include <linux/capability.h>

#include <algorithm>

namespace minirun {

static_assert(capability_names[CAP_CHECKPOINT_RESTORE] == "CAP_CHECKPOINT_RESTORE");
static_assert(capability_names[CAP_SYS_ADMIN] == "CAP_SYS_ADMIN");
static_assert(capability_names[CAP_SETFCAP] == "CAP_SETFCAP");
static_assert(default_capabilities == 0xa80425fb);

namespace {

constexpr std::string_view prefix = "CAP_";

constexpr char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool equal_ignoring_case(std::string_view text, std::string_view upper_case) {
  return std::ranges::equal(text, upper_case, [](char a, char b) { return upper(a) == b; });
}

}  // namespace

std::optional<unsigned> capability_from_name(std::string_view name) {
  if (name.size() >= prefix.size() && equal_ignoring_case(name.substr(0, prefix.size()), prefix))
    name.remove_prefix(prefix.size());
  for (unsigned number = 0; number < capability_names.size(); ++number)
    if (equal_ignoring_case(name, capability_names[number].substr(prefix.size()))) return number;
  return std::nullopt;
}

}  // namespace minirun
