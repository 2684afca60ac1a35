// Owns: `minirun network ls|inspect|rm|gc`.
#include "netns/network.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "runtime/state.h"
#include "spec/address.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

json lease_json(const NetworkEntry& entry, const Lease& lease) {
  json ports = json::array();
  for (const PortMapping& port : lease.ports)
    ports.push_back(fmt::format("{}{}:{}/{}",
                                port.host_ip.empty() ? ""
                                : port.host_ip.find(':') != std::string::npos
                                    ? "[" + port.host_ip + "]:"
                                    : port.host_ip + ":",
                                port.host_port, port.container_port, port.udp ? "udp" : "tcp"));
  json value = {{"ip", Subnet::parse(entry.subnet)->at(lease.index).text()}};
  if (const auto subnet6 = Subnet::parse(entry.subnet6))
    value["ip6"] = subnet6->at(lease.index).text();
  value["device"] = lease.device;
  if (!lease.shaper.empty()) value["shaper"] = lease.shaper;
  value["names"] = lease.names;
  value["ports"] = std::move(ports);
  return value;
}

json network_json(const std::string& root, const std::string& name, const NetworkEntry& entry) {
  json containers = json::object();
  for (const auto& [id, lease] : entry.leases) containers[id] = lease_json(entry, lease);
  json value = {{"name", name},
                {"subnet", entry.subnet},
                {"gateway", Subnet::parse(entry.subnet)->at(1).text()}};
  if (const auto subnet6 = Subnet::parse(entry.subnet6)) {
    value["subnet6"] = entry.subnet6;
    value["gateway6"] = subnet6->at(1).text();
  }
  value["mtu"] = entry.mtu;
  value["table"] = table_name(root);
  value["forwardingTurnedOnFor"] = entry.forwarding;
  value["containers"] = std::move(containers);
  return value;
}

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

class NetworkCommand : public Command {
 public:
  void declare(App app) override {
    app.require_subcommand();
    app.footer("A network is made by the first container on it, and stays until rm or gc.");
    const App ls = app.add_subcommand("ls", "list networks");
    ls.alias("list");
    ls.add_option("-f,--format", format_, "table or json").one_of({"table", "json"});
    app.add_subcommand("inspect", "print networks as JSON").add_option("NAME", names_).required();
    app.add_subcommand("rm", "remove networks without containers")
        .add_option("NAME", names_)
        .required();
    app.add_subcommand("gc",
                       "free what crashed commands left, remove networks without containers, and "
                       "write the rules anew");
    app_ = app;
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Status done = act(options, app_.subcommand());
    if (done) return 0;
    output.error(done.error());
    return 1;
  }

 private:
  Status act(const GlobalOptions& options, const std::string& action) {
    Result<StateRoot> root = StateRoot::open(options.root, false);
    if (!root && root.error().errnum != ENOENT) return std::unexpected(root.error());
    if (action == "rm") return remove(root);
    if (action == "gc") return root ? collect(*root) : Status();
    NetworkState state;
    if (root) state = TRY(peek_network_state(root->fd()));
    const std::string path = root ? TRY(network_owner(root->fd())) : "";
    return show(action == "ls" ? list(path, state) : TRY(inspect(path, state)));
  }

  static Status show(const std::string& text) {
    if (print(text)) return {};
    return plain_error("standard output", "cannot be written");
  }

  Status remove(const Result<StateRoot>& root) {
    for (const std::string& name : names_) {
      if (!root) return plain_error(name, "there is no such network");
      TRY(remove_network(root->fd(), name));
    }
    return {};
  }

  static Status collect(const StateRoot& root) {
    for (const std::string& removed : TRY(collect_networks(root.fd(), true)))
      TRY(show(removed + "\n"));
    return {};
  }

  [[nodiscard]] std::string list(const std::string& root, const NetworkState& state) const {
    if (format_ == "json") {
      json array = json::array();
      for (const auto& [name, entry] : state.networks)
        array.push_back(network_json(root, name, entry));
      return dump(array);
    }
    std::string text =
        fmt::format("{:<16} {:<18} {:<26} {}\n", "NAME", "SUBNET", "SUBNET6", "CONTAINERS");
    for (const auto& [name, entry] : state.networks)
      text += fmt::format("{:<16} {:<18} {:<26} {}\n", name, entry.subnet,
                          entry.subnet6.empty() ? "-" : entry.subnet6, entry.leases.size());
    return text;
  }

  Result<std::string> inspect(const std::string& root, const NetworkState& state) const {
    json array = json::array();
    for (const std::string& name : names_) {
      const auto found = state.networks.find(name);
      if (found == state.networks.end()) return plain_error(name, "there is no such network");
      array.push_back(network_json(root, name, found->second));
    }
    return dump(array);
  }

  App app_;
  std::string format_ = "table";
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Command> make_network() {
  return std::make_unique<NetworkCommand>();
}

}  // namespace minirun::cli
