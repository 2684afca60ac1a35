#include "runtime/pod_resize.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <set>

#include "base/file.h"
#include "cgroups/control.h"
#include "cgroups/files.h"
#include "runtime/explain.h"
#include "runtime/pod_sandbox.h"
#include "runtime/report.h"
#include "runtime/update.h"
#include "spec/kubernetes/pod_file.h"

namespace minirun {
namespace {

using namespace kubernetes;  // NOLINT: this file is about nothing else

/// A pod that runs: its directory and what its minirun wrote there.
struct Served {
  DirFd directory;
  std::string uid, cgroup, document;
};

/// The directory of the pod `name` whose lock is held, that is: whose minirun lives.
Result<Served> find_served(int pods, const std::string& name) {
  const int copy = ::openat(pods, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* list = copy < 0 ? nullptr : ::fdopendir(copy);
  if (list == nullptr) return os_error("pods");
  Result<Served> found = plain_error("pod " + name, "does not run here");
  while (const dirent* entry = ::readdir(list)) {
    if (entry->d_name[0] == '.') continue;
    DirFd one(::openat(pods, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!one || ::flock(one.get(), LOCK_SH | LOCK_NB) == 0) continue;  // closing it unlocks
    const auto its_name = read_file(one.get(), "name", 4096);
    if (!its_name || *its_name != name) continue;
    auto cgroup = read_file(one.get(), "cgroup", 4096);
    auto document = read_file(one.get(), "manifest", document_bytes_most);
    if (!cgroup || !document) continue;
    found = Served{std::move(one), entry->d_name, std::move(*cgroup), std::move(*document)};
    break;
  }
  ::closedir(list);
  return found;
}

Result<PodManifest> manifest_of(const Served& served, const std::string& name) {
  PodFile file = read_pods(served.document);
  for (PodManifest& pod : file.pods)
    if (pod.name == name) {
      pod.uid = served.uid;
      return std::move(pod);
    }
  return plain_error("pod " + name, "its stored manifest cannot be read");
}

class Resizer {
 public:
  Resizer(const ResizeRequest& request, const Served& served, const HostFacts& facts,
          const StateRoot& state)
      : request_(request), served_(served), facts_(facts), state_(state) {}

  Result<std::vector<ResizeWrite>> run() {
    const PodManifest before = TRY(manifest_of(served_, request_.name));
    PodManifest after = request_.after;
    after.uid = served_.uid;
    const std::vector<ResizeStep> steps = TRY(plan_resize(before, after, request_.node));
    const PodPlan plan = TRY(plan_pod(after, request_.node));
    for (const ResizeStep& step : steps) TRY(add_writes(step, plan));
    if (!request_.force)
      for (const ResizeWrite& write : writes_) TRY(check_use(write));
    if (request_.dry_run) return std::move(writes_);
    for (const ResizeWrite& write : writes_) {
      const CgroupFd cgroup = TRY(open_cgroup(facts_.cgroup, write.path));
      if (Status done = write_beneath(cgroup.get(), write.file.c_str(), write.value); !done)
        return std::unexpected(std::move(done).error().in(write.step));
    }
    for (const ContainerPlan* container : changed_) TRY(store(*container));
    TRY(replace_file(served_.directory.get(), "manifest", request_.document));
    return std::move(writes_);
  }

 private:
  /// As `update` does: `explain` compares the kernel's values with what is stored.
  [[nodiscard]] Status store(const ContainerPlan& container) const {
    const auto dir = ContainerDir::open(state_, id_of(container.name), Lock::none);
    if (!dir && dir.error().errnum == ENOENT) return {};  // it ended meanwhile
    if (!dir) return std::unexpected(dir.error());
    return store_resources(*dir, container.oci);
  }
  [[nodiscard]] std::string id_of(const std::string& container) const {
    return fmt::format("{}-{}", request_.name, container);
  }

  Status add_writes(const ResizeStep& step, const PodPlan& plan) {
    const std::string words = to_string(step);
    if (step.kind == ResizeStep::Kind::pod_file) {
      writes_.push_back({words, served_.cgroup, step.file, step.value});
      return {};
    }
    if (step.kind == ResizeStep::Kind::restart_container)
      return plain_error("container " + step.container,
                         fmt::format("its resizePolicy for {} is RestartContainer, which is not "
                                     "supported: end it, and it comes back with what is stored",
                                     step.resource));
    const ContainerPlan* container = plan.find(step.container);
    if (container == nullptr) return plain_error(step.container, "is not in the plan");
    const std::string path = fmt::format("{}/{}", served_.cgroup, id_of(step.container));
    // A container that does not run now gets its limits when it starts.
    if (!open_cgroup(facts_.cgroup, path)) return {};
    changed_.insert(container);
    for (const auto& [file, planned] : container->cgroup2)
      if (file.starts_with(step.resource + ".") && file != "memory.oom.group")
        writes_.push_back({words, path, file, planned.value});
    return {};
  }

  /// On cgroup v2 a limit below the use does not fail: the kernel reclaims and then kills.
  [[nodiscard]] Status check_use(const ResizeWrite& write) const {
    const auto limit = parse_limit(write.value);
    if (write.file != "memory.max" || !limit) return {};
    const CgroupFd cgroup = TRY(open_cgroup(facts_.cgroup, write.path));
    std::string text = TRY(read_beneath(cgroup.get(), "memory.current"));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    const std::uint64_t use = parse_limit(text).value_or(0);
    if (use < *limit) return {};
    return plain_error(
        write.step,
        fmt::format("{} uses {}, more than the new memory.max of {}; cgroup v2 would not refuse "
                    "that but reclaim and then kill (--force does it all the same)",
                    write.path, human_bytes(use), human_bytes(*limit)));
  }

  const ResizeRequest& request_;
  const Served& served_;
  const HostFacts& facts_;
  const StateRoot& state_;
  std::vector<ResizeWrite> writes_;
  std::set<const ContainerPlan*> changed_;
};

}  // namespace

Result<std::vector<ResizeWrite>> resize_pod(const ResizeRequest& request, const HostFacts& facts,
                                            const StateRoot& state) {
  const DirFd pods(::open(pods_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!pods && errno == ENOENT) return plain_error("pod " + request.name, "does not run here");
  if (!pods) return os_error(pods_directory);
  // One at a time, and no pod comes or goes meanwhile.
  if (::flock(pods.get(), LOCK_EX) != 0) return os_error(pods_directory);
  const Served served = TRY(find_served(pods.get(), request.name));
  return Resizer(request, served, facts, state).run();
}

}  // namespace minirun
