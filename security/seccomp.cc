// Owns: the conversation with libseccomp; no other file includes its header.
// Must not: load a filter, read files, or ask the running kernel what it knows.
#include "security/seccomp.h"

#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "security/seccomp_dispatch.h"
#include "security/seccomp_profile.h"

namespace minirun {
namespace {

using seccomp::ArchitecturePart;
using seccomp::Condition;
using seccomp::MultiplexedCall;
using seccomp::Operator;
using seccomp::Profile;
using seccomp::Rule;

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, Release>;

/// libseccomp probes the kernel for what it may accept; level 6 (TSYNC with a listener, Linux 5.7)
/// is all that there is, so a program does not depend on the machine that compiled it.
constexpr unsigned api_level = 6;
constexpr std::uint32_t x32_bit = 0x40000000;
/// Numbers from 424 are shared by all architectures; x32's own ones begin above this.
constexpr std::uint32_t last_shared_number = 511;

/// A rule for one system call that libseccomp knows; `number` is native, or its pseudo number.
struct NumberedRule {
  int number = 0;
  const std::string* name = nullptr;
  const Rule* rule = nullptr;
};

/// The profile with its names resolved: the same for every architecture.
struct Resolved {
  std::vector<NumberedRule> rules;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> newer;  ///< shared number, action
  std::vector<MultiplexedCall> opened_in_part;                 ///< let through under a condition
  std::vector<MultiplexedCall> settled;                        ///< decided without one
  std::vector<std::uint32_t> named_multiplexers;               ///< socketcall or ipc themselves
  std::vector<std::string> warnings;
};

bool contains(const auto& range, const auto& value) {
  return std::ranges::find(range, value) != range.end();
}

/// libseccomp returns a negative errno.
std::unexpected<Error> library_error(int code, std::string object, std::string detail) {
  return os_error(-code, std::move(object), "libseccomp: " + std::move(detail));
}

std::uint32_t token_of(std::string_view oci_name) {
  std::string name{oci_name.substr(std::string_view("SCMP_ARCH_").size())};
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return seccomp_arch_resolve_name(name.c_str());
}

scmp_arg_cmp to_library(const Condition& condition) {
  scmp_arg_cmp out{condition.argument, SCMP_CMP_EQ, condition.value, 0};
  switch (condition.op) {
    case Operator::ne:
      out.op = SCMP_CMP_NE;
      break;
    case Operator::lt:
      out.op = SCMP_CMP_LT;
      break;
    case Operator::le:
      out.op = SCMP_CMP_LE;
      break;
    case Operator::eq:
      out.op = SCMP_CMP_EQ;
      break;
    case Operator::ge:
      out.op = SCMP_CMP_GE;
      break;
    case Operator::gt:
      out.op = SCMP_CMP_GT;
      break;
    case Operator::masked_eq:
      out.op = SCMP_CMP_MASKED_EQ;
      out.datum_b = condition.value_two;
      break;
  }
  return out;
}

/// A name that libseccomp does not know: the dispatcher's to decide, or nobody's.
Status add_unknown(Resolved& resolved, const Profile& profile, const Rule& rule,
                   const std::string& name) {
  const std::optional<std::uint32_t> number = seccomp::newer_syscall_number(name);
  if (number && rule.conditions.empty()) {
    const std::pair<std::uint32_t, std::uint32_t> decision{*number, rule.action};
    if (!contains(resolved.newer, decision)) resolved.newer.push_back(decision);
    return {};
  }
  const std::string reason = number
                                 ? fmt::format("conditions on {} need a newer libseccomp than {}",
                                               name, libseccomp_version())
                                 : fmt::format("unknown system call \"{}\"", name);
  if (seccomp::is_relied_on(rule.action)) return plain_error(rule.field, reason);
  const bool open =
      seccomp::is_permissive(profile.default_action) && !seccomp::is_permissive(rule.action);
  resolved.warnings.push_back(fmt::format("{}: {}: the rule is skipped{}", rule.field, reason,
                                          open ? ", so the call is NOT refused" : ""));
  return {};
}

/// libseccomp turns `socket if family is 2` into the same and socketcall(SYS_SOCKET) of any family,
/// because it cannot see the family there: AF_ALG would be one int 0x80 away. Here is noted what
/// has to be taken back.
void note_multiplexed(Resolved& resolved, const Rule& rule, std::string_view name) {
  if (name == "socketcall") resolved.named_multiplexers.push_back(seccomp::socketcall_number);
  if (name == "ipc") resolved.named_multiplexers.push_back(seccomp::ipc_number);
  const std::optional<MultiplexedCall> call = seccomp::multiplexed_call(name);
  if (!call) return;
  if (rule.conditions.empty())
    resolved.settled.push_back(*call);
  else if (seccomp::is_permissive(rule.action))
    resolved.opened_in_part.push_back(*call);
}

/// A profile that says what the multiplexer itself gets is taken at its word, and one that lets
/// everything through by default is left with libseccomp's reading, which refuses too much.
std::vector<MultiplexedCall> refused_calls(const Resolved& resolved, const Profile& profile) {
  std::vector<MultiplexedCall> refused;
  if (seccomp::is_permissive(profile.default_action)) return refused;
  for (const MultiplexedCall& call : resolved.opened_in_part)
    if (!contains(resolved.named_multiplexers, call.number) && !contains(resolved.settled, call) &&
        !contains(refused, call))
      refused.push_back(call);
  return refused;
}

Result<Resolved> resolve(const Profile& profile) {
  Resolved resolved;
  for (const Rule& rule : profile.rules)
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) {
        TRY(add_unknown(resolved, profile, rule, name));
        continue;
      }
      note_multiplexed(resolved, rule, name);
      resolved.rules.push_back({number, &name, &rule});
    }
  // libseccomp keeps a list sorted by number, and walks it to insert: from the top down it is a
  // quarter faster (2.7 instead of 3.4 ms). Rules for one call keep their order.
  std::ranges::stable_sort(resolved.rules, std::ranges::greater{}, &NumberedRule::number);
  return resolved;
}

Status add_rule(void* context, const NumberedRule& numbered) {
  std::vector<scmp_arg_cmp> conditions;
  for (const Condition& condition : numbered.rule->conditions)
    conditions.push_back(to_library(condition));
  const int added =
      seccomp_rule_add_array(context, numbered.rule->action, numbered.number,
                             static_cast<unsigned>(conditions.size()), conditions.data());
  if (added == -EEXIST)
    return plain_error(numbered.rule->field,
                       fmt::format("{} already has another action for this", *numbered.name));
  if (added != 0)
    return library_error(added, numbered.rule->field, fmt::format("rule for {}", *numbered.name));
  return {};
}

/// The newest number, within those that all architectures share, that libseccomp has a name for.
std::optional<std::uint32_t> newest_known(std::uint32_t token, std::uint32_t base) {
  for (std::uint32_t number = last_shared_number; number > 0; --number) {
    const std::unique_ptr<char, decltype(&std::free)> name(
        seccomp_syscall_resolve_num_arch(token, static_cast<int>(base | number)), &std::free);
    if (name) return base | number;
  }
  return std::nullopt;
}

/// ENOSYS for what did not exist when libseccomp was made, instead of an errno that libc takes for
/// an answer. Only for an ERRNO default: whoever asks for a kill or a trap by default gets it.
std::optional<std::uint32_t> newer_action(std::uint32_t default_action) {
  if ((default_action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO) return std::nullopt;
  return SECCOMP_RET_ERRNO | std::uint32_t{ENOSYS};
}

/// libseccomp 2.5 exports to a descriptor only.
Result<std::vector<std::uint64_t>> export_program(void* context) {
  const Fd memory{::memfd_create("minirun-seccomp", MFD_CLOEXEC)};
  if (!memory) return os_error("seccomp", "memfd_create");
  if (const int code = seccomp_export_bpf(context, memory.get()); code != 0)
    return library_error(code, "seccomp", "export");
  struct stat facts{};
  if (::fstat(memory.get(), &facts) != 0) return os_error("seccomp", "fstat");
  const auto bytes = static_cast<std::size_t>(facts.st_size);
  std::vector<std::uint64_t> program(bytes / sizeof(sock_filter));
  if (::pread(memory.get(), program.data(), bytes, 0) != static_cast<ssize_t>(bytes))
    return os_error("seccomp", "pread");
  return program;
}

Status set_attributes(void* context) {
  // no_new_privs is a step of its own (NNP 0). A binary tree over the numbers instead of a chain
  // (OPTIMIZE 2): an uncached call costs some ten comparisons, not hundreds.
  const std::pair<scmp_filter_attr, std::uint32_t> attributes[] = {
      {SCMP_FLTATR_CTL_NNP, 0},
      {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
      {SCMP_FLTATR_CTL_OPTIMIZE, 2}};
  for (const auto& [attribute, value] : attributes)
    if (const int code = seccomp_attr_set(context, attribute, value); code != 0)
      return library_error(code, "seccomp", "attribute");
  return {};
}

/// A context for one architecture; nullopt when this libseccomp cannot make one: -EINVAL for an
/// architecture that it does not know, -EDOM for one of the other byte order.
Result<std::optional<Context>> make_context(const Profile& profile, std::uint32_t token) {
  Context context{seccomp_init(profile.default_action)};
  if (!context) return plain_error("linux.seccomp.defaultAction", "libseccomp refuses it");
  TRY(set_attributes(context.get()));
  if (token == seccomp_arch_native()) return context;
  const int added = token == 0 ? -EINVAL : seccomp_arch_add(context.get(), token);
  if (added == -EINVAL || added == -EDOM) return std::nullopt;
  if (added != 0) return library_error(added, "linux.seccomp.architectures", "add");
  if (const int code = seccomp_arch_remove(context.get(), seccomp_arch_native()); code != 0)
    return library_error(code, "linux.seccomp.architectures", "remove");
  return context;
}

ArchitecturePart make_part(const Resolved& resolved, const Profile& profile, std::uint32_t token) {
  ArchitecturePart part;
  const bool x32 = token == SCMP_ARCH_X32;
  part.audit_arch = x32 ? SCMP_ARCH_X86_64 : token;
  part.first = x32 ? x32_bit : 0;
  if (token == SCMP_ARCH_X86) part.refused = refused_calls(resolved, profile);
  part.refuse_action = profile.default_action;
  const std::optional<std::uint32_t> newest = newest_known(token, part.first);
  if (!newest) return part;  // MIPS counts from 4000, 5000, 6000
  part.newest = *newest;
  part.newer_last = x32                      ? x32_bit | last_shared_number
                    : token == SCMP_ARCH_ARM ? 0xeffffU  // __ARM_NR_BASE is 0xf0000
                                             : x32_bit - 1;
  part.newer_action = newer_action(profile.default_action);
  for (const auto& [number, action] : resolved.newer)
    part.newer.emplace_back(part.first | number, action);
  return part;
}

/// One program for each architecture: libseccomp's effort grows with the square of the number of
/// instructions. 6 ms instead of 28 for the default profile and three architectures.
Result<std::vector<ArchitecturePart>> make_parts(Resolved& resolved, const Profile& profile) {
  std::vector<std::pair<std::string, std::uint32_t>> wanted{{"", seccomp_arch_native()}};
  for (const std::string& name : profile.architectures) wanted.emplace_back(name, token_of(name));
  std::vector<std::uint32_t> done;
  std::vector<ArchitecturePart> parts;
  for (const auto& [name, token] : wanted) {
    if (contains(done, token)) continue;
    const std::optional<Context> context = TRY(make_context(profile, token));
    if (!context) {
      resolved.warnings.push_back(
          fmt::format("linux.seccomp.architectures: libseccomp {} cannot add {} here; its system "
                      "calls are killed",
                      libseccomp_version(), name));
      continue;
    }
    done.push_back(token);
    for (const NumberedRule& rule : resolved.rules) TRY(add_rule(context->get(), rule));
    parts.push_back(make_part(resolved, profile, token));
    parts.back().body = TRY(export_program(context->get()));
  }
  return parts;
}

}  // namespace

std::string libseccomp_version() {
  const scmp_version* version = ::seccomp_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->micro);
}

Result<SeccompProgram> compile_seccomp(const Seccomp& seccomp) {
  const Profile profile = TRY(seccomp::read_profile(seccomp));
  if (const int code = seccomp_api_set(api_level); code != 0)
    return library_error(code, "seccomp", "api level");
  Resolved resolved = TRY(resolve(profile));
  SeccompProgram program;
  program.flags = profile.flags;
  program.notify = profile.notify;
  program.filter = seccomp::join(TRY(make_parts(resolved, profile)));
  if (program.filter.size() > BPF_MAXINSNS)
    return plain_error("linux.seccomp",
                       fmt::format("the profile needs {} instructions, the kernel takes {}",
                                   program.filter.size(), BPF_MAXINSNS));
  program.warnings = profile.warnings;
  program.warnings.insert(program.warnings.end(), resolved.warnings.begin(),
                          resolved.warnings.end());
  return program;
}

}  // namespace minirun
