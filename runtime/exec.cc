#include "runtime/exec.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <unistd.h>

#include <csignal>

#include "cgroups/control.h"
#include "runtime/exec_error.h"
#include "runtime/launch.h"
#include "runtime/plan_attributes.h"
#include "runtime/process_info.h"
#include "runtime/seccomp_listener.h"
#include "runtime/spec_facts.h"

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

}  // namespace

Steps plan_exec(const ExecRequest& request, const HostFacts& facts, const std::string& id,
                const std::string& nonce) {
  const ContainerSpec& spec = request.spec;
  const Process& process = request.process;
  Steps steps;
  steps.push_back({.op = Op::death_signal, .n = {SIGKILL}});
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
  // until it is stripped. A terminal belongs to the session that the fork begins.
  const bool late = has_pid_namespace(spec) && process.no_new_privileges && !process.terminal;
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
    steps.push_back({.op = Op::console,
                     .n = {number(root_slot), process.user.uid, size.height, size.width, 0},
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
  if (view.status == ContainerStatus::paused)
    return plain_error(view.id,
                       "cannot exec in a paused container (use --ignore-paused to override)");
  if (view.status != ContainerStatus::running && view.status != ContainerStatus::created)
    return plain_error(view.id, "container not running");
  const PidFd init = TRY(open_init(*view.init));
  const CgroupFd cgroup = TRY(open_cgroup(facts.cgroup, view.record->cgroup_path));
  const SignalFd signals = TRY(SignalFd::open());
  // What a careless caller left open must not reach a process that the container can look into.
  if (::close_range(static_cast<unsigned>(3 + request.preserve_fds), ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    return os_error("close_range");
  const Steps steps = plan_exec(request, facts, view.id, view.record ? view.record->nonce : "");
  TRY(set_initial_affinity(request.process));
  const Stage stage = TRY(make_stage(steps, 2, false));
  Launched process;
  Result<Child> spawned = spawn_stage(stage, 0, cgroup.get(), false);
  if (!spawned) return std::unexpected(explain_clone(std::move(spawned).error(), cgroup.get()));
  Child child = std::move(*spawned);
  process.init.pid = child.pid;
  process.pidfd = std::move(child.pidfd);
  TRY(send_slots(child, stage, {-1, init.get()}, 2));
  TRY(await_ready(process, std::move(child),
                  {.steps = steps,
                   .forks = has_pid_namespace(request.spec),
                   .signal_fd = signals.get(),
                   .hooks = {}}));
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
  TRY(give_word(process, steps, signals.get(), true));
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
