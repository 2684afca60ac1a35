#include "runtime/container.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "cgroups/control.h"
#include "cgroups/discovery.h"
#include "cgroups/systemd.h"
#include "runtime/fault.h"
#include "runtime/process_info.h"
#include "runtime/spec_facts.h"

namespace minirun {

std::string_view name(ContainerStatus status) {
  switch (status) {
    case ContainerStatus::creating:
      return "creating";
    case ContainerStatus::created:
      return "created";
    case ContainerStatus::running:
      return "running";
    case ContainerStatus::paused:
      return "paused";
    case ContainerStatus::stopped:
    case ContainerStatus::crashed:
      return "stopped";
  }
  return "?";
}

std::string timestamp() {
  // Not gmtime_r(3): it reads /etc/localtime, six system calls.
  using namespace std::chrono;
  const auto now = system_clock::now();
  const auto day = floor<days>(now);
  const year_month_day date(day);
  const hh_mm_ss time(duration_cast<nanoseconds>(now - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count(),
                     time.subseconds().count());
}

namespace {

/// Whether a controller is needed.
bool sets_limits(const ContainerSpec& spec) {
  Resources others;
  others.devices = spec.resources.devices;  // a filter of ours, no controller
  return spec.resources != others;
}

bool may_make_cgroups(const CgroupFacts& cgroup) {
  const std::string& own = cgroup.own_path;
  const std::string above = own.substr(0, own.rfind('/') == std::string::npos ? 0 : own.rfind('/'));
  return !cgroup.mount_point.empty() &&
         ::access((cgroup.mount_point + above).c_str(), W_OK | X_OK) == 0;
}

Status read_kernel_version(HostFacts& facts) {
  utsname system{};
  if (::uname(&system) != 0) return os_error("uname");
  if (std::sscanf(system.release, "%d.%d", &facts.kernel_major, &facts.kernel_minor) != 2)
    return plain_error("uname", fmt::format("unreadable kernel release \"{}\"", system.release));
  return {};
}

}  // namespace

Result<HostFacts> discover_host() {
  return discover_host_for(nullptr, true);
}

Result<HostFacts> discover_host_for(const ContainerSpec* spec, bool account) {
  HostFacts facts;
  const bool limits = spec == nullptr || sets_limits(*spec);
  if (limits || spec->root.kind == Root::Kind::overlay) TRY(read_kernel_version(facts));
  facts.euid = static_cast<uid_t>(::getauxval(AT_EUID));
  facts.egid = static_cast<gid_t>(::getauxval(AT_EGID));
  facts.plain_ids = ::getauxval(AT_UID) == facts.euid && ::getauxval(AT_GID) == facts.egid;
  facts.page_size_bytes = ::getauxval(AT_PAGESZ);
  const OwnStatus own = TRY(read_own_status());
  facts.capabilities = own.permitted;
  facts.bounding = own.bounding;
  facts.ignored_signals = own.ignored_signals;
  // "lowerdir+" came with 6.7 (overlayfs documentation: 6.8 for data layers)
  facts.overlay_lowerdir_append = facts.kernel_at_least(6, 8);
  facts.overlay_detached_layers = facts.kernel_at_least(6, 15);
  // The cgroups of an ordinary user are beside their own.
  facts.cgroup = TRY(discover_cgroups(limits                       ? CgroupNeeds::everything
                                      : account || facts.euid != 0 ? CgroupNeeds::controllers
                                                                   : CgroupNeeds::place));
  if (facts.euid != 0) facts.cgroup.delegated = may_make_cgroups(facts.cgroup);
  return facts;
}

// ---------------------------------------------------------------- create

Creation::Creation(Creation&& other) noexcept
    : dir(std::move(other.dir)),
      record(std::move(other.record)),
      launched(std::move(other.launched)),
      network(std::move(other.network)),
      root_(std::exchange(other.root_, nullptr)) {}

Creation::~Creation() {
  if (root_ != nullptr) (void)undo();  // who wants to know calls undo() itself
}

void Creation::keep() {
  root_ = nullptr;
  if (launched) launched->keep();
  if (network) network->keep();
}

Status Creation::end() {
  Status ended = launched ? launched->end() : Status();
  if (ended && network) {
    ended = fault_point("remove the network");
    if (ended) ended = network->end();
  }
  if (!ended) keep();
  return ended;
}

Status Creation::undo() {
  TRY(end());
  launched.reset();
  const StateRoot* root = std::exchange(root_, nullptr);
  return root != nullptr ? dir.remove(*root) : Status();
}

namespace {

Status expect_empty(const HostFacts& facts, const std::string& path) {
  const Result<CgroupFd> cgroup = open_cgroup(facts.cgroup, path);
  if (!cgroup) return cgroup.error().errnum == ENOENT ? Status() : std::unexpected(cgroup.error());
  if (TRY(wait_until_empty(*cgroup, std::chrono::seconds(1)))) return {};
  return os_error(EBUSY, "cgroup " + path,
                  fmt::format("is of a create that did not end, and others live in it: {}",
                              describe_pids(TRY(cgroup_pids(*cgroup, true)))));
}

bool lives(ContainerStatus status) {
  return status == ContainerStatus::created || status == ContainerStatus::running ||
         status == ContainerStatus::paused;
}

/// Kills what lives of a committed container; one readable file is enough to find it.
Status kill_for_delete(const ContainerView& view, const HostFacts& facts) {
  // After a reboot its cgroup's name may be another's.
  if (view.record && view.record->boot_id != TRY(read_boot_id())) return {};
  if (view.init && view.status != ContainerStatus::stopped)
    if (const Result<PidFd> init = open_init(*view.init))
      ::syscall(SYS_pidfd_send_signal, init->get(), SIGKILL, nullptr, 0);
  if (const std::string path = view.cgroup_path(); view.committed && !path.empty()) {
    const Status killed = kill_cgroup(facts.cgroup, path);
    if (!killed && killed.error().errnum != ENOENT) return killed;
  }
  return {};
}

/// Removes everything that a container without a live process of its own can have left.
Status clean(const StateRoot& root, ContainerDir& dir, const ContainerView& view,
             const HostFacts& facts, const Warn& warn) {
  if (!view.record) TRY(dir.check_ours());
  // Read before the files go; they run after (runtime.md, steps 12 and 13).
  std::optional<ContainerHooks> hooks;
  if (view.record && view.record->hooks)
    hooks.emplace(stored_hooks(dir, *view.record), *view.record, -1, warn);
  TRY(fault_point("remove the cgroup"));
  const std::string cgroup = view.cgroup_path();
  if (!cgroup.empty() && (!view.record || view.record->boot_id == TRY(read_boot_id()))) {
    // Not committed: its own processes die with their minirun, and others may live in a cgroup that
    // the user named and that minirun had not looked at yet. Those are never killed.
    if (!view.committed) TRY(expect_empty(facts, cgroup));
    TRY(remove_cgroup(facts.cgroup, cgroup));
    if (view.record && !view.record->systemd_unit.empty())
      TRY(stop_scope(view.record->systemd_unit));
    if (view.record) TRY(remove_rdt(view.record->rdt_groups));
  }
  TRY(fault_point("remove the network"));
  TRY(remove_container_network(root.fd(), dir.id()));
  TRY(fault_point("remove the state"));
  TRY(dir.remove(root));
  if (hooks) hooks->after_end();
  return {};
}

/// Nobody's any more: a create that did not end, or a foreground run without its minirun, which
/// would have removed it. (The caller has the lock, so there is no such minirun.) Its processes die
/// with that minirun, but may not have done so yet.
bool is_left(const ContainerView& view) {
  return view.status == ContainerStatus::crashed ||
         (view.record && view.record->foreground && !view.record->keep);
}

/// Makes the directory with its record; the rest of a crash in its place is removed first.
Result<ContainerDir> claim(const StateRoot& root, const Record& record, std::string_view document,
                           const HostFacts& facts) {
  const std::string& id = record.id;
  Result<ContainerDir> dir = ContainerDir::create(root, record, document);
  if (dir || dir.error().errnum != EEXIST) return dir;
  Result<ContainerDir> existing = ContainerDir::open(root, id, Lock::try_exclusive);
  if (!existing) {
    if (existing.error().errnum == EWOULDBLOCK) return dir;
    return ContainerDir::create(root, record, document);  // it was removed just now
  }
  const ContainerView view = view_container(*existing, facts);
  if (!is_left(view)) return dir;
  TRY(kill_for_delete(view, facts));
  TRY(clean(root, *existing, view, facts, {}));
  existing = plain_error(id, "");  // gives the lock back
  return ContainerDir::create(root, record, document);
}

/// What of the host the container sees its NOTIFY_SOCKET in.
Status make_notify(const ContainerDir& dir) {
  if (::mkdirat(dir.fd(), "notify", 0755) != 0 || ::fchmodat(dir.fd(), "notify", 0755, 0) != 0)
    return os_error(dir.id() + "/notify");
  return {};
}

/// The upper layer of a root that is kept (`run --keep`). Its mode becomes that of the root.
Status make_layer(const ContainerDir& dir) {
  for (const char* path : {"layer", "layer/upper", "layer/work"})
    if (::mkdirat(dir.fd(), path, 0755) != 0 || ::fchmodat(dir.fd(), path, 0755, 0) != 0)
      return os_error(fmt::format("{}/{}", dir.id(), path), "make the layer");
  return {};
}

}  // namespace

Result<Creation> create_container(const StateRoot& root, Record record, const std::string& document,
                                  const LaunchPlan& plan, const LaunchContext& context) {
  record.id = plan.id;
  record.boot_id = TRY(read_boot_id());
  record.nonce = process_nonce();
  if (plan.rdt) record.rdt_groups = groups_made(*plan.rdt);
  record.created = timestamp();
  record.cgroup_mount = context.facts.cgroup.mount_point;
  record.cgroup_path = plan.cgroup.path;
  if (plan.cgroup.scope) record.systemd_unit = plan.cgroup.scope->unit;
  record.steps = plan.child.size();
  record.early_word = plan.early_word;
  if (plan.start_socket != Slot::none) record.start_socket = "start.sock";
  TRY(fault_point("state directory"));
  Creation creation(root, TRY(claim(root, record, document, context.facts)));
  TRY(fault_point("record"));
  if (record.keep) TRY(make_layer(creation.dir));
  if (record.notify) TRY(make_notify(creation.dir));
  creation.record = std::move(record);
  if (context.clock != nullptr) context.clock->mark("record");
  LaunchContext with_network = context;
  if (plan.network) {
    TRY(fault_point("prepare the network"));
    creation.network = TRY(ContainerNetwork::prepare(*plan.network, root.fd(), creation.dir.fd()));
    with_network.network = [&creation](pid_t pid) { return creation.network->attach(pid); };
    if (context.clock != nullptr) context.clock->mark("lease");
  }
  Status undone;
  Result<Launched> launched = launch(plan, with_network, undone);
  if (!undone) creation.keep();  // the record stays, so that `gc` finds the rest
  creation.launched = TRY(std::move(launched));
  creation.launched->init.cgroup = plan.cgroup.path;
  TRY(fault_point("commit"));
  TRY(creation.dir.write_init(creation.launched->init));
  if (context.clock != nullptr) context.clock->mark("commit");
  TRY(fault_point("word"));
  return creation;
}

// ---------------------------------------------------------------- look

std::string ContainerView::cgroup_path() const {
  if (record) return record->cgroup_path;
  if (init && !init->cgroup.empty()) return init->cgroup;
  return committed ? "/minirun/" + id : "";
}

namespace {

/// Of a container that was committed. Either file may be unreadable: what lives is still found.
ContainerStatus status_of(const ContainerView& view, const ContainerDir& dir,
                          const HostFacts& facts) {
  if (view.record) {
    const Result<std::string> boot = read_boot_id();
    if (!boot || view.record->boot_id != *boot) return ContainerStatus::stopped;
  }
  CgroupEvents events;
  if (const std::string path = view.cgroup_path(); !path.empty())
    if (const Result<CgroupFd> cgroup = open_cgroup(facts.cgroup, path))
      events = read_cgroup_events(*cgroup).value_or(events);
  if (view.init ? !open_init(*view.init) : !events.populated) return ContainerStatus::stopped;
  if (events.frozen) return ContainerStatus::paused;
  switch (view.init ? what_executes(view.init->pid) : Executes::program) {
    case Executes::stage:
      // A program that looks like the stage must not seem to be created for ever.
      if (view.record && view.record->early_word)
        return dir.busy() ? ContainerStatus::creating : ContainerStatus::running;
      return ContainerStatus::created;
    case Executes::program:
      return ContainerStatus::running;
    case Executes::nothing:
      return ContainerStatus::stopped;
  }
  std::unreachable();
}

}  // namespace

ContainerView view_container(const ContainerDir& dir, const HostFacts& facts) {
  ContainerView view;
  view.id = dir.id();
  if (Result<Record> record = dir.record()) view.record = std::move(*record);
  Result<Init> init = dir.init();
  view.committed = init || init.error().errnum != ENOENT;
  if (init) view.init = std::move(*init);
  if (view.committed)
    view.status = status_of(view, dir, facts);
  else
    view.status = dir.busy() ? ContainerStatus::creating : ContainerStatus::crashed;
  return view;
}

Result<std::vector<ContainerView>> list_containers(const StateRoot& root, const HostFacts& facts) {
  std::vector<ContainerView> views;
  for (const std::string& id : TRY(root.ids())) {
    const Result<ContainerDir> dir = ContainerDir::open(root, id, Lock::none);
    if (dir) views.push_back(view_container(*dir, facts));
  }
  return views;
}

// ---------------------------------------------------------------- act

namespace {

Status signal_all(const ContainerView& view, int signal, const HostFacts& facts) {
  if (view.cgroup_path().empty()) {
    // --cgroup-manager=disabled: the first process is all that we know to be the container's.
    const PidFd init = TRY(open_init(*view.init));
    if (::syscall(SYS_pidfd_send_signal, init.get(), signal, nullptr, 0) != 0)
      return os_error(view.id, fmt::format("send signal {}", signal));
    return {};
  }
  const CgroupFd cgroup = TRY(open_cgroup(facts.cgroup, view.cgroup_path()));
  if (signal == SIGKILL) return kill_cgroup(cgroup);
  for (const pid_t pid : TRY(cgroup_pids(cgroup, true)))
    if (::kill(pid, signal) != 0 && errno != ESRCH) return os_error(fmt::format("kill {}", pid));
  return {};
}

}  // namespace

Status kill_container(const StateRoot& root, const std::string& id, int signal, bool all,
                      const HostFacts& facts) {
  const ContainerDir dir = TRY(ContainerDir::open(root, id, Lock::none));
  const ContainerView view = view_container(dir, facts);
  if (!lives(view.status) && !(view.status == ContainerStatus::creating && view.committed)) {
    if (all && view.record && view.status == ContainerStatus::stopped) return {};
    return plain_error(id, "container not running");
  }
  if (all || !view.init) return signal_all(view, signal, facts);
  const PidFd init = TRY(open_init(*view.init));
  // The end of a pid namespace's first process takes everybody along; without such a namespace the
  // others would live on.
  if (signal == SIGKILL && !view.cgroup_path().empty() && !heads_pid_namespace(view.init->pid))
    return signal_all(view, signal, facts);
  if (::syscall(SYS_pidfd_send_signal, init.get(), signal, nullptr, 0) != 0) {
    if (errno == ESRCH) return plain_error(id, "container not running");
    return os_error(id, fmt::format("send signal {}", signal));
  }
  return {};
}

Status destroy_container(const StateRoot& root, ContainerDir& dir, const ContainerView& view,
                         const HostFacts& facts, const Warn& warn) {
  TRY(kill_for_delete(view, facts));
  return clean(root, dir, view, facts, warn);
}

namespace {

/// Whoever has the lock goes on by itself, unless somebody has stopped it (Ctrl-Z), and until then
/// nobody else may touch the container: it is woken. Who serves a container whose program is dead
/// then removes it; a create that has not committed is told to give up.
void wake_holders(const ContainerDir& dir, const ContainerView& view) {
  for (const pid_t pid : dir.lock_holders()) {
    const PidFd holder(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const Result<ProcessStat> stat = read_process_stat(pid);
    if (!holder || !stat || stat->state != 'T') continue;
    const std::vector<pid_t> still = dir.lock_holders();
    if (std::ranges::find(still, pid) == still.end()) continue;  // else the pidfd is of this one
    if (!view.committed) ::syscall(SYS_pidfd_send_signal, holder.get(), SIGTERM, nullptr, 0);
    ::syscall(SYS_pidfd_send_signal, holder.get(), SIGCONT, nullptr, 0);
  }
}

}  // namespace

Status delete_container(const StateRoot& root, const std::string& id, bool force,
                        const HostFacts& facts, const Warn& warn) {
  Result<ContainerDir> found = ContainerDir::open(root, id, Lock::none);
  if (!found) {
    if (force && found.error().detail == "container does not exist") return {};
    return std::unexpected(std::move(found).error());
  }
  ContainerView view = view_container(*found, facts);
  const bool removable = view.status == ContainerStatus::stopped ||
                         view.status == ContainerStatus::crashed ||
                         view.status == ContainerStatus::created;
  if (!removable && !force)
    return plain_error(id, fmt::format("cannot delete container {} that is not stopped: {}", id,
                                       name(view.status)));
  if (force || view.status == ContainerStatus::created) TRY(kill_for_delete(view, facts));
  TRY(fault_point("lock"));
  Result<ContainerDir> dir = ContainerDir::open(root, id, Lock::try_exclusive);
  if (!dir && dir.error().errnum == EWOULDBLOCK) {
    // Only now: /proc/locks makes whoever reads it wait for an RCU grace period, up to 10 ms.
    if (force) wake_holders(*found, view);
    // Waits for a foreground run to take its own container away, and for nobody else's work.
    dir = ContainerDir::open(root, id, Lock::exclusive);
  }
  if (!dir && dir.error().errnum == ETIMEDOUT && force && !view.committed) {
    // It was being created when we looked, and runs by now.
    view = view_container(*found, facts);
    TRY(kill_for_delete(view, facts));
    if (view.committed) dir = ContainerDir::open(root, id, Lock::exclusive);
  }
  if (!dir) {
    if (dir.error().detail == "container does not exist") return {};
    return std::unexpected(std::move(dir).error());
  }
  const ContainerView now = view_container(*dir, facts);
  if (now.record && view.record && now.record->nonce != view.record->nonce)
    return {};  // the one that we were asked about is gone; this is a new one of the same id
  return clean(root, *dir, now, facts, warn);
}

Result<GcResult> collect_garbage(const StateRoot& root, const HostFacts& facts) {
  GcResult result;
  const std::string boot = TRY(read_boot_id());
  for (const std::string& id : TRY(root.ids())) {
    Result<ContainerDir> dir = ContainerDir::open(root, id, Lock::try_exclusive);
    if (!dir) continue;  // somebody works on it, or it is gone
    ContainerView view = view_container(*dir, facts);
    const bool earlier_boot = view.record && view.record->boot_id != boot;
    if (!is_left(view) && !earlier_boot) continue;
    if (Status killed = kill_for_delete(view, facts); !killed) {
      result.errors.push_back(std::move(killed).error());
      continue;
    }
    if (Status cleaned = clean(root, *dir, view, facts, {}); !cleaned)
      result.errors.push_back(std::move(cleaned).error());
    else
      result.removed.push_back(id);
  }
  if (Result<std::vector<std::string>> networks = collect_networks(root.fd(), false); !networks)
    result.errors.push_back(std::move(networks).error());
  else
    for (std::string& lease : *networks) result.removed.push_back(std::move(lease));
  return result;
}

}  // namespace minirun
