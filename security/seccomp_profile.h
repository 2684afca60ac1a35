// Owns: the profile with its words read: numbers instead of names of actions, operators and flags.
// Must not: know libseccomp or system call numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "spec/model.h"

namespace minirun::seccomp {

enum class Operator { ne, lt, le, eq, ge, gt, masked_eq };

struct Condition {
  unsigned argument = 0;  ///< 0 to 5
  Operator op = Operator::eq;
  std::uint64_t value = 0;      ///< the mask when masked_eq
  std::uint64_t value_two = 0;  ///< what is left after the mask
  bool operator==(const Condition&) const = default;
};

struct Rule {
  std::vector<std::string> names;
  std::uint32_t action = 0;           ///< SECCOMP_RET_*, with its data
  std::vector<Condition> conditions;  ///< all must hold
  std::string field;                  ///< "linux.seccomp.syscalls[3]"
  bool operator==(const Rule&) const = default;
};

struct Profile {
  std::uint32_t default_action = 0;
  std::vector<std::string> architectures;  ///< checked OCI names
  unsigned flags = 0;
  bool notify = false;
  std::vector<Rule> rules;  ///< none with the default action, no argument twice in one rule
  std::vector<std::string> warnings;
  bool operator==(const Profile&) const = default;
};

/// Reads and checks the profile. Errors as in compile_seccomp().
[[nodiscard]] Result<Profile> read_profile(const Seccomp& seccomp);

/// True for KILL*, TRAP and NOTIFY: actions that an author counts on to happen.
[[nodiscard]] bool is_relied_on(std::uint32_t action);
/// True for ALLOW, LOG and TRACE: the call goes through.
[[nodiscard]] bool is_permissive(std::uint32_t action);

}  // namespace minirun::seccomp
