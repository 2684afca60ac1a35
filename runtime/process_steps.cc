#include "runtime/process_steps.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <ranges>
#include <set>

#include "runtime/id_maps.h"
#include "runtime/plan_attributes.h"

namespace minirun {
namespace {

std::string blob(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

bool has_variable(const std::vector<std::string>& env, std::string_view name) {
  return std::ranges::any_of(env, [name](const std::string& entry) {
    return entry.starts_with(name) && entry.size() > name.size() && entry[name.size()] == '=';
  });
}

/// Of entries with one name the last counts, as with runc and crun, which is what an override added
/// at the end means; getenv(3) takes the first. In the order of the last ones.
StringList last_of_each(const std::vector<std::string>& env) {
  StringList result;
  std::set<std::string_view> seen;
  for (auto entry = env.rbegin(); entry != env.rend(); ++entry) {
    const std::size_t equals = entry->find('=');  // none: no variable, passed on as it is
    if (equals == entry->npos || seen.insert(std::string_view(*entry).substr(0, equals)).second)
      result.push_back(*entry);
  }
  std::ranges::reverse(result);
  return result;
}

std::string path_of(const std::vector<std::string>& env) {
  for (const std::string& entry : std::views::reverse(env))
    if (entry.starts_with("PATH=")) return entry.substr(5);
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

}  // namespace

StringList executable_candidates(const Process& process) {
  const std::string& program = process.args.front();
  if (program.find('/') != std::string::npos) return {program};
  StringList candidates;
  const std::string path = path_of(process.env);
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t colon = std::min(path.find(':', at), path.size());
    const std::string directory = path.substr(at, colon - at);
    candidates.push_back(directory.empty() ? "./" + program : directory + "/" + program);
    at = colon + 1;
  }
  return candidates;
}

namespace {

void add_scheduling(const Process& process, Steps& steps) {
  if (process.scheduler) {
    struct {
      std::uint32_t size, policy;
      std::uint64_t flags;
      std::int32_t nice;
      std::uint32_t priority;
      std::uint64_t runtime, deadline, period;
    } attributes{};  // struct sched_attr, version 0 of 48 bytes
    static_assert(sizeof attributes == 48);
    const Scheduler& scheduler = *process.scheduler;
    attributes = {sizeof attributes,     static_cast<std::uint32_t>(scheduler.policy),
                  scheduler.flags,       scheduler.nice,
                  scheduler.priority,    scheduler.runtime_ns,
                  scheduler.deadline_ns, scheduler.period_ns};
    steps.push_back({.op = Op::scheduler,
                     .s = {blob(&attributes, sizeof attributes)},
                     .field = "process.scheduler"});
  }
  if (process.io_priority)
    steps.push_back({.op = Op::io_priority,
                     .n = {process.io_priority->class_ << 13 | process.io_priority->priority},
                     .field = "process.ioPriority"});
}

void add_seccomp(const SeccompProgram* seccomp, Steps& steps) {
  if (seccomp == nullptr) return;
  steps.push_back(
      {.op = Op::seccomp,
       .n = {seccomp->flags, static_cast<std::int64_t>(seccomp->filter.size()),
             seccomp->notify ? 1 : 0},
       .s = {blob(seccomp->filter.data(), seccomp->filter.size() * sizeof(std::uint64_t))},
       .field = "linux.seccomp"});
}

/// An exec has saved the effective ids, and the file system's follow them (credentials(7)).
bool changes_ids(const ProcessSteps& input) {
  const User& user = input.process.user;
  return input.spec.find_namespace(NamespaceType::user) != nullptr || !input.facts.plain_ids ||
         user.uid != input.facts.euid || user.gid != input.facts.egid;
}

/// Bounding before ids (needs CAP_SETPCAP), ids before the sets (they change them), ambient last.
void add_identity(const ProcessSteps& input, Steps& steps) {
  const Process& process = input.process;
  Capabilities capabilities = process.capabilities.value_or(Capabilities{});
  // runtime-spec config.md: what cannot be granted is no failure. A new user namespace has all.
  if (!input.userns)
    for (std::uint64_t Capabilities::* set :
         {&Capabilities::bounding, &Capabilities::effective, &Capabilities::permitted,
          &Capabilities::inheritable, &Capabilities::ambient})
      capabilities.*set &= input.facts.capabilities;
  const std::string field = "process.capabilities";
  // A user namespace, new or joined, brings a full set (capabilities(7)).
  const bool full = input.spec.find_namespace(NamespaceType::user) != nullptr;
  steps.push_back({.op = Op::bounding,
                   .n = {as_int(capabilities.bounding), full ? -1 : as_int(input.facts.bounding)},
                   .field = field});
  const auto& groups = process.user.additional_gids;
  if (!keeps_groups(input.spec) && !setgroups_denied(input.spec, input.facts))
    steps.push_back({.op = Op::groups,
                     .n = {static_cast<std::int64_t>(groups.size())},
                     .s = {blob(groups.data(), groups.size() * sizeof groups[0])},
                     .field = "process.user.additionalGids"});
  if (changes_ids(input))
    steps.push_back(
        {.op = Op::ids, .n = {process.user.uid, process.user.gid}, .field = "process.user"});
  steps.push_back({.op = Op::capset,
                   .n = {as_int(capabilities.effective), as_int(capabilities.permitted),
                         as_int(capabilities.inheritable)},
                   .field = field});
  // capabilities(7): only what is permitted and inheritable can be raised. What an engine asks for
  // beyond that (Debian's `runc spec` does) is a warning of the reader, as config.md wants it.
  const std::uint64_t possible = capabilities.permitted & capabilities.inheritable;
  // capset(2) takes away what is not both: where nothing is, nothing is left to clear.
  if (possible != 0)
    steps.push_back(
        {.op = Op::ambient, .n = {as_int(capabilities.ambient & possible)}, .field = field});
}

void add_word_of_parent(const ProcessSteps& input, Steps& steps) {
  const Step reset{.op = Op::reset_signals, .n = {as_int(input.facts.ignored_signals)}};
  if (input.check_executable)
    steps.push_back({.op = Op::check_executable,
                     .s = {executable_candidates(input.process), input.process.args},
                     .field = "process.args"});
  // From here on it waits: with nothing of the host in /proc/PID/fd. Where it does not wait, and
  // nobody else is in its pid namespace, the exec closes them.
  const Slot kept = input.program != Slot::none ? input.program : input.start_socket;
  const Namespace* pids = input.spec.find_namespace(NamespaceType::pid);
  const bool unseen = input.early_word && pids != nullptr && pids->path.empty();
  steps.push_back(
      {.op = Op::close_fds, .n = {3 + input.preserve_fds, number(kept), unseen ? 1 : 0}});
  if (input.fork_late) {
    // Without no_new_privs it is stripped only under its filter, and so is what comes after.
    if (!input.process.no_new_privileges) {
      steps.push_back(reset);
      add_seccomp(input.seccomp, steps);
      add_identity(input, steps);
    }
    steps.push_back({.op = Op::fork_into, .field = "linux.namespaces"});
    steps.push_back({.op = Op::death_signal, .n = {SIGKILL}});
    steps.push_back({.op = Op::new_session,
                     .n = {input.process.terminal ? 1 : 0},
                     .field = "process.terminal"});
  }
  // The word may be there when the parent is not any more, and its death met no death signal
  // between a change of ids and the next step.
  const bool unguarded = input.early_word && input.process.no_new_privileges && changes_ids(input);
  steps.push_back({.op = Op::barrier,
                   .n = {input.early_word ? 0 : static_cast<std::int64_t>(wire::MessageKind::ready),
                         unguarded ? 1 : 0}});
  if (!input.die_with_parent) steps.push_back({.op = Op::death_signal, .n = {0}});
  if (input.start_socket != Slot::none)
    steps.push_back({.op = Op::listen_start, .n = {number(input.start_socket)}});
  if (!input.fork_late || input.process.no_new_privileges) steps.push_back(reset);
}

}  // namespace

void add_process_steps(const ProcessSteps& input, Steps& steps) {
  const Process& process = input.process;
  const StringList environment = last_of_each(process.env);
  if (!input.userns)
    for (std::size_t i = 0; i < process.rlimits.size(); ++i) {
      const Rlimit& limit = process.rlimits[i];
      steps.push_back({.op = Op::rlimit,
                       .n = {limit.resource, as_int(limit.soft), as_int(limit.hard)},
                       .field = fmt::format("process.rlimits[{}]", i)});
    }
  add_container_attributes(input.spec, steps);
  add_scheduling(process, steps);
  add_labels(process, input.proc, steps);
  if (process.cwd != "/")  // where the pivot left us
    steps.push_back({.op = Op::working_directory,
                     .n = {number(input.root), input.make_cwd ? 1 : 0},
                     .s = {process.cwd},
                     .field = "process.cwd"});
  if (!has_variable(environment, "HOME"))
    steps.push_back({.op = Op::home,
                     .n = {number(input.root), process.user.uid},
                     .s = {environment},
                     .field = "process.user"});
  steps.push_back(
      {.op = Op::umask_, .n = {process.user.umask.value_or(022)}, .field = "process.user.umask"});
  // seccomp(2) needs CAP_SYS_ADMIN unless no_new_privs is set.
  if (process.no_new_privileges) {
    add_identity(input, steps);
    // set*id(2) clears it: armed again before the parent's word is awaited
    if (changes_ids(input)) steps.push_back({.op = Op::death_signal, .n = {SIGKILL}});
    steps.push_back({.op = Op::no_new_privs, .field = "process.noNewPrivileges"});
    add_word_of_parent(input, steps);
    add_seccomp(input.seccomp, steps);
  } else if (input.fork_late) {
    add_word_of_parent(input, steps);
  } else {
    add_word_of_parent(input, steps);
    add_seccomp(input.seccomp, steps);
    add_identity(input, steps);
    if (input.die_with_parent && changes_ids(input))
      steps.push_back({.op = Op::death_signal, .n = {SIGKILL}});
  }
  steps.push_back({.op = Op::execute,
                   .n = {input.program != Slot::none ? number(input.program) : 0},
                   .s = {executable_candidates(process), process.args, environment},
                   .field = "process.args"});
}

bool setgroups_denied(const ContainerSpec& spec, const HostFacts& facts) {
  return facts.euid != 0 && spec.find_namespace(NamespaceType::user) != nullptr &&
         is_self_map({spec.uid_mappings, spec.gid_mappings}, facts.euid, facts.egid);
}

}  // namespace minirun
