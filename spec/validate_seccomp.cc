// Owns: the rules of the seccomp object that need no knowledge of system calls.
// Must not: know libseccomp.
#include <algorithm>

#include "spec/places.h"
#include "spec/words.h"

namespace minirun {
namespace {

bool takes_errno(std::string_view action) {
  return std::any_of(seccomp_action_words.begin(), seccomp_action_words.end(),
                     [&](const Word<bool>& word) { return word.name == action && word.value; });
}

/// config-linux.md: errnoRet with an action that does not support it must be an error.
void check_errno(std::string_view action, const std::optional<std::uint32_t>& errno_ret,
                 const std::string& place, Reporter& report) {
  if (!errno_ret || action.empty()) return;
  if (!takes_errno(action))
    report.error(
        "/linux" + place, place,
        fmt::format("{}, expected only with SCMP_ACT_ERRNO or SCMP_ACT_TRACE", *errno_ret));
  else if (action == "SCMP_ACT_ERRNO" && *errno_ret > 4095)  // MAX_ERRNO
    report.error("/linux" + place, place, fmt::format("{}, expected at most 4095", *errno_ret));
}

}  // namespace

void validate_seccomp(const ContainerSpec& spec, Reporter& report) {
  if (!spec.seccomp) return;
  const Seccomp& seccomp = *spec.seccomp;
  check_errno(seccomp.default_action, seccomp.default_errno_ret, "/seccomp/defaultErrnoRet",
              report);
  for (std::size_t i = 0; i < seccomp.syscalls.size(); ++i)
    check_errno(seccomp.syscalls[i].action, seccomp.syscalls[i].errno_ret,
                fmt::format("/seccomp/syscalls/{}/errnoRet", i), report);
  if (seccomp.listener_path.empty() && !seccomp.listener_metadata.empty())
    report.error("/linux/seccomp/listenerMetadata", "/seccomp/listenerMetadata",
                 "expected only together with listenerPath");
  if (!seccomp.listener_path.empty() && !seccomp.listener_path.starts_with('/'))
    report.error("/linux/seccomp/listenerPath", "/seccomp/listenerPath",
                 quote_text(seccomp.listener_path) + ", expected an absolute path");
  // Whoever answers the notification gets the descriptor after the filter is on: a process that
  // may not write until then would wait for ever.
  const auto notifies_write = [](const SeccompSyscall& rule) {
    return rule.action == "SCMP_ACT_NOTIFY" &&
           std::find(rule.names.begin(), rule.names.end(), "write") != rule.names.end();
  };
  if (seccomp.default_action == "SCMP_ACT_NOTIFY")
    report.error("/linux/seccomp/defaultAction", "/seccomp/defaultAction",
                 "SCMP_ACT_NOTIFY, expected another action: nothing could run before the listener");
  for (std::size_t i = 0; i < seccomp.syscalls.size(); ++i)
    if (notifies_write(seccomp.syscalls[i]))
      report.error(fmt::format("/linux/seccomp/syscalls/{}", i),
                   fmt::format("/seccomp/syscalls/{}", i),
                   "SCMP_ACT_NOTIFY for write, expected another action: the listener could not "
                   "be started");
}

}  // namespace minirun
