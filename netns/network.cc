#include "netns/network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "base/fault.h"
#include "base/file.h"
#include "netns/apply.h"
#include "netns/files.h"
#include "netns/pasta.h"
#include "netns/port_rules.h"

namespace minirun {
namespace {

constexpr const char* cni_file = "network/cni.json";
constexpr const char* pasta_file = "network/pasta.pid";

/// The first error of a plan as an Error, with the field as its object.
Status check_plan(const NetworkPlan& plan) {
  for (const Finding& finding : plan.findings)
    if (finding.level == Finding::Level::error) {
      std::string field =
          finding.pointer.starts_with('/') ? finding.pointer.substr(1) : finding.pointer;
      for (char& c : field)
        if (c == '/') c = '.';
      return plain_error(field, finding.message);
    }
  return {};
}

Status remove_devices(const Lease& lease) {
  Netlink netlink = TRY(Netlink::open());
  for (const std::string& device : {lease.device, lease.shaper})
    if (!device.empty()) TRY(remove_link(netlink, device));
  return {};
}

/// Removes a bridge, when it is ours, and gives back the forwarding of other devices.
Status remove_bridge(const std::string& root, const std::string& name, const NetworkEntry& entry) {
  Netlink netlink = TRY(Netlink::open());
  TRY(remove_link(netlink, unfinished_bridge(root, name)));
  const Result<Link> link = find_link(netlink, name);
  if (!link && link.error().errnum != ENODEV) return std::unexpected(link.error());
  if (link && link->kind == "bridge" && link->alias == bridge_alias(root))
    TRY(remove_link(netlink, name));
  for (const std::string& device : entry.forwarding) {
    const Fd file(::open(fmt::format("/proc/sys/net/ipv4/conf/{}/forwarding", device).c_str(),
                         O_WRONLY | O_CLOEXEC));
    if (file && ::write(file.get(), "0", 1) != 1) return os_error(device, "forwarding");
  }
  return {};
}

bool shares_forwarding(const NetworkState& state, const std::string& device) {
  for (const auto& [name, entry] : state.networks)
    for (const std::string& other : entry.forwarding)
      if (other == device) return true;
  return false;
}

/// Takes `name` out of the state and away; the caller saves. Rules first: while they are there,
/// the network is known.
Status take_network(NetworkStore& store, const std::string& root, const std::string& name) {
  NetworkEntry entry = store.state.networks.at(name);
  store.state.networks.erase(name);
  std::erase_if(entry.forwarding,
                [&](const std::string& device) { return shares_forwarding(store.state, device); });
  TRY(remove_bridge(root, name, entry));
  return apply_rules(find_program("nft"), plan_rules(table_name(root), store.state),
                     store.lock_fd());
}

std::string host_resolv(const Network& network) {
  return network.dns.empty() ? read_host_resolv() : std::string();
}

/// In one step: a crash leaves the record with or without the result.
Status rewrite_cni_record(int container_fd, const std::string& text) {
  const DirFd directory(
      ::openat(container_fd, "network", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return os_error("network");
  return replace_file(directory.get(), "cni.json", text);
}

Status remove_leases(int root_fd, const std::string& id);
Status remove_made_by_others(int root_fd, const std::string& id, const std::string& netns);

bool exists(int root_fd, const std::string& id) {
  struct stat info{};
  return ::fstatat(root_fd, id.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

Result<std::string> network_owner(int root_fd) {
  std::string path(PATH_MAX, '\0');
  const std::string link = fmt::format("/proc/self/fd/{}", root_fd);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
  if (size < 0) return os_error(link);
  if (static_cast<std::size_t>(size) == path.size()) return os_error(ENAMETOOLONG, link);
  path.resize(static_cast<std::size_t>(size));
  return path;
}

// ---------------------------------------------------------------- a container's

Result<ContainerNetwork> ContainerNetwork::prepare(const NetworkLaunch& launch, int root_fd,
                                                   int container_fd) {
  ContainerNetwork network(launch, root_fd);
  const bool bridge = launch.request.network.mode == Network::Mode::bridge;
  const Status made =
      bridge ? network.prepare_bridge(container_fd) : network.prepare_files(container_fd);
  if (made) return network;
  if (const Status undone = network.end(); !undone) {
    Error error = made.error();
    error.detail += "; and not undone: " + to_string(undone.error());
    return std::unexpected(std::move(error));
  }
  return std::unexpected(made.error());
}

Status ContainerNetwork::prepare_bridge(int container_fd) {
  const NetworkRequest& request = launch_->request;
  NetworkStore store = TRY(NetworkStore::open(root_fd_, NetworkStore::If::create));
  NetworkFacts facts = launch_->facts;
  {
    // Others may have made or removed it since the facts were read.
    Netlink netlink = TRY(Netlink::open());
    Result<Link> bridge = find_link(netlink, request.network.name);
    if (!bridge && bridge.error().errnum != ENODEV) return std::unexpected(bridge.error());
    facts.bridge = bridge ? std::optional(std::move(*bridge)) : std::nullopt;
  }
  plan_ = plan_network(request, facts, store.state);
  Status recorded = check_plan(plan_);
  if (recorded) {
    const NetworkState before = std::exchange(store.state, plan_.state);
    recorded = store.save();
    if (!recorded) store.state = before;
  }
  if (!recorded) {
    keep();  // there is nothing to undo but the directory
    if (store.state.networks.empty()) TRY(store.save());
    return recorded;
  }
  TRY(fault_step("net", "network"));
  TRY(apply_steps(plan_.network, {.nft = facts.nft, .lock_fd = store.lock_fd()}));
  TRY(fault_step("net", "network"));
  TRY(make_network_files(container_fd, hosts_text(plan_.entry, request.id), request.hostname,
                         resolv_text(request.network.dns, host_resolv(request.network))));
  return rewrite_hosts(root_fd_, plan_.entry);
}

/// For networks that others make: the files, and how to end them again.
Status ContainerNetwork::prepare_files(int container_fd) {
  const NetworkRequest& request = launch_->request;
  TRY(make_network_files(container_fd, hosts_text(request.network.hosts, "", request.names),
                         request.hostname,
                         resolv_text(request.network.dns, host_resolv(request.network))));
  if (request.network.mode != Network::Mode::cni) return {};
  return write_new_file(container_fd, cni_file, to_json(launch_->cni, ""));
}

ContainerNetwork::ContainerNetwork(ContainerNetwork&& other) noexcept
    : launch_(other.launch_),
      root_fd_(std::exchange(other.root_fd_, -1)),
      plan_(std::move(other.plan_)),
      attached_(other.attached_),
      netns_(std::move(other.netns_)) {}

ContainerNetwork& ContainerNetwork::operator=(ContainerNetwork&& other) noexcept {
  if (this == &other) return *this;
  (void)end();
  launch_ = other.launch_;
  root_fd_ = std::exchange(other.root_fd_, -1);
  plan_ = std::move(other.plan_);
  attached_ = other.attached_;
  netns_ = std::move(other.netns_);
  return *this;
}

ContainerNetwork::~ContainerNetwork() {
  (void)end();  // who wants to know calls end() itself
}

Status ContainerNetwork::attach(pid_t pid) {
  const Network::Mode mode = launch_->request.network.mode;
  if (mode == Network::Mode::cni)
    TRY(attach_cni(pid));
  else if (mode == Network::Mode::pasta)
    TRY(start_pasta(launch_->pasta, pid));
  else
    TRY(attach_bridge(pid));
  attached_ = true;
  return {};
}

Status ContainerNetwork::attach_bridge(pid_t pid) {
  // Only rules need the lock: they are one table for all.
  std::vector<NetStep> steps = plan_.attach;
  std::erase_if(steps, [](const NetStep& step) { return step.op == NetStep::Op::rules; });
  TRY(apply_steps(steps, {.pid = pid, .nft = launch_->facts.nft}));
  if (plan_.lease.ports.empty()) return {};
  NetworkStore store = TRY(NetworkStore::open(root_fd_, NetworkStore::If::exists));
  TRY(fault_step("net", "network.ports"));
  const std::string name = table_name(launch_->request.root);
  const std::string& nft = launch_->facts.nft;
  if (apply_rules(nft, plan_port_rules(name, plan_.entry, plan_.lease), store.lock_fd())) return {};
  // Somebody flushed the table. Whatever else it is, the whole one says it.
  if (const Status done = apply_rules(nft, plan_rules(name, store.state), store.lock_fd()); !done)
    return std::unexpected(Error(done.error()).in("network.ports"));
  return {};
}

Status ContainerNetwork::attach_cni(pid_t pid) {
  const NetworkRequest& request = launch_->request;
  const std::string path = fmt::format("/proc/{}/ns/net", pid);
  netns_ = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns_) return os_error(path);
  const std::string result = TRY(cni_add(launch_->cni, request.id, path));
  const DirFd container(
      ::openat(root_fd_, request.id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!container) return os_error(request.id);
  TRY(rewrite_cni_record(container.get(), to_json(launch_->cni, result)));
  const CniAnswer answer = read_cni_result(result);
  TRY(rewrite_network_file(root_fd_, request.id, "hosts",
                           hosts_text(request.network.hosts, answer.address, request.names)));
  if (answer.resolv.empty() || !request.network.dns.empty()) return {};
  return rewrite_network_file(root_fd_, request.id, "resolv.conf", answer.resolv);
}

Status ContainerNetwork::end() {
  if (root_fd_ < 0) return {};
  const int root_fd = std::exchange(root_fd_, -1);
  const NetworkRequest& request = launch_->request;
  const std::string netns =
      netns_ ? fmt::format("/proc/{}/fd/{}", ::getpid(), netns_.get()) : std::string();
  TRY(remove_made_by_others(root_fd, request.id, netns));
  TRY(remove_leases(root_fd, request.id));
  if (attached_ || !plan_.fresh) return {};
  // It was made for a container that did not come to be.
  Result<NetworkStore> store = NetworkStore::open(root_fd, NetworkStore::If::exists);
  if (!store) return store.error().errnum == ENOENT ? Status() : std::unexpected(store.error());
  const auto found = store->state.networks.find(request.network.name);
  if (found == store->state.networks.end() || !found->second.leases.empty()) return {};
  TRY(take_network(*store, request.root, request.network.name));
  return store->save();
}

Status remove_container_network(int root_fd, const std::string& id) {
  TRY(remove_made_by_others(root_fd, id, ""));
  return remove_leases(root_fd, id);
}

namespace {

Status remove_leases(int root_fd, const std::string& id) {
  const NetworkState seen = TRY(peek_network_state(root_fd));
  for (const auto& [name, entry] : seen.networks) {
    const auto lease = entry.leases.find(id);
    if (lease == entry.leases.end()) continue;
    // Without the lock, since it waits for the kernel to let go of the devices; nobody else can
    // get the address before it is given back.
    TRY(remove_devices(lease->second));
    NetworkStore store = TRY(NetworkStore::open(root_fd, NetworkStore::If::exists));
    NetworkEntry& now = store.state.networks[name];
    const bool ports = !lease->second.ports.empty();
    now.leases.erase(id);
    if (ports) {
      const std::string table = table_name(TRY(network_owner(root_fd)));
      TRY(apply_rules(find_program("nft"), plan_rules(table, store.state), store.lock_fd()));
    }
    TRY(store.save());
    TRY(rewrite_hosts(root_fd, now));
  }
  return {};
}

/// What plugins or pasta made; `netns` is a path of the network namespace, empty: it is gone.
Status remove_made_by_others(int root_fd, const std::string& id, const std::string& netns) {
  const DirFd directory(
      ::openat(root_fd, id.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return errno == ENOENT ? Status() : os_error(id);
  TRY(end_pasta(directory.get(), pasta_file));
  const Result<std::string> text = read_file(directory.get(), cni_file);
  if (!text) return text.error().errnum == ENOENT ? Status() : std::unexpected(text.error());
  const CniRecord record = TRY(parse_cni_record(*text));
  // Not empty: some plugins do half of their work then (bridge leaves its masquerading).
  const Status deleted =
      cni_delete(record, id, netns.empty() ? "/proc/self/ns/no-network-namespace" : netns);
  // After an ADD that failed, DEL tidies up what it can: a list that is wrong fails both.
  if (!deleted && !record.result.empty()) return deleted;
  if (::unlinkat(directory.get(), cni_file, 0) != 0 && errno != ENOENT) return os_error(cni_file);
  return {};
}

}  // namespace

// ---------------------------------------------------------------- networks

namespace {

/// A bridge with our mark, of which state.json knows nothing any more, and its rules.
Status remove_unknown(int root_fd, const Result<NetworkStore>& store, const std::string& name) {
  const std::string root = TRY(network_owner(root_fd));
  Netlink netlink = TRY(Netlink::open());
  const Result<Link> link = find_link(netlink, name);
  if (!link || link->kind != "bridge" || link->alias != bridge_alias(root))
    return plain_error(name, "there is no such network");
  TRY(remove_link(netlink, name));
  return apply_rules(find_program("nft"),
                     plan_rules(table_name(root), store ? store->state : NetworkState()),
                     store ? store->lock_fd() : -1);
}

}  // namespace

Status remove_network(int root_fd, const std::string& name) {
  Result<NetworkStore> store = NetworkStore::open(root_fd, NetworkStore::If::exists);
  if (!store && store.error().errnum != ENOENT) return std::unexpected(store.error());
  if (!store || !store->state.networks.contains(name)) return remove_unknown(root_fd, store, name);
  std::string users;
  for (const auto& [id, lease] : store->state.networks.at(name).leases)
    users += (users.empty() ? "" : ", ") + id;
  if (!users.empty()) return plain_error(name, "has containers: " + users);
  const std::string root = TRY(network_owner(root_fd));
  TRY(take_network(*store, root, name));
  return store->save();
}

Result<std::vector<std::string>> collect_networks(int root_fd, bool idle) {
  const std::string root = TRY(network_owner(root_fd));
  std::vector<std::string> removed;
  const NetworkState seen = TRY(peek_network_state(root_fd));
  for (const auto& [name, entry] : seen.networks)
    for (const auto& [id, lease] : entry.leases)
      if (!exists(root_fd, id)) {
        TRY(remove_container_network(root_fd, id));
        removed.push_back(fmt::format("{} of {}", id, name));
      }
  Result<NetworkStore> store = NetworkStore::open(root_fd, NetworkStore::If::exists);
  if (!store) {
    if (store.error().errnum == ENOENT) return removed;
    return std::unexpected(store.error());
  }
  if (store->state.networks.empty()) {
    TRY(store->save());  // a crash between the lock and the first network left the directory
    return removed;
  }
  Netlink netlink = TRY(Netlink::open());
  for (const auto& [name, entry] : store->state.networks)  // we have the lock: nobody makes one
    TRY(remove_link(netlink, unfinished_bridge(root, name)));
  if (!idle) return removed;
  const NetworkState before = store->state;
  for (const auto& [name, entry] : before.networks)
    if (entry.leases.empty()) {
      TRY(take_network(*store, root, name));
      removed.push_back(name);
    }
  if (!store->state.networks.empty())
    TRY(apply_rules(find_program("nft"), plan_rules(table_name(root), store->state),
                    store->lock_fd()));
  TRY(store->save());
  return removed;
}

}  // namespace minirun
