#include "netns/state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace minirun {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* directory_name = "@network";
constexpr int state_version = 1;

json to_value(const Lease& lease) {
  json ports = json::array();
  for (const PortMapping& port : lease.ports)
    ports.push_back({{"hostIp", port.host_ip},
                     {"hostPort", port.host_port},
                     {"containerPort", port.container_port},
                     {"udp", port.udp}});
  return {{"index", lease.index}, {"device", lease.device}, {"shaper", lease.shaper},
          {"names", lease.names}, {"hosts", lease.hosts},   {"ports", std::move(ports)}};
}

// at() and get() throw on what does not fit: caught in parse_network_state.
Lease lease_of(const json& value) {
  Lease lease{.index = value.at("index").get<std::uint32_t>(),
              .device = value.at("device").get<std::string>(),
              .shaper = value.at("shaper").get<std::string>(),
              .names = value.at("names").get<std::vector<std::string>>(),
              .hosts = value.at("hosts").get<std::map<std::string, std::string>>(),
              .ports = {}};
  for (const json& port : value.at("ports"))
    lease.ports.push_back({.host_ip = port.at("hostIp").get<std::string>(),
                           .host_port = port.at("hostPort").get<std::uint16_t>(),
                           .container_port = port.at("containerPort").get<std::uint16_t>(),
                           .udp = port.at("udp").get<bool>(),
                           .field = {}});
  return lease;
}

NetworkEntry entry_of(const json& value) {
  NetworkEntry entry{.subnet = value.at("subnet").get<std::string>(),
                     .subnet6 = value.at("subnet6").get<std::string>(),
                     .mtu = value.at("mtu").get<std::uint32_t>(),
                     .last = value.at("last").get<std::uint32_t>(),
                     .forwarding = value.at("forwarding").get<std::vector<std::string>>(),
                     .leases = {}};
  for (const auto& [id, lease] : value.at("leases").items()) entry.leases[id] = lease_of(lease);
  return entry;
}

}  // namespace

std::string to_json(const NetworkState& state) {
  json networks = json::object();
  for (const auto& [name, entry] : state.networks) {
    json leases = json::object();
    for (const auto& [id, lease] : entry.leases) leases[id] = to_value(lease);
    networks[name] = {
        {"subnet", entry.subnet}, {"subnet6", entry.subnet6},       {"mtu", entry.mtu},
        {"last", entry.last},     {"forwarding", entry.forwarding}, {"leases", std::move(leases)}};
  }
  return json{{"version", state_version}, {"networks", std::move(networks)}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
}

Result<NetworkState> parse_network_state(std::string_view text) {
  try {
    const json document = json::parse(text);
    if (document.at("version") != state_version)
      return plain_error("@network/state.json", "has another version than this minirun writes");
    NetworkState state;
    for (const auto& [name, entry] : document.at("networks").items())
      state.networks[name] = entry_of(entry);
    return state;
  } catch (const json::exception& error) {
    return plain_error("@network/state.json", std::string("is corrupt: ") + error.what());
  }
}

namespace {

/// flock(2) that an alarm ends: whoever holds the lock may be stopped or hang.
Status lock_within(int fd) {
  if (TEMP_FAILURE_RETRY(::flock(fd, LOCK_EX | LOCK_NB)) == 0) return {};
  if (errno != EWOULDBLOCK) return os_error("@network/lock");
  struct sigaction quiet{}, before{};
  quiet.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &quiet, &before);
  // Repeats, so that an alarm just before the flock is not lost.
  const itimerval timer{{0, 500'000}, {NetworkStore::lock_seconds, 0}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
  const int result = ::flock(fd, LOCK_EX);
  const int error = errno;
  const itimerval off{};
  ::setitimer(ITIMER_REAL, &off, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
  if (result == 0) return {};
  if (error == EINTR)
    return os_error(ETIMEDOUT, "@network/lock",
                    "another minirun has been working on the networks for 60 s");
  return os_error(error, "@network/lock");
}

}  // namespace

Result<NetworkStore> NetworkStore::open(int root_fd, If how) {
  NetworkStore store;
  store.root_fd_ = root_fd;
  // Who removes the last network removes the directory: then it is made anew. Bounded: each round
  // means that somebody removed it.
  for (int round = 0; round < 100; ++round) {
    if (how == If::create && ::mkdirat(root_fd, directory_name, 0700) != 0 && errno != EEXIST)
      return os_error(directory_name);
    store.directory_ =
        DirFd(::openat(root_fd, directory_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!store.directory_) {
      if (errno == ENOENT && how == If::create) continue;
      return os_error(directory_name);
    }
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    store.lock_ = Fd(::openat(store.directory_.get(), "lock", flags, 0600));
    if (!store.lock_) {
      if (errno == ENOENT) continue;  // the directory is just being removed
      return os_error("@network/lock");
    }
    TRY(lock_within(store.lock_.get()));
    struct stat info{};
    if (::fstat(store.lock_.get(), &info) != 0) return os_error("@network/lock");
    if (info.st_nlink == 0) {
      if (how == If::exists) return os_error(ENOENT, directory_name);
      continue;
    }
    const Result<std::string> text =
        read_file(store.directory_.get(), "state.json", std::size_t{64} << 20);
    if (!text && text.error().errnum != ENOENT) return std::unexpected(text.error());
    if (text) store.state = TRY(parse_network_state(*text));
    return store;
  }
  return os_error(EAGAIN, directory_name, "was removed each time it was made");
}

Status NetworkStore::save() {
  const int at = directory_.get();
  if (!state.networks.empty()) {
    // We hold the lock: one fixed name, and a rest of a crash is overwritten.
    const Fd file(::openat(at, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return os_error("@network/state.new");
    Status saved = write_all(file.get(), to_json(state), "@network/state.new");
    if (saved && ::renameat(at, "state.new", at, "state.json") != 0)
      saved = os_error("@network/state.json");
    if (!saved) ::unlinkat(at, "state.new", 0);
    return saved;
  }
  for (const char* name : {"state.new", "state.json", "lock"})
    if (::unlinkat(at, name, 0) != 0 && errno != ENOENT)
      return os_error(std::string("@network/") + name);
  // Not empty: somebody came and made a new lock already.
  if (::unlinkat(root_fd_, directory_name, AT_REMOVEDIR) != 0 && errno != ENOTEMPTY &&
      errno != ENOENT)
    return os_error(directory_name);
  return {};
}

Result<NetworkState> peek_network_state(int root_fd) {
  const Result<std::string> text = read_file(root_fd, "@network/state.json", std::size_t{64} << 20);
  if (!text) {
    if (text.error().errnum == ENOENT || text.error().errnum == ENOTDIR) return NetworkState{};
    return std::unexpected(text.error());
  }
  return parse_network_state(*text);
}

}  // namespace minirun
