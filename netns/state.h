// Owns: which networks minirun made and who has which address and port: @network/state.json below
// the state directory, and the lock around it. It is written before anything that it names exists,
// so that whoever finds it after a crash can remove everything.
// Must not: touch an interface or a rule.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// What one container has of a network. IPv4 and IPv6 address share the number in the subnet.
struct Lease {
  std::uint32_t index = 0;
  std::string device;                        ///< the host's end of the veth pair
  std::string shaper;                        ///< its ifb device, empty without an egress limit
  std::vector<std::string> names;            ///< for the hosts files of the others
  std::map<std::string, std::string> hosts;  ///< entries of this container alone
  std::vector<PortMapping> ports;
  bool operator==(const Lease&) const = default;
};

struct NetworkEntry {
  std::string subnet;   ///< IPv4
  std::string subnet6;  ///< empty: no IPv6
  std::uint32_t mtu = 1500;
  std::uint32_t last = 1;  ///< number given out last: a fresh address is not used again at once
  /// Interfaces on which forwarding was off and was switched on for this network.
  std::vector<std::string> forwarding;
  std::map<std::string, Lease> leases;  ///< by container id
  bool operator==(const NetworkEntry&) const = default;
};

struct NetworkState {
  std::map<std::string, NetworkEntry> networks;  ///< by the name of the bridge
  bool operator==(const NetworkState&) const = default;
};

[[nodiscard]] std::string to_json(const NetworkState& state);
[[nodiscard]] Result<NetworkState> parse_network_state(std::string_view text);

/// The state with its lock, exclusive. Children that change rules inherit the lock, so that nobody
/// cleans up while one of them goes on after its minirun was killed.
class NetworkStore {
 public:
  enum class If { create, exists };
  /// Waits for the lock. Errors: ENOENT, no network was ever made (If::exists); ETIMEDOUT.
  [[nodiscard]] static Result<NetworkStore> open(int root_fd, If how);
  static constexpr int lock_seconds = 60;

  NetworkState state;
  /// Writes the state; a state without networks removes the directory.
  [[nodiscard]] Status save();
  [[nodiscard]] int lock_fd() const { return lock_.get(); }

 private:
  int root_fd_ = -1;
  DirFd directory_;
  Fd lock_;
};

/// A copy without the lock, for what only looks. A missing one is empty.
[[nodiscard]] Result<NetworkState> peek_network_state(int root_fd);

}  // namespace minirun
