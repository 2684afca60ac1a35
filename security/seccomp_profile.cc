// Owns: reading the words of a seccomp profile and refusing those that make no sense.
// Must not: know libseccomp or system call numbers.
#include "security/seccomp_profile.h"

#include <fmt/format.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "security/seccomp.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV  // Linux 5.19
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace minirun::seccomp {
namespace {

/// The largest errno that libseccomp accepts; the kernel's MAX_ERRNO is 4095.
constexpr std::uint32_t max_errno = 4094;

struct Action {
  std::string_view name;
  std::uint32_t value;
  std::uint32_t data_max;  ///< largest errnoRet, 0: takes none
};

constexpr std::array<Action, 9> actions = {{
    {"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, 0},
    {"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, max_errno},
    {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD, 0},
    {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, 0},
    {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, 0},
    {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP, 0},
    {"SCMP_ACT_TRACE", SECCOMP_RET_TRACE, SECCOMP_RET_DATA},
    {"SCMP_ACT_LOG", SECCOMP_RET_LOG, 0},
    {"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF, 0},
}};
static_assert(actions.size() == seccomp_actions.size());

constexpr std::array<std::pair<std::string_view, Operator>, 7> operators = {{
    {"SCMP_CMP_NE", Operator::ne},
    {"SCMP_CMP_LT", Operator::lt},
    {"SCMP_CMP_LE", Operator::le},
    {"SCMP_CMP_EQ", Operator::eq},
    {"SCMP_CMP_GE", Operator::ge},
    {"SCMP_CMP_GT", Operator::gt},
    {"SCMP_CMP_MASKED_EQ", Operator::masked_eq},
}};

constexpr std::array<unsigned, 4> flag_values = {SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG,
                                                 SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                                                 SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV};
static_assert(flag_values.size() == seccomp_flags.size());

/// The action with its errno. EPERM when ERRNO or TRACE come without one (config-linux.md).
Result<std::uint32_t> read_action(std::string_view name, std::optional<std::uint32_t> errno_ret,
                                  const std::string& action_field, const std::string& errno_field) {
  const auto* found = std::ranges::find(actions, name, &Action::name);
  if (found == actions.end())
    return plain_error(action_field, fmt::format("unknown action \"{}\"", name));
  if (errno_ret && found->data_max == 0)
    return plain_error(errno_field, fmt::format("{} takes no errno", name));
  if (errno_ret && *errno_ret > found->data_max)
    return plain_error(errno_field, fmt::format("{} is above {}, the most that {} can carry",
                                                *errno_ret, found->data_max, name));
  if (found->data_max == 0) return found->value;
  return found->value | errno_ret.value_or(EPERM);
}

Result<Condition> read_condition(const SeccompArg& arg, const std::string& field) {
  if (arg.index > 5)
    return plain_error(field + ".index",
                       fmt::format("{} is not the index of an argument, 0 to 5", arg.index));
  const auto* found =
      std::ranges::find(operators, arg.op, &std::pair<std::string_view, Operator>::first);
  if (found == operators.end())
    return plain_error(field + ".op", fmt::format("unknown operator \"{}\"", arg.op));
  return Condition{arg.index, found->second, arg.value, arg.value_two};
}

bool names_an_argument_twice(const std::vector<Condition>& conditions) {
  for (std::size_t i = 0; i < conditions.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (conditions[i].argument == conditions[j].argument) return true;
  return false;
}

/// The child hands the listener over by sendmsg(2) and reports failures by write(2), after the
/// program is loaded: a notification for those would wait for an agent that has no listener yet.
Status check_notify(const SeccompSyscall& syscall, const std::string& field) {
  for (std::size_t i = 0; i < syscall.names.size(); ++i)
    if (syscall.names[i] == "write" || syscall.names[i] == "sendmsg")
      return plain_error(
          fmt::format("{}.names[{}]", field, i),
          fmt::format("SCMP_ACT_NOTIFY for {0} cannot work: the listener is handed over after the "
                      "filter is loaded, and handing it over needs {0}",
                      syscall.names[i]));
  return {};
}

Status add_rules(Profile& profile, const SeccompSyscall& syscall, std::string field) {
  const std::uint32_t action =
      TRY(read_action(syscall.action, syscall.errno_ret, field + ".action", field + ".errnoRet"));
  if (syscall.names.empty()) return plain_error(field + ".names", "at least one name is needed");
  std::vector<Condition> conditions;
  for (std::size_t i = 0; i < syscall.args.size(); ++i)
    conditions.push_back(
        TRY(read_condition(syscall.args[i], fmt::format("{}.args[{}]", field, i))));
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (conditions[i].op == Operator::masked_eq &&
        (conditions[i].value_two & ~conditions[i].value) != 0)
      profile.warnings.push_back(
          fmt::format("{}.args[{}]: bits of valueTwo outside of the mask are ignored", field, i));
  if (action == SECCOMP_RET_USER_NOTIF) {
    TRY(check_notify(syscall, field));
    profile.notify = true;
  }
  if (action == profile.default_action) return {};
  if (!names_an_argument_twice(conditions)) {
    profile.rules.push_back({syscall.names, action, std::move(conditions), std::move(field)});
    return {};
  }
  profile.warnings.push_back(
      field + ".args: one argument is named twice: the conditions are alternatives, not a sum");
  for (const Condition& condition : conditions)
    profile.rules.push_back({syscall.names, action, {condition}, field});
  return {};
}

Status read_flags(Profile& profile, const Seccomp& seccomp) {
  if (!seccomp.flags) profile.flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  for (std::size_t i = 0; seccomp.flags && i < seccomp.flags->size(); ++i) {
    const auto* found = std::ranges::find(seccomp_flags, (*seccomp.flags)[i]);
    if (found == seccomp_flags.end())
      return plain_error(fmt::format("linux.seccomp.flags[{}]", i),
                         fmt::format("unknown flag \"{}\"", (*seccomp.flags)[i]));
    profile.flags |= flag_values[static_cast<std::size_t>(found - seccomp_flags.begin())];
  }
  return {};
}

/// Two rules for one name: libseccomp lets the first one without conditions win over all others,
/// silently. Here the losers are named, and a loser that its author counts on is an error.
Status drop_overruled(Profile& profile) {
  std::map<std::string, const Rule*, std::less<>> winners;
  for (const Rule& rule : profile.rules)
    if (rule.conditions.empty())
      for (const std::string& name : rule.names) winners.try_emplace(name, &rule);
  for (Rule& rule : profile.rules)
    for (auto name = rule.names.begin(); name != rule.names.end();) {
      const auto winner = winners.find(*name);
      if (winner == winners.end() || winner->second->action == rule.action) {
        ++name;
        continue;
      }
      const std::string reason =
          fmt::format("{} is decided without conditions by {}", *name, winner->second->field);
      if (is_relied_on(rule.action)) return plain_error(rule.field, reason);
      profile.warnings.push_back(fmt::format("{}: {}: the rule is skipped", rule.field, reason));
      name = rule.names.erase(name);
    }
  return {};
}

/// Flags that depend on whether there is a listener. TSYNC and a listener both want the return
/// value of seccomp(2); the kernel takes them together only with TSYNC_ESRCH (Linux 5.7).
void settle_flags(Profile& profile) {
  if (profile.notify) {
    profile.flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if ((profile.flags & SECCOMP_FILTER_FLAG_TSYNC) != 0)
      profile.flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  } else if ((profile.flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) != 0) {
    profile.flags &= ~unsigned{SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV};
    profile.warnings.push_back(
        "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV means nothing without a "
        "SCMP_ACT_NOTIFY rule (the kernel refuses it there) and is left out");
  }
}

}  // namespace

bool is_relied_on(std::uint32_t action) {
  switch (action & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_USER_NOTIF:
      return true;
    default:
      return false;
  }
}

bool is_permissive(std::uint32_t action) {
  switch (action & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_TRACE:
      return true;
    default:
      return false;
  }
}

Result<Profile> read_profile(const Seccomp& seccomp) {
  Profile profile;
  profile.default_action =
      TRY(read_action(seccomp.default_action, seccomp.default_errno_ret,
                      "linux.seccomp.defaultAction", "linux.seccomp.defaultErrnoRet"));
  if (profile.default_action == SECCOMP_RET_USER_NOTIF)
    return plain_error("linux.seccomp.defaultAction",
                       "SCMP_ACT_NOTIFY cannot be the default: handing the listener over would "
                       "itself wait for an answer");
  for (std::size_t i = 0; i < seccomp.architectures.size(); ++i) {
    const std::string& name = seccomp.architectures[i];
    if (std::ranges::find(seccomp_architectures, name) == seccomp_architectures.end())
      return plain_error(fmt::format("linux.seccomp.architectures[{}]", i),
                         fmt::format("unknown architecture \"{}\"", name));
    profile.architectures.push_back(name);
  }
  TRY(read_flags(profile, seccomp));
  for (std::size_t i = 0; i < seccomp.syscalls.size(); ++i)
    TRY(add_rules(profile, seccomp.syscalls[i], fmt::format("linux.seccomp.syscalls[{}]", i)));
  TRY(drop_overruled(profile));
  settle_flags(profile);
  return profile;
}

}  // namespace minirun::seccomp
