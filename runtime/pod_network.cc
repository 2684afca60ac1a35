#include "runtime/pod_network.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "netns/cni.h"

namespace minirun {
namespace {

constexpr std::string_view prefix = "@pod.";

/// A new directory with its lock. A sweep may take it away before it is locked: then once more.
Result<DirFd> make_locked(int root, const std::string& name, const std::string& path) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::mkdirat(root, name.c_str(), 0700) != 0)
      return os_error(path, errno == EEXIST ? "a pod of this name runs already" : "");
    DirFd made(::openat(root, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made || ::flock(made.get(), LOCK_EX) != 0) {
      if (errno == ENOENT) continue;
      return os_error(path);
    }
    struct stat mine{}, now{};
    if (::fstat(made.get(), &mine) == 0 &&
        ::fstatat(root, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == now.st_ino)
      return made;
  }
  return os_error(EBUSY, path);
}

}  // namespace

std::string pod_network_id(const std::string& pod) {
  return fmt::format("{}{}", prefix, pod);
}

Result<PodNetwork> PodNetwork::prepare(const NetworkLaunch& launch, const StateRoot& root) {
  const std::string& id = launch.request.id;
  const std::string path = fmt::format("{}/{}", root.path(), id);
  DirFd copy(::fcntl(root.fd(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return os_error(root.path());
  DirFd directory = TRY(make_locked(copy.get(), id, path));
  PodNetwork network;
  network.launch_ = &launch;
  network.root_ = std::move(copy);
  network.directory_ = std::move(directory);
  network.files_ = path + "/network";
  network.network_ =
      TRY(ContainerNetwork::prepare(launch, network.root_.get(), network.directory_.get()));
  return network;
}

PodNetwork::~PodNetwork() {
  (void)end();  // who wants to know calls end() itself
}

Status PodNetwork::end() {
  if (!root_) return {};  // ended, or moved from
  Status ended = network_ ? network_->end() : Status();
  network_.reset();
  // What could not be removed keeps its directory: gc finds it by that.
  if (ended) ended = remove_tree(root_.get(), launch_->request.id);
  root_.reset();
  return ended;
}

Result<std::string> PodNetwork::address() const {
  const NetworkRequest& request = launch_->request;
  if (request.network.mode == Network::Mode::cni) {
    const std::string text = TRY(read_file(directory_.get(), "network/cni.json"));
    return read_cni_result(TRY(parse_cni_record(text)).result).address;
  }
  const NetworkState state = TRY(peek_network_state(root_.get()));
  const auto entry = state.networks.find(request.network.name);
  if (entry == state.networks.end()) return plain_error(request.network.name, "is gone");
  const auto lease = entry->second.leases.find(request.id);
  const auto subnet = Subnet::parse(entry->second.subnet);
  if (lease == entry->second.leases.end() || !subnet)
    return plain_error(request.network.name, "has no address for the pod");
  return subnet->at(lease->second.index).text();
}

Result<std::vector<std::string>> sweep_pod_networks(const StateRoot& root) {
  std::vector<std::string> removed;
  const int copy = ::openat(root.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* list = copy < 0 ? nullptr : ::fdopendir(copy);
  if (list == nullptr) return os_error(root.path());
  Status result;
  while (const dirent* entry = ::readdir(list)) {  // NOLINT(concurrency-mt-unsafe): one thread
    const std::string name = entry->d_name;
    if (!name.starts_with(prefix)) continue;
    const Fd one(
        ::openat(root.fd(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!one || ::flock(one.get(), LOCK_EX | LOCK_NB) != 0) continue;
    Status done = remove_container_network(root.fd(), name);
    if (done) done = remove_tree(root.fd(), name);
    if (done) removed.push_back(name);
    if (!done && result) result = done;
  }
  ::closedir(list);
  if (!result) return std::unexpected(std::move(result).error());
  return removed;
}

}  // namespace minirun
