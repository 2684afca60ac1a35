// Owns: the rules of order of a child's steps (docs/architecture.md, "The order of steps"). They
// are checked over every plan by tests, and by minirun itself before it starts anything: a plan
// that breaks one is a defect that must not run.
#include <fmt/format.h>

#include <optional>

#include "stage/step.h"

namespace minirun {
namespace {

struct Rule {
  Op first;
  Op second;
  const char* reason;
};

// Holds where both are in the plan: every `first` comes before every `second`.
constexpr Rule before[] = {
    {Op::propagation, Op::attach_root, "mounts must not travel to the host"},
    {Op::become_root, Op::make_mount, "mounting needs the identity of the user namespace"},
    {Op::attach_root, Op::attach, "mounts go below the root"},
    {Op::attach, Op::mask, "a later mount would uncover what is masked"},
    {Op::attach, Op::readonly_path, "a later mount would be writable"},
    {Op::mask, Op::pivot_root, "the host's /dev/null is gone after the pivot"},
    {Op::pivot_root, Op::working_directory, "the directory must be inside the root"},
    {Op::pivot_root, Op::ids, "pivoting needs privileges"},
    {Op::pivot_root, Op::seccomp, "pivoting needs its system calls"},
    {Op::bounding, Op::ids, "dropping needs CAP_SETPCAP"},
    {Op::groups, Op::ids, "setgroups needs CAP_SETGID"},
    {Op::ids, Op::capset, "a change of ids changes the capability sets"},
    {Op::capset, Op::ambient, "ambient must be permitted and inheritable first"},
    {Op::rlimit, Op::capset, "raising a limit needs CAP_SYS_RESOURCE"},
    {Op::lsm_label, Op::no_new_privs, "no_new_privs may refuse the transition"},
    {Op::close_fds, Op::seccomp, "the filter may refuse close_range"},
    {Op::reset_signals, Op::seccomp, "the filter may refuse rt_sigaction"},
    {Op::barrier, Op::execute, "nothing runs before it is committed"},
    {Op::seccomp, Op::execute, "the program must not run unfiltered"},
    {Op::no_new_privs, Op::execute, "the program must not run without it"},
    {Op::capset, Op::execute, "the program must not run with more"},
};

std::optional<std::size_t> first_of(const Steps& steps, Op op) {
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (steps[i].op == op) return i;
  return std::nullopt;
}

std::optional<std::size_t> last_of(const Steps& steps, Op op) {
  for (std::size_t i = steps.size(); i-- > 0;)
    if (steps[i].op == op) return i;
  return std::nullopt;
}

}  // namespace

std::vector<std::string> order_violations(const Steps& steps) {
  std::vector<std::string> violations;
  for (const Rule& rule : before) {
    const auto last = last_of(steps, rule.first);
    const auto first = first_of(steps, rule.second);
    if (last && first && *last > *first)
      violations.push_back(fmt::format("\"{}\" must come before \"{}\": {}", name(rule.first),
                                       name(rule.second), rule.reason));
  }
  // A mount that is made where it belongs, in another one of the container.
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (steps[i].op == Op::make_mount && steps[i].n[5] != 0 &&
        (first_of(steps, Op::attach_root).value_or(0) > i ||
         first_of(steps, Op::mask).value_or(i) < i ||
         first_of(steps, Op::readonly_path).value_or(i) < i))
      violations.push_back(
          fmt::format("\"{}\" must come after the root and before the masks", describe(steps[i])));
  const auto seccomp = first_of(steps, Op::seccomp);
  const auto privileges = first_of(steps, Op::no_new_privs);
  const auto capset = first_of(steps, Op::capset);
  // seccomp(2): without no_new_privs the caller needs CAP_SYS_ADMIN, so before it is dropped.
  if (seccomp && privileges && *privileges > *seccomp)
    violations.emplace_back("no_new_privs must come before seccomp");
  if (seccomp && !privileges && capset && *capset < *seccomp)
    violations.emplace_back("without no_new_privs seccomp must come before capset");
  if (!steps.empty() && first_of(steps, Op::execute).value_or(steps.size()) != steps.size() - 1)
    violations.emplace_back("execute must be the last step");
  return violations;
}

}  // namespace minirun
