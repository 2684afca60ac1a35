// Owns: the conversation with libseccomp, whose tables of names and numbers are used; no other file
// of the program includes its header. Must not: load a filter or ask the running kernel what it
// knows.
#include "security/seccomp.h"

#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "security/seccomp_bpf.h"
#include "security/seccomp_profile.h"
#include "security/seccomp_syscalls.h"

namespace minirun {
namespace {

using seccomp::Choice;
using seccomp::Decision;
using seccomp::Operator;
using seccomp::Profile;
using seccomp::Rule;

constexpr std::uint32_t x32_bit = 0x40000000;
/// Numbers from 424 are shared by all architectures; x32's own ones begin above this.
constexpr std::uint32_t last_shared_number = 511;
/// ptrace(2) skips a system call by this number, and seccomp sees it. Not an x32 call.
constexpr std::uint32_t skipped_number = 0xffffffff;

/// Only what this machine can execute is worth code: a system call of anything else cannot happen.
struct Target {
  std::string_view oci_name;
  std::uint32_t token;  ///< of libseccomp
  std::uint32_t audit_arch;
  std::uint32_t first;  ///< least number of its own
  std::uint32_t last;   ///< greatest number that a newer system call may get
};
constexpr Target targets[] = {
#if defined(__x86_64__)
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, 0, x32_bit - 1},
    {"SCMP_ARCH_X86", SCMP_ARCH_X86, AUDIT_ARCH_I386, 0, x32_bit - 1},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32, AUDIT_ARCH_X86_64, x32_bit, x32_bit | last_shared_number},
#elif defined(__aarch64__)
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, 0, x32_bit - 1},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM, AUDIT_ARCH_ARM, 0, 0xeffff},  // __ARM_NR_BASE is 0xf0000
#else
#error "which architectures can this one execute?"
#endif
};

/// The rules of one system call name, in the profile's order.
using RulesByName = std::map<std::string_view, std::vector<Choice>>;

RulesByName by_name(const Profile& profile) {
  RulesByName out;
  for (const Rule& rule : profile.rules)
    for (const std::string& name : rule.names) {
      std::vector<Choice>& choices = out[name];
      if (rule.conditions.empty()) choices.clear();  // it wins: see read_profile()
      if (choices.empty() || !choices.back().conditions.empty())
        choices.push_back({rule.conditions, rule.action});
    }
  return out;
}

bool is_known(const std::string& name) {
  return seccomp_syscall_resolve_name(name.c_str()) != __NR_SCMP_ERROR ||
         seccomp::newer_syscall_number(name);
}

/// Names that nobody knows: skipped, unless the author counts on the rule.
Status check_names(const Profile& profile, std::vector<std::string>& warnings) {
  for (const Rule& rule : profile.rules)
    for (const std::string& name : rule.names) {
      if (is_known(name)) continue;
      const std::string reason = fmt::format("unknown system call \"{}\"", name);
      if (seccomp::is_relied_on(rule.action)) return plain_error(rule.field, reason);
      const bool open =
          seccomp::is_permissive(profile.default_action) && !seccomp::is_permissive(rule.action);
      warnings.push_back(fmt::format("{}: {}: the rule is skipped{}", rule.field, reason,
                                     open ? ", so the call is NOT refused" : ""));
    }
  return {};
}

/// The number of a name on one architecture; libseccomp gives negative ones to what is not there.
std::optional<std::uint32_t> number_of(std::string_view name, const Target& target) {
  if (target.token == SCMP_ARCH_X86)
    if (const auto call = seccomp::multiplexed_call(name)) return call->direct;
  const int number = seccomp_syscall_resolve_name_arch(target.token, std::string(name).c_str());
  if (number >= 0) return static_cast<std::uint32_t>(number);
  if (number != __NR_SCMP_ERROR) return std::nullopt;
  const auto newer = seccomp::newer_syscall_number(name);
  return newer ? std::optional{target.first | *newer} : std::nullopt;
}

/// The newest number, within those that all architectures share, that libseccomp has a name for.
std::uint32_t newest_known(const Target& target) {
  for (std::uint32_t number = last_shared_number; number > 0; --number) {
    const std::unique_ptr<char, decltype(&std::free)> name(
        seccomp_syscall_resolve_num_arch(target.token, static_cast<int>(target.first | number)),
        &std::free);
    if (name) return target.first | number;
  }
  return target.first;
}

/// ENOSYS for what did not exist when libseccomp was made, instead of an errno that libc takes for
/// an answer. Only for an ERRNO default: whoever asks for a kill or a trap by default gets it.
std::uint32_t newer_action(std::uint32_t default_action) {
  if ((default_action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO) return default_action;
  return SECCOMP_RET_ERRNO | std::uint32_t{ENOSYS};
}

/// socketcall and ipc hide the arguments behind a pointer, so conditions of `socket` cannot be
/// checked there: the call gets the most careful of the answers, the default or else the first rule
/// that does not let it through. AF_ALG would be one int 0x80 away otherwise.
std::uint32_t careful_action(const std::vector<Choice>& choices, std::uint32_t default_action) {
  if (choices.front().conditions.empty()) return choices.front().action;
  if (!seccomp::is_permissive(default_action)) return default_action;
  for (const Choice& choice : choices)
    if (!seccomp::is_permissive(choice.action)) return choice.action;
  return default_action;
}

/// What a multiplexer of 32-bit x86 gets: rules for its own name come first.
Decision multiplexer(const RulesByName& rules, std::string_view name, std::uint32_t number,
                     std::uint32_t default_action) {
  Decision decision{{}, default_action};
  if (const auto own = rules.find(name); own != rules.end()) decision.choices = own->second;
  for (const auto& [call_name, choices] : rules) {
    const auto call = seccomp::multiplexed_call(call_name);
    if (!call || call->number != number) continue;
    // ipc takes the call from the lower 16 bits, a version from the upper ones (ipc/syscall.c).
    const std::uint64_t mask = number == seccomp::ipc_number ? 0xffff : 0xffffffff;
    decision.choices.push_back(
        {{{0, Operator::masked_eq, mask, call->call}}, careful_action(choices, default_action)});
  }
  return decision;
}

void fill(std::map<std::uint32_t, Decision>& table, const Target& target, const RulesByName& rules,
          std::uint32_t default_action) {
  table[target.first] = {{}, default_action};
  table[newest_known(target) + 1] = {{}, newer_action(default_action)};
  table[target.last + 1] = {{}, default_action};
  for (const auto& [name, choices] : rules)
    if (const auto number = number_of(name, target))
      seccomp::decide(table, *number, {choices, default_action});
  if (target.token != SCMP_ARCH_X86) return;
  for (const auto& [name, number] :
       {std::pair<std::string_view, std::uint32_t>{"socketcall", seccomp::socketcall_number},
        {"ipc", seccomp::ipc_number}})
    seccomp::decide(table, number, multiplexer(rules, name, number, default_action));
}

std::vector<seccomp::Architecture> architectures(const Profile& profile) {
  const RulesByName rules = by_name(profile);
  std::vector<seccomp::Architecture> out;
  for (const Target& target : targets) {
    const bool native = &target == &targets[0];
    const bool listed =
        std::ranges::find(profile.architectures, target.oci_name) != profile.architectures.end();
    auto same = std::ranges::find(out, target.audit_arch, &seccomp::Architecture::audit_arch);
    if (native || (listed && same == out.end())) {
      out.push_back({target.audit_arch, {}});
      same = std::prev(out.end());
    }
    if (native || listed) {
      fill(same->table, target, rules, profile.default_action);
    } else if (same != out.end()) {  // x32 beside x86_64
      same->table[target.first] = {{}, SECCOMP_RET_KILL_PROCESS};
    }
    if (native) seccomp::decide(same->table, skipped_number, {{}, profile.default_action});
  }
  return out;
}

}  // namespace

std::string libseccomp_version() {
  const scmp_version* version = ::seccomp_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->micro);
}

Result<SeccompProgram> compile_seccomp(const Seccomp& seccomp) {
  const Profile profile = TRY(seccomp::read_profile(seccomp));
  SeccompProgram program;
  program.flags = profile.flags;
  program.notify = profile.notify;
  program.warnings = profile.warnings;
  TRY(check_names(profile, program.warnings));
  program.filter = seccomp::make_program(architectures(profile));
  if (program.filter.size() > BPF_MAXINSNS)
    return plain_error("linux.seccomp",
                       fmt::format("the profile needs {} instructions, the kernel takes {}",
                                   program.filter.size(), BPF_MAXINSNS));
  return program;
}

}  // namespace minirun
