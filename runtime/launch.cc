#include "runtime/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include "base/file.h"
#include "cgroups/systemd.h"
#include "runtime/fault.h"
#include "runtime/placeholder.h"
#include "runtime/sockets.h"
#include "runtime/standard_pipes.h"
#include "stage/freestanding/interpreter.h"

namespace minirun {

void PhaseClock::mark(std::string name) {
  const auto now = std::chrono::steady_clock::now();
  phases_.push_back(
      {std::move(name),
       static_cast<std::uint64_t>(
           std::chrono::duration_cast<std::chrono::microseconds>(now - last_).count())});
  last_ = now;
}

namespace {

/// This process in namespaces of others, until the end of the object.
class Visit {
 public:
  static Result<Visit> enter(const std::vector<JoinForClone>& joins,
                             const std::vector<int>& slots) {
    Visit visit;
    for (const JoinForClone& join : joins) {
      Fd back(::open(own_namespace(join.flag), O_RDONLY | O_CLOEXEC));
      if (!back) return os_error("linux.namespaces", "open our own");
      if (::setns(slots[static_cast<std::size_t>(join.slot)], join.flag) != 0)
        return os_error(
            errno, "linux.namespaces",
            errno == EINVAL ? "setns: the file is not a namespace of this type" : "setns");
      visit.back_.emplace_back(std::move(back), join.flag);
    }
    return visit;
  }
  Visit(Visit&&) noexcept = default;
  Visit& operator=(Visit&&) = delete;
  ~Visit() {
    for (auto at = back_.rbegin(); at != back_.rend(); ++at)
      if (::setns(at->first.get(), at->second) != 0) ::_exit(125);  // never on in a foreign one
  }

 private:
  Visit() = default;
  static const char* own_namespace(int flag) {
    switch (flag) {
      case CLONE_NEWNET:
        return "/proc/self/ns/net";
      case CLONE_NEWIPC:
        return "/proc/self/ns/ipc";
      case CLONE_NEWUTS:
        return "/proc/self/ns/uts";
      case CLONE_NEWPID:
        return "/proc/self/ns/pid";  // of our children it was the same until now
      case CLONE_NEWCGROUP:
        return "/proc/self/ns/cgroup";
      default:
        return "/proc/self/ns/time";
    }
  }
  std::vector<std::pair<Fd, int>> back_;
};

}  // namespace

class Launcher {
 public:
  Launcher(const LaunchPlan& plan, const LaunchContext& context)
      : plan_(plan), context_(context), slots_(wire::max_slots, -1) {}
  ~Launcher() { close_slots(); }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  Result<Launched> run() {
    TRY(fault_point("cgroup"));
    TRY(make_cgroup());
    if (plan_.rdt) launched_.rdt = TRY(RdtGroup::create(*plan_.rdt));
    mark("cgroup");
    TRY(fault_point("parent steps"));
    TRY(run_parent_steps());
    TRY(make_start_socket());
    mark("sources");
    TRY(fault_point("stage"));
    const Steps& child_steps = plan_.child;
    Fd stage = TRY(make_stage(with_fault(child_steps, "child"), passed(), context_.timing));
    mark("stage");
    if (plan_.stdio_owner) give_standard_pipes(*plan_.stdio_owner);
    TRY(fault_point("clone"));
    TRY(start_child(std::move(stage)));
    mark("clone");
    TRY(fault_point("child attributes"));
    TRY(observe(launched_));
    if (context_.network) {
      TRY(fault_point("network"));
      if (Status made = context_.network(launched_.init.pid); !made)
        return std::unexpected(childs_error().value_or(std::move(made.error())));
      mark("network");
    }
    if (plan_.early_word) {
      TRY(set_oom_score());
      launched_.channel = std::move(child_.channel);
      return std::move(launched_);
    }
    TRY(fault_point("wait for the child"));
    TRY(await_ready(launched_, std::move(child_),
                    {.steps = plan_.child,
                     .forks = plan_.forks,
                     .signal_fd = context_.signal_fd,
                     .hooks = [this](pid_t pid) {
                       Status good = before_hooks(pid);  // they may look at it
                       return good && context_.hooks ? context_.hooks(pid) : good;
                     }}));
    TRY(before_hooks(launched_.init.pid));
    if (launched_.rdt) TRY(launched_.rdt->add(launched_.init.pid));
    TRY(set_oom_score());
    TRY(fault_point("limits from outside"));
    TRY(set_rlimits());
    mark("child");
    return std::move(launched_);
  }

  Status undo() {
    close_slots();  // the way back needs descriptors, too
    return launched_.end();
  }

 private:
  void close_slots() {
    for (std::size_t i = 1; i < slots_.size(); ++i)
      if (slots_[i] >= 0) ::close(std::exchange(slots_[i], -1));
  }

  /// What ended the child, if it has: then its network namespace is gone, which is no more than a
  /// consequence.
  std::optional<Error> childs_error() {
    pollfd channel{child_.channel.get(), POLLIN, 0};
    if (::poll(&channel, 1, 0) <= 0) return std::nullopt;
    const Result<std::optional<StageMessage>> packet = receive(child_.channel.get(), -1);
    if (!packet || !*packet || (*packet)->message.kind != wire::MessageKind::failure)
      return std::nullopt;
    return failure_of(plan_.child, (*packet)->message.failure, launched_.init.pid);
  }

  void mark(const char* name) {
    if (context_.clock != nullptr) context_.clock->mark(name);
  }

  Status make_cgroup() {
    if (plan_.cgroup.path.empty()) return {};
    if (plan_.cgroup.scope) {
      placeholder_ = TRY(ScopePlaceholder::start());
      TRY(start_scope(*plan_.cgroup.scope, placeholder_->pid(), context_.facts));
    }
    launched_.cgroup = TRY(Cgroup::create(plan_.cgroup, context_.facts.cgroup));
    if (plan_.cgroup_owner)
      TRY(delegate_cgroup(launched_.cgroup->fd(), *plan_.cgroup_owner, static_cast<gid_t>(-1)));
    return {};
  }

  /// Twice where there are hooks: the second time it changes nothing.
  Status before_hooks(pid_t pid) {
    if (plan_.expect_id_maps) TRY(expect_id_maps(pid, plan_.id_maps));
    if (plan_.net_devices.empty() || launched_.devices) return {};
    Fd host = TRY(open_own_netns());
    Fd container = TRY(open_netns_of(pid));
    launched_.devices =
        TRY(MovedDevices::move(plan_.net_devices, std::move(host), std::move(container)));
    return {};
  }

  /// The same interpreter as in the child, in this process.
  Status run_parent_steps() {
    if (plan_.parent.empty()) return {};
    const Steps steps = with_fault(plan_.parent, "parent");
    std::string program = TRY(encode(steps, {}, false));
    wire::Context context;
    context.base = program.data();
    context.program = reinterpret_cast<const wire::Program*>(program.data());
    context.slots = slots_.data();
    wire::relocate(context);
    if (!wire::run(context)) return std::unexpected(describe_failure(steps, context.failure));
    return {};
  }

  Status make_start_socket() {
    if (plan_.start_socket == Slot::none) return {};
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return os_error("start.sock");
    slots_[static_cast<std::size_t>(plan_.start_socket)] = fd;
    // Through the directory's descriptor: a path in sockaddr_un ends at 107 bytes.
    const DirFd directory = TRY(open_directory(context_.state_directory));
    const sockaddr_un address = socket_address(directory.get(), "start.sock");
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd, 8) != 0)
      return os_error(context_.state_directory + "/start.sock");
    return {};
  }

  /// The first slots, which are the child's, too.
  [[nodiscard]] std::span<const int> passed() const {
    return std::span(slots_).first(static_cast<std::size_t>(plan_.passed));
  }

  Result<Child> clone_visiting(const Fd& stage) {
    const Visit visit = TRY(Visit::enter(plan_.joined_for_clone, slots_));
    SpawnOptions options{.flags = plan_.clone_flags,
                         .cgroup = launched_.cgroup ? launched_.cgroup->fd().get() : -1,
                         .wait_for_maps = plan_.write_id_maps,
                         .preserve_fds = plan_.preserve_fds,
                         .spent = {stage.get()}};
    options.spent.insert(options.spent.end(), passed().begin(), passed().end());
    return spawn_stage(stage, passed(), options);
  }

  Status start_child(Fd stage) {
    child_ = TRY(clone_visiting(stage));
    (void)stage.release();
    std::fill_n(slots_.begin(), plan_.passed, -1);
    placeholder_.reset();  // the scope has a process of its own now
    launched_.init.pid = child_.pid;
    launched_.pidfd = std::move(child_.pidfd);
    TRY(fault_point("id maps"));
    return plan_.write_id_maps ? map_ids() : Status();
  }

  Status map_ids() {
    TRY(write_id_maps(child_.pid, plan_.id_maps, context_.facts.euid));
    const char byte = 1;
    if (TEMP_FAILURE_RETRY(::send(child_.channel.get(), &byte, 1, MSG_NOSIGNAL)) != 1)
      return os_error("stage", "send");
    return {};
  }

  Status set_oom_score() {
    if (plan_.oom_score_adj) {
      const std::string path = fmt::format("/proc/{}/oom_score_adj", launched_.init.pid);
      const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
      if (!fd) return os_error(path);
      if (Status written =
              write_all(fd.get(), std::to_string(*plan_.oom_score_adj), "process.oomScoreAdj");
          !written) {
        if (written.error().errnum == EACCES)
          written.error().detail = "lowering it needs CAP_SYS_RESOURCE";
        return written;
      }
    }
    return {};
  }

  Status set_rlimits() {
    for (std::size_t i = 0; i < plan_.rlimits.size(); ++i) {
      const rlimit64 limit{plan_.rlimits[i].soft, plan_.rlimits[i].hard};
      if (::prlimit64(launched_.init.pid, static_cast<__rlimit_resource>(plan_.rlimits[i].resource),
                      &limit, nullptr) != 0)
        return os_error(fmt::format("process.rlimits[{}]", i));
    }
    return {};
  }

  const LaunchPlan& plan_;
  const LaunchContext& context_;
  std::vector<int> slots_;
  std::optional<ScopePlaceholder> placeholder_;
  Launched launched_;
  Child child_;
};

Result<Launched> launch(const LaunchPlan& plan, const LaunchContext& context, Status& undone) {
  Launcher launcher(plan, context);
  Result<Launched> launched = launcher.run();
  if (!launched) undone = launcher.undo();
  return launched;
}

}  // namespace minirun
