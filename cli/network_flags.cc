#include "cli/network_flags.h"

#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "netns/facts.h"
#include "netns/pasta.h"
#include "runtime/container.h"
#include "spec/network_text.h"
#include "spec/validate.h"

namespace minirun::cli {
namespace {

constexpr const char* network_files[] = {"hosts", "hostname", "resolv.conf"};

/// The absolute path of the state directory, which names bridges and rules as minirun's.
Result<std::string> path_of(const StateRoot* root, const std::string& given) {
  if (root != nullptr) return network_owner(root->fd());
  std::string path = given.empty() ? "/run/minirun" : given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.starts_with('/')) return path;
  char* here = ::get_current_dir_name();
  if (here == nullptr) return os_error("--root", "working directory");
  path = fmt::format("{}/{}", here, path);
  ::free(here);  // NOLINT: from get_current_dir_name(3)
  return path;
}

bool is_made(Network::Mode mode) {
  return mode == Network::Mode::bridge || mode == Network::Mode::pasta ||
         mode == Network::Mode::cni;
}

void set_namespace(ContainerSpec& spec, const std::string& path, bool host) {
  std::erase_if(spec.namespaces,
                [](const Namespace& ns) { return ns.type == NamespaceType::network; });
  if (!host) spec.namespaces.push_back({NamespaceType::network, path});
}

/// Read-only: minirun writes them anew when containers come and go on the network.
void bind_files(ContainerSpec& spec, const std::string& directory) {
  for (const char* name : network_files) {
    const std::string destination = fmt::format("/etc/{}", name);
    if (std::ranges::any_of(spec.mounts,
                            [&](const Mount& mount) { return mount.destination == destination; }))
      continue;
    Mount& mount = spec.mounts.emplace_back();
    mount.destination = destination;
    mount.source = fmt::format("{}/network/{}", directory, name);
    mount.options.bind = true;
    mount.options.attr_set =
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    mount.field = "network";
  }
}

Status join_container(ContainerSpec& spec, const StateRoot* root) {
  const std::string& other = spec.network.join;
  TRY(validate_id(other));
  if (root == nullptr) return plain_error("network.join", other + " does not exist");
  const HostFacts facts = TRY(discover_host());
  const Result<ContainerDir> dir = ContainerDir::open(*root, other, Lock::none);
  if (!dir) return std::unexpected(Error(dir.error()).in("network.join"));
  const ContainerView view = view_container(*dir, facts);
  const bool lives = view.status == ContainerStatus::running ||
                     view.status == ContainerStatus::created ||
                     view.status == ContainerStatus::paused;
  if (!lives || !view.init)
    return plain_error("network.join", fmt::format("container {} is not running", other));
  set_namespace(spec, fmt::format("/proc/{}/ns/net", view.init->pid), false);
  if (::faccessat(dir->fd(), "network/hosts", F_OK, 0) == 0)
    bind_files(spec, TRY(path_of(root, "")) + "/" + other);
  return {};
}

std::vector<std::string> names_of(const ContainerSpec& spec, const std::string& id) {
  std::vector<std::string> names;
  for (const std::string& name : {spec.hostname.value_or(""), spec.name, id})
    if (is_host_name(name) && std::ranges::find(names, name) == names.end()) names.push_back(name);
  return names;
}

/// Address, ports and rules as the state is now; the start plans once more under the lock.
Status plan_bridge(NetworkLaunch launch, const StateRoot* root, bool dry_run, LaunchPlan& plan,
                   Output& output) {
  const Network& wanted = launch.request.network;
  NetworkState state;
  if (root != nullptr) state = TRY(peek_network_state(root->fd()));
  launch.facts = TRY(discover_network(wanted, state.networks.contains(wanted.name)));
  const NetworkPlan network = plan_network(launch.request, launch.facts, state);
  for (const Finding& finding : network.findings)
    if (finding.level == Finding::Level::error || dry_run)
      plan.findings.push_back(finding);
    else
      output.warning("network: " + finding.message);
  for (const auto* steps : {&network.network, &network.attach})
    for (const NetStep& step : *steps)
      for (const std::string& command : describe(step, launch.request.id))
        plan.network_commands.push_back(
            step.field == "network" ? command : fmt::format("{}   [{}]", command, step.field));
  plan.network = std::move(launch);
  return {};
}

}  // namespace

void NetworkFlags::declare(App app) {
  app.add_option("--network", network_,
                 "none, host, bridge, bridge:NAME, pasta, join:ID or the path of a namespace");
  app.add_option("-p,--publish", publish_, "[ADDRESS:]HOST:CONTAINER[/tcp|/udp]").single();
  app.add_option("--cni", cni_, "let the plugins of this CNI configuration list make the network");
}

Status NetworkFlags::adapt(ContainerSpec& spec, const std::string& id, const StateRoot* root,
                           const std::string& given, LaunchOptions& launch) const {
  launch.plans_network = true;
  Network& network = spec.network;
  if (!network_.empty() && !cni_.empty())
    return plain_error("--cni", "the plugins make the network: leave --network out");
  if (network_.starts_with('/')) {
    network = {};
    set_namespace(spec, network_, false);
  } else if (!network_.empty()) {
    Result<Network> said = parse_network(network_);
    if (!said) return plain_error("--network", said.error().detail);
    // The details of the document stay when only its mode is repeated.
    if (said->mode != network.mode || network_.find(':') != network_.npos) network = *said;
    if (const Status valid = check_interface_name(network.name); !valid)
      return plain_error("--network", valid.error().detail);
    set_namespace(spec, "", network.mode == Network::Mode::host);
  } else if (!cni_.empty()) {
    network.mode = Network::Mode::cni;
    network.conflist = cni_;
    set_namespace(spec, "", false);
  }
  for (const std::string& text : publish_) {
    const auto ports = TRY(parse_ports(text, "--publish"));
    network.ports.insert(network.ports.end(), ports.begin(), ports.end());
  }
  if (!network.ports.empty() && !is_made(network.mode))
    return plain_error(publish_.empty() ? "network.ports" : "--publish",
                       "a published port needs the network bridge, pasta or CNI");
  if (network.mode == Network::Mode::join) return join_container(spec, root);
  if (is_made(network.mode)) bind_files(spec, TRY(path_of(root, given)) + "/" + id);
  return {};
}

Status NetworkFlags::plan(const ContainerSpec& spec, const std::string& id, const StateRoot* root,
                          const std::string& given, bool dry_run, LaunchPlan& plan,
                          Output& output) {
  const Network::Mode mode = spec.network.mode;
  if (!is_made(mode)) return {};
  NetworkLaunch launch;
  NetworkRequest& request = launch.request;
  request.network = spec.network;
  request.id = id;
  request.hostname = spec.hostname.value_or("");
  request.names = names_of(spec, id);
  request.root = TRY(path_of(root, given));
  request.key = short_hash(request.root + "/" + id);
  request.annotations = spec.annotations;
  if ((plan.clone_flags & clone_flag(NamespaceType::network)) == 0)
    return plain_error("network",
                       "needs a network namespace of its own that is made with the container, not "
                       "inside a user namespace that is joined");
  if (mode == Network::Mode::bridge)
    return plan_bridge(std::move(launch), root, dry_run, plan, output);
  const bool user = ::getauxval(AT_EUID) != 0;
  if (mode == Network::Mode::cni) {
    if (user) return plain_error("--cni", "the plugins need root; pasta is for other users");
    launch.cni = TRY(load_cni(request));
    plan.network_commands = describe(launch.cni, id);
  } else {
    if (!user) return plain_error("network", "pasta is for users without rights: root has bridges");
    const std::string program = find_program("pasta");
    if (program.empty())
      return plain_error("network",
                         "pasta is not installed (package passt), and without it users other than "
                         "root have only the networks none and host");
    launch.pasta =
        plan_pasta(program, spec.network, request.root + "/" + id + "/network/pasta.pid");
    plan.network_commands = {fmt::format("{} PID", fmt::join(launch.pasta, " "))};
  }
  plan.network = std::move(launch);
  return {};
}

}  // namespace minirun::cli
