#include "runtime/exec.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <span>

#include "base/file.h"
#include "cgroups/control.h"
#include "cgroups/discovery.h"
#include "runtime/conversation.h"
#include "runtime/exec_error.h"
#include "runtime/plan_attributes.h"
#include "runtime/process_info.h"
#include "runtime/process_steps.h"
#include "runtime/seccomp_listener.h"
#include "runtime/spec_facts.h"
#include "runtime/standard_pipes.h"
#include "security/seccomp_verdict.h"

namespace minirun {
namespace {

constexpr Slot init_slot{1};
constexpr Slot root_slot{2};
constexpr Slot proc_slot{3};
/// 8192 CPUs, the most that Linux can be built for.
constexpr int cpu_mask_bytes = 1024;

bool has_pid_namespace(const ContainerSpec& spec) {
  return spec.find_namespace(NamespaceType::pid) != nullptr;
}

/// Whether the filter lets through what a late fork does under it.
bool forks_under(const SeccompProgram& filter, bool terminal) {
  if (filter.notify) return false;  // nobody answers yet
  constexpr std::uint64_t tiocsctty = 0x540E;
  std::vector<FilteredCall> calls{{SYS_clone, {CLONE_PARENT | SIGCHLD}},
                                  {SYS_exit_group},
                                  {SYS_prctl, {PR_SET_PDEATHSIG, SIGKILL}},
                                  {SYS_prctl, {PR_SET_PDEATHSIG}},
                                  {SYS_sendmsg},
                                  {SYS_setsid},
                                  {SYS_read}};
  if (terminal) calls.push_back({SYS_ioctl, {0, tiocsctty}});
  return std::ranges::all_of(
      calls, [&](const FilteredCall& call) { return lets_through(filter.filter, call); });
}

}  // namespace

Steps plan_exec(const ExecRequest& request, const HostFacts& facts, const std::string& id,
                const std::string& nonce) {
  const ContainerSpec& spec = request.spec;
  const Process& process = request.process;
  Steps steps;
  // Visible in the container from the fork on: nobody there may attach to it (CVE-2016-9962).
  steps.push_back({.op = Op::dumpable, .n = {0}});
  if (process.exec_cpu_affinity && !process.exec_cpu_affinity->final.empty())
    steps.push_back({.op = Op::affinity,
                     .n = {cpu_mask_bytes},
                     .s = {mask_of_list(process.exec_cpu_affinity->final, cpu_mask_bytes)},
                     .field = "process.execCPUAffinity.final"});
  if (has_labels(process))  // the host's procfs, as long as it is in sight
    steps.push_back({.op = Op::open_file,
                     .n = {number(proc_slot), O_PATH | O_DIRECTORY},
                     .s = {"/proc"},
                     .field = "process"});
  std::uint64_t flags = 0;
  for (const Namespace& ns : spec.namespaces) flags |= clone_flag(ns.type);
  const bool userns = spec.find_namespace(NamespaceType::user) != nullptr;
  steps.push_back({.op = Op::set_namespace,
                   .n = {number(init_slot), static_cast<std::int64_t>(flags)},
                   .field = "linux.namespaces"});
  if (userns) steps.push_back({.op = Op::become_root, .field = "linux.namespaces"});
  // Until the fork nobody in the container's pid namespace sees this process, so the fork waits
  // until it is stripped: who has CAP_SYS_PTRACE there would else have all that minirun has. Only
  // where the filter would refuse that fork it comes first.
  const bool may_fork = process.no_new_privileges || request.seccomp == nullptr ||
                        forks_under(*request.seccomp, process.terminal);
  const bool late = has_pid_namespace(spec) && may_fork;
  if (has_pid_namespace(spec) && !late) {
    steps.push_back({.op = Op::fork_into, .field = "linux.namespaces"});
    steps.push_back({.op = Op::death_signal, .n = {SIGKILL}});
  }
  steps.push_back({.op = Op::keyring, .s = {keyring_name(id, nonce)}});
  steps.push_back({.op = Op::open_file,
                   .n = {number(root_slot), O_PATH | O_DIRECTORY},
                   .s = {"/"},
                   .field = "root"});
  if (!late) steps.push_back({.op = Op::new_session});
  if (process.terminal) {
    const ConsoleSize size = process.console_size.value_or(ConsoleSize{});
    steps.push_back(
        {.op = Op::console,
         .n = {number(root_slot), process.user.uid, size.height, size.width, 0, late ? 1 : 0},
         .field = "process.terminal"});
  }
  add_process_steps({.spec = spec,
                     .process = process,
                     .facts = facts,
                     .seccomp = request.seccomp,
                     .root = root_slot,
                     .proc = has_labels(process) ? proc_slot : Slot::none,
                     .userns = false,
                     .die_with_parent = !request.detach,
                     .preserve_fds = request.preserve_fds,
                     .fork_late = late,
                     .check_executable = false,
                     .start_socket = Slot::none},
                    steps);
  if (!request.program.empty()) {
    std::erase_if(steps, [](const Step& step) { return step.op == Op::home; });
    steps.back().s[0] = StringList{request.program};
  }
  return steps;
}

namespace {

/// Where the process is cloned into; absent: the container has no cgroup.
Result<CgroupFd> exec_cgroup(const ContainerView& view, const ExecRequest& request,
                             const HostFacts& facts) {
  if (view.cgroup_path().empty()) {
    if (request.cgroup.empty()) return CgroupFd();
    return plain_error("--cgroup", "the container has no cgroup of its own");
  }
  CgroupFd cgroup = TRY(open_cgroup(facts.cgroup, view.cgroup_path()));
  if (request.cgroup.empty()) return cgroup;
  Result<CgroupFd> below = open_sub_cgroup(cgroup, request.cgroup);
  if (!below) return std::unexpected(std::move(below).error().in("--cgroup"));
  return below;
}

/// The cgroup of init. A container that made cgroups of its own (systemd in it) has no process in
/// its topmost one, and the kernel lets nobody in there.
Result<CgroupFd> cgroup_of_init(const ContainerView& view, const HostFacts& facts) {
  const std::string text =
      TRY(read_file(AT_FDCWD, fmt::format("/proc/{}/cgroup", view.init->pid), 1 << 16));
  for (const CgroupMembership& membership : parse_proc_cgroup(text))
    if (membership.hierarchy == 0 && membership.path.starts_with(view.cgroup_path() + "/"))
      return open_cgroup(facts.cgroup, membership.path);
  return os_error(EBUSY, view.cgroup_path(), "has cgroups below it that must take its processes");
}

Result<Child> spawn(const ContainerView& view, const ExecRequest& request, const Fd& stage,
                    std::span<const int> slots, const HostFacts& facts) {
  const CgroupFd cgroup = TRY(exec_cgroup(view, request, facts));
  SpawnOptions options{.cgroup = cgroup.get(), .preserve_fds = request.preserve_fds};
  Result<Child> child = spawn_stage(stage, slots, options);
  if (!child && child.error().errnum == EBUSY && request.cgroup.empty()) {
    const CgroupFd other = TRY(cgroup_of_init(view, facts));
    options.cgroup = other.get();
    child = spawn_stage(stage, slots, options);
  }
  if (!child) return std::unexpected(explain_clone(std::move(child).error(), cgroup.get()));
  return child;
}

/// Of the container's own first process: what runs beside it must not be killed before or after.
Status set_oom_score(const ExecRequest& request, pid_t pid) {
  if (!request.process.oom_score_adj) return {};
  const std::string path = fmt::format("/proc/{}/oom_score_adj", pid);
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return os_error(path);
  return write_all(fd.get(), std::to_string(*request.process.oom_score_adj), "process.oomScoreAdj");
}

/// config.md "execCPUAffinity": where the runtime's own process runs until the new one is in the
/// container's cgroup, into which it is cloned.
Status set_initial_affinity(const Process& process) {
  if (!process.exec_cpu_affinity || process.exec_cpu_affinity->initial.empty()) return {};
  const std::string mask = mask_of_list(process.exec_cpu_affinity->initial, cpu_mask_bytes);
  if (::sched_setaffinity(0, mask.size(), reinterpret_cast<const cpu_set_t*>(mask.data())) != 0)
    return os_error("process.execCPUAffinity.initial", process.exec_cpu_affinity->initial);
  return {};
}

}  // namespace

Result<ExecResult> exec_in_container(const ContainerView& view, const ExecRequest& request,
                                     const HostFacts& facts) {
  const bool paused = view.status == ContainerStatus::paused;
  if (paused && !request.ignore_paused)
    return plain_error(view.id,
                       "cannot exec in a paused container (use --ignore-paused to override)");
  if (!paused && view.status != ContainerStatus::running && view.status != ContainerStatus::created)
    return plain_error(view.id, "container not running");
  const PidFd init = TRY(open_init(*view.init));
  const SignalFd signals = TRY(SignalFd::open(facts));
  // What a careless caller left open must not reach a process that the container can look into.
  if (::close_range(static_cast<unsigned>(3 + request.preserve_fds), ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    return os_error("close_range");
  const Steps steps = plan_exec(request, facts, view.id, view.record ? view.record->nonce : "");
  TRY(set_initial_affinity(request.process));
  const std::array slots{-1, init.get()};
  const Fd stage = TRY(make_stage(steps, slots, false));
  if (const auto uid = host_uid(request.spec, request.process); uid && !request.process.terminal)
    give_standard_pipes(*uid);
  Launched process;
  Child child = TRY(spawn(view, request, stage, slots, facts));
  process.init.pid = child.pid;
  process.pidfd = std::move(child.pidfd);
  TRY(await_ready(process, std::move(child),
                  {.steps = steps,
                   .forks = has_pid_namespace(request.spec),
                   .signal_fd = signals.get(),
                   .hooks = {}}));
  TRY(set_oom_score(request, process.init.pid));
  if (request.handover != nullptr) TRY(request.handover->give(process));
  std::optional<TerminalProxy> terminal;
  if (process.console) terminal.emplace(TRY(TerminalProxy::start(std::move(process.console))));
  if (request.spec.intel_rdt)
    TRY(RdtGroup::of_container(*request.spec.intel_rdt, view.id, resctrl_mount())
            .add(process.init.pid));
  if (request.spec.seccomp && !request.spec.seccomp->listener_path.empty())
    process.on_listener = [&](int listener) {
      const ProcessState state{.oci_version = view.record->oci_version,
                               .id = view.id,
                               .status = std::string(name(view.status)),
                               .pid = process.init.pid,
                               .init_pid = view.init->pid,
                               .bundle = view.record->bundle,
                               .annotations = view.record->annotations};
      const Seccomp& seccomp = *request.spec.seccomp;
      return send_listener(seccomp.listener_path,
                           container_process_state(state, seccomp.listener_metadata), listener);
    };
  TRY(give_word(process, steps, signals.get()));
  if (request.handover != nullptr) request.handover->keep();
  ExecResult result;
  result.pid = process.init.pid;
  if (request.detach) {
    process.keep();
    return result;
  }
  result.end = TRY(wait_for({.signal_fd = signals.get(),
                             .pid = process.init.pid,
                             .pidfd = process.pidfd.get(),
                             .terminal = terminal ? &*terminal : nullptr,
                             .deadline = {},
                             .cgroup = nullptr}));
  process.init.pid = 0;
  if (terminal) terminal->drain();
  return result;
}

}  // namespace minirun
