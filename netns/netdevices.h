// Owns: linux.netDevices (config-linux.md "Network Devices"): moving devices of the host into a
// container's network namespace with their addresses, and back while the container is not
// committed. Must not: make devices or namespaces, or move anything back from a container that ran:
// the kernel returns physical devices by itself when the namespace ends.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace minirun {

/// The devices that were moved. Until keep() its end moves them back, with the names, addresses and
/// the state that they had.
class MovedDevices {
 public:
  /// Moves each device (host name -> name in the container, which may be a template like "eth%d"),
  /// restores its permanent addresses of global scope, and sets it up. `host` and `container` are
  /// descriptors of network namespaces.
  /// Errors name linux.netDevices.NAME: no such device, one that cannot be moved, a name that is
  /// taken there. What was moved before is moved back.
  static Result<MovedDevices> move(const std::map<std::string, std::string>& devices, Fd host,
                                   Fd container);

  MovedDevices(MovedDevices&& other) noexcept;
  MovedDevices& operator=(MovedDevices&& other) noexcept;
  ~MovedDevices();

  void keep() { moved_.clear(); }

 private:
  struct Moved {
    std::string host_name, name;
    bool was_up = false;
  };
  MovedDevices(Fd host, Fd container) : host_(std::move(host)), container_(std::move(container)) {}

  Fd host_, container_;
  std::vector<Moved> moved_;
};

/// The namespace of this process, and that of another one.
[[nodiscard]] Result<Fd> open_own_netns();
[[nodiscard]] Result<Fd> open_netns_of(int pid);

}  // namespace minirun
