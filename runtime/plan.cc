#include "runtime/plan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sched.h>

#include <bit>
#include <csignal>

#include "base/capabilities.h"
#include "rootfs/plan.h"
#include "runtime/delegate.h"
#include "runtime/plan_attributes.h"
#include "runtime/process_steps.h"
#include "runtime/standard_pipes.h"

namespace minirun {
namespace {

constexpr std::uint64_t clone_newtime = 0x80;

}  // namespace

std::uint64_t clone_flag(NamespaceType type) {
  switch (type) {
    case NamespaceType::pid:
      return CLONE_NEWPID;
    case NamespaceType::network:
      return CLONE_NEWNET;
    case NamespaceType::mount:
      return CLONE_NEWNS;
    case NamespaceType::ipc:
      return CLONE_NEWIPC;
    case NamespaceType::uts:
      return CLONE_NEWUTS;
    case NamespaceType::user:
      return CLONE_NEWUSER;
    case NamespaceType::cgroup:
      return CLONE_NEWCGROUP;
    case NamespaceType::time:
      return clone_newtime;
  }
  return 0;
}

namespace {

class Planner {
 public:
  Planner(const ContainerSpec& spec, const HostFacts& facts, const LaunchOptions& options,
          const SeccompProgram* seccomp)
      : spec_(spec),
        facts_(facts),
        options_(options),
        seccomp_(seccomp),
        // open_tree(2): a copy of a mount needs CAP_SYS_ADMIN, which an ordinary user has only in
        // the child's user namespace.
        slots_((facts.capabilities >> CAP_SYS_ADMIN & 1U) == 0) {}

  LaunchPlan make() && {
    plan_.id = options_.id;
    plan_rest();
    plan_cgroup();
    plan_namespaces();
    // In a pid namespace that is shared others see this process while it has mounts of the host.
    if (!owns(NamespaceType::pid) && facts_.euid == 0)
      plan_.child.push_back({.op = Op::dumpable, .n = {0}});
    append(plan_.child, joins_);
    if (options_.new_keyring)
      plan_.child.push_back({.op = Op::keyring, .s = {keyring_name(options_.id, options_.nonce)}});
    const RootfsPlan rootfs = plan_root();
    plan_system();
    plan_.early_word = can_have_early_word();
    plan_process(rootfs);
    plan_.passed = slots_.passed();
    if (slots_.exhausted())
      error("/mounts", fmt::format("more than {} mounts and devices", wire::max_slots));
    for (std::string& violation : order_violations(plan_.child))
      error("", "the plan breaks a rule of order: " + violation);
    return std::move(plan_);
  }

 private:
  void error(std::string pointer, std::string message) {
    plan_.findings.push_back({Finding::Level::error, std::move(pointer), std::move(message)});
  }

  static void append(Steps& to, const Steps& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  /// What the parent does beside steps, and what cannot be had here: never left out in silence.
  void plan_rest() {
    const Network::Mode mode = spec_.network.mode;
    if (!options_.plans_network && mode != Network::Mode::unspecified &&
        mode != Network::Mode::none && mode != Network::Mode::host)
      error("/network", "a network cannot be had with this command");
    plan_.net_devices = spec_.net_devices;
    plan_.cgroup_owner = cgroup_owner(spec_);
    if (spec_.intel_rdt)
      plan_.rdt = plan_rdt(*spec_.intel_rdt, options_.id, facts_.rdt, plan_.findings);
    if (seccomp_ != nullptr && seccomp_->notify && spec_.seccomp->listener_path.empty())
      error("/linux/seccomp/listenerPath", "missing, expected a socket: SCMP_ACT_NOTIFY needs it");
    if (spec_.process) append_findings(check_labels(*spec_.process, facts_));
  }

  void plan_cgroup() {
    CgroupPlanResult result = minirun::plan_cgroup(spec_, facts_, options_.id,
                                                   {.formula = options_.formula,
                                                    .account = options_.account,
                                                    .manager = options_.cgroup_manager});
    plan_.cgroup = std::move(result.plan);
    append_findings(result.findings);
  }

  void append_findings(const Findings& findings) {
    plan_.findings.insert(plan_.findings.end(), findings.begin(), findings.end());
  }

  /// Our own namespace of this type when the container's settings would be written to the joined
  /// one: a path that leads back to it would change the host (SEC-42).
  [[nodiscard]] StepText changed_by_us(NamespaceType type) const {
    const bool sysctls = !spec_.sysctl.empty();
    switch (type) {
      case NamespaceType::uts:
        if (sysctls || spec_.hostname || spec_.domainname) return "/proc/self/ns/uts";
        break;
      case NamespaceType::network:
        if (sysctls) return "/proc/self/ns/net";
        break;
      case NamespaceType::ipc:
        if (sysctls) return "/proc/self/ns/ipc";
        break;
      case NamespaceType::user:
        if (sysctls) return "/proc/self/ns/user";
        break;
      case NamespaceType::pid:
      case NamespaceType::mount:
      case NamespaceType::cgroup:
      case NamespaceType::time:
        break;
    }
    return {};
  }

  /// New namespaces come with the clone. With a joined user namespace they must be made inside of
  /// it, and a joined pid namespace takes in children only: then the child forks once more.
  void plan_namespaces() {
    const Namespace* user = spec_.find_namespace(NamespaceType::user);
    const bool joins_user = user != nullptr && !user->path.empty();
    std::uint64_t fresh = 0;
    auto join = [&](const Namespace& ns) {
      const Slot slot = slots_.from_parent();
      plan_.parent.push_back({.op = Op::open_file,
                              .n = {number(slot), O_RDONLY},
                              .s = {ns.path, changed_by_us(ns.type)},
                              .field = "linux.namespaces"});
      if (user != nullptr && !joins_user) {
        // The clone would be in sight there while it still is a copy of minirun.
        if (ns.type == NamespaceType::pid)
          error("/linux/namespaces",
                fmt::format("joining the pid namespace {} with a new user namespace is refused: "
                            "what runs in it could look into minirun; join its user namespace, too",
                            ns.path));
        plan_.joined_for_clone.push_back({slot, static_cast<int>(clone_flag(ns.type))});
        return;
      }
      joins_.push_back({.op = Op::set_namespace,
                        .n = {number(slot), as_int(clone_flag(ns.type))},
                        .field = "linux.namespaces"});
      if (ns.type == NamespaceType::pid) plan_.forks = true;
    };
    // Root may join any other namespace, but after it joined a user namespace only those of that
    // one; anybody else may join only those that it owns, so the user namespace first.
    auto join_user = [&] {
      if (!joins_user) return;
      join(*user);
      joins_.push_back({.op = Op::become_root, .field = "linux.namespaces"});
    };
    const bool user_last = facts_.euid == 0;
    if (!user_last) join_user();
    for (const Namespace& ns : spec_.namespaces) {
      if (ns.path.empty())
        fresh |= clone_flag(ns.type);
      else if (ns.type != NamespaceType::user)
        join(ns);
    }
    if (user_last) join_user();
    if (!spec_.time_offsets.empty()) plan_time_offsets(fresh);
    if (joins_user) {
      if (fresh != 0)
        joins_.push_back({.op = Op::unshare, .n = {as_int(fresh)}, .field = "linux.namespaces"});
      if ((fresh & CLONE_NEWPID) != 0) plan_.forks = true;
    } else {
      plan_.clone_flags = fresh;
    }
    if (plan_.forks) {
      joins_.push_back({.op = Op::fork_into, .field = "linux.namespaces"});
      joins_.push_back({.op = Op::death_signal, .n = {SIGKILL}});  // a fork has none
    }
    if (user != nullptr) {
      plan_.write_id_maps = !joins_user;
      plan_.expect_id_maps = joins_user;
      plan_.id_maps = {spec_.uid_mappings, spec_.gid_mappings};
    }
    const Namespace* mount = spec_.find_namespace(NamespaceType::mount);
    if (mount == nullptr)
      error("/linux/namespaces", "a mount namespace is needed: minirun never mounts on the host");
    else if (!mount->path.empty())
      error("/linux/namespaces", fmt::format("joining the mount namespace {} is refused: the root "
                                             "of everybody in it would be replaced",
                                             mount->path));
  }

  // time_namespaces(7): offsets can be set only before the first process is in the namespace.
  void plan_time_offsets(std::uint64_t& fresh) {
    if ((fresh & clone_newtime) == 0) {
      error("/linux/timeOffsets", "needs a new time namespace");
      return;
    }
    // Both take in children only. The pid namespace too, for else this process would be its first,
    // and CLONE_PARENT is refused to that (EINVAL).
    const std::uint64_t late = fresh & (clone_newtime | CLONE_NEWPID);
    fresh &= ~late;
    joins_.push_back({.op = Op::unshare, .n = {as_int(late)}, .field = "linux.timeOffsets"});
    const Slot proc = slots_.from_parent();
    plan_.parent.push_back({.op = Op::open_file,
                            .n = {number(proc), O_PATH | O_DIRECTORY},
                            .s = {"/proc"},
                            .field = "linux.timeOffsets"});
    for (const auto& [clock, offset] : spec_.time_offsets)
      joins_.push_back({.op = Op::write_file,
                        .n = {number(proc), 0},
                        .s = {"self/timens_offsets",
                              fmt::format("{} {} {}", clock, offset.secs, offset.nanosecs)},
                        .field = "linux.timeOffsets." + clock});
    plan_.forks = true;  // the fork enters the namespace
  }

  /// What happens at the child's "ready", or needs to know its last process.
  [[nodiscard]] bool can_have_early_word() const {
    return options_.early_word && spec_.hooks.empty() && !plan_.forks &&
           spec_.find_namespace(NamespaceType::user) == nullptr && spec_.net_devices.empty() &&
           !spec_.intel_rdt && spec_.process && !spec_.process->terminal;
  }

  RootfsPlan plan_root() {
    RootfsInput input;
    if (!facts_.cgroup.mount_point.empty() && !plan_.cgroup.path.empty())
      input.cgroup_directory = facts_.cgroup.mount_point + plan_.cgroup.path;
    input.layer_directory = options_.layer_directory;
    RootfsPlan rootfs = plan_rootfs(spec_, facts_, input, slots_);
    append_findings(rootfs.findings);
    append(slots_.alone() ? plan_.child : plan_.parent, rootfs.parent);
    append(plan_.child, rootfs.build);
    if (!spec_.hooks.empty())
      plan_.child.push_back(
          {.op = Op::barrier, .n = {static_cast<std::int64_t>(wire::MessageKind::hooks)}});
    append(plan_.child, rootfs.protect);
    append(plan_.child, rootfs.pivot);
    return rootfs;
  }

  [[nodiscard]] bool owns(NamespaceType type) const {
    const Namespace* ns = spec_.find_namespace(type);
    return ns != nullptr && ns->path.empty();
  }

  void plan_system() {
    if (spec_.hostname)
      plan_.child.push_back({.op = Op::hostname, .s = {*spec_.hostname}, .field = "hostname"});
    if (spec_.domainname)
      plan_.child.push_back(
          {.op = Op::domainname, .s = {*spec_.domainname}, .field = "domainname"});
    if (owns(NamespaceType::network))
      plan_.child.push_back({.op = Op::loopback, .field = "linux.namespaces"});
  }

  static std::string names_of(std::uint64_t capabilities) {
    std::string text;
    for (unsigned i = 0; i < 64; ++i)
      if ((capabilities >> i & 1U) != 0)
        text += fmt::format("{}{}", text.empty() ? "" : ", ", capability_name(i));
    return text;
  }

  void warn_of_missing_capabilities(const Process& process) {
    if (!process.capabilities || spec_.find_namespace(NamespaceType::user) != nullptr) return;
    const Capabilities& sets = *process.capabilities;
    const std::uint64_t asked =
        sets.bounding | sets.effective | sets.permitted | sets.inheritable | sets.ambient;
    if (const std::uint64_t missing = asked & ~facts_.capabilities; missing != 0)
      plan_.findings.push_back(
          {Finding::Level::warning, "/process/capabilities",
           fmt::format("{} cannot be granted: minirun itself lacks {}", names_of(missing),
                       std::has_single_bit(missing) ? "it" : "them")});
  }

  void plan_process(const RootfsPlan& rootfs) {
    if (!spec_.process) return plan_nothing(rootfs);
    const Process& process = *spec_.process;
    warn_of_missing_capabilities(process);
    if (setgroups_denied(spec_, facts_) && !process.user.additional_gids.empty())
      error(
          "/process/user/additionalGids",
          "cannot be set: who maps only their own id may not change groups (setgroups is denied); "
          "map subordinate ids (/etc/subgid and the package uidmap)");
    plan_.terminal = process.terminal;
    if (!process.terminal) plan_.stdio_owner = host_uid(spec_, process);
    plan_.oom_score_adj = process.oom_score_adj;
    plan_.child.push_back({.op = Op::new_session});
    if (process.terminal) {
      const ConsoleSize size = process.console_size.value_or(ConsoleSize{});
      plan_.child.push_back({.op = Op::console,
                             .n = {number(rootfs.root), process.user.uid, size.height, size.width,
                                   options_.console_node ? 1 : 0},
                             .field = "process.terminal"});
    }
    if (!rootfs.seal.empty() && process.cwd != "/")
      plan_.child.push_back({.op = Op::make_directory,
                             .n = {number(rootfs.root), 0755},
                             .s = {process.cwd},
                             .field = "process.cwd"});
    append(plan_.child, rootfs.seal);
    const bool userns = spec_.find_namespace(NamespaceType::user) != nullptr;
    if (userns) plan_.rlimits = process.rlimits;
    if (options_.wait_for_start) plan_.start_socket = slots_.from_parent();
    Slot program = Slot::none;
    if (options_.program_fd >= 0) {
      program = slots_.from_parent();
      plan_.parent.push_back({.op = Op::open_file,
                              .n = {number(program), O_RDONLY},
                              .s = {fmt::format("/proc/self/fd/{}", options_.program_fd)},
                              .field = "process.args"});
    }
    Slot proc = Slot::none;
    if (has_labels(process)) {
      proc = slots_.from_parent();
      plan_.parent.push_back({.op = Op::open_file,
                              .n = {number(proc), O_PATH | O_DIRECTORY},
                              .s = {"/proc"},
                              .field = "process"});
    }
    plan_.preserve_fds = options_.preserve_fds;
    add_process_steps({.spec = spec_,
                       .process = process,
                       .facts = facts_,
                       .seccomp = seccomp_,
                       .root = rootfs.root,
                       .proc = proc,
                       .userns = userns,
                       .die_with_parent = options_.die_with_parent,
                       .make_cwd = true,
                       .preserve_fds = options_.preserve_fds,
                       .early_word = plan_.early_word,
                       .check_executable = options_.wait_for_start,
                       .start_socket = plan_.start_socket,
                       .program = program},
                      plan_.child);
  }

  /// runtime.md: `create` needs no process, `start` does and refuses. So the last step never runs.
  void plan_nothing(const RootfsPlan& rootfs) {
    if (!options_.wait_for_start) {
      error("/process", "is needed to start a container");
      return;
    }
    plan_.start_socket = slots_.from_parent();
    Steps& steps = plan_.child;
    append(steps, rootfs.seal);
    steps.push_back({.op = Op::new_session});
    steps.push_back({.op = Op::close_fds, .n = {3, number(plan_.start_socket)}});
    steps.push_back(
        {.op = Op::barrier, .n = {static_cast<std::int64_t>(wire::MessageKind::ready)}});
    steps.push_back({.op = Op::death_signal, .n = {0}});
    steps.push_back({.op = Op::listen_start, .n = {number(plan_.start_socket)}});
    steps.push_back({.op = Op::execute,
                     .s = {StringList{""}, StringList{""}, StringList{}},
                     .field = "process"});
  }

  const ContainerSpec& spec_;
  const HostFacts& facts_;
  const LaunchOptions& options_;
  const SeccompProgram* seccomp_;
  Slots slots_;
  Steps joins_;
  LaunchPlan plan_;
};

}  // namespace

LaunchPlan plan_launch(const ContainerSpec& spec, const HostFacts& facts,
                       const LaunchOptions& options, const SeccompProgram* seccomp) {
  return Planner(spec, facts, options, seccomp).make();
}

}  // namespace minirun
