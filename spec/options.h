// Owns: what the readers need to know besides the text, given by the caller.
// Must not: find any of it out by itself.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/findings.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

struct DeviceNumbers {
  Device::Type type = Device::Type::block;
  std::uint32_t major = 0, minor = 0;
  bool operator==(const DeviceNumbers&) const = default;
};

/// "/dev/vda" -> block, 254:0. The only question to the system that a reader asks.
using DeviceResolver = std::function<Result<DeviceNumbers>(const std::string& path)>;

/// stat(2) of a device node.
[[nodiscard]] Result<DeviceNumbers> resolve_host_device(const std::string& path);

/// Reads a Pod manifest; load.h calls it when it is there.
using PodReader = std::function<ContainerSpec(std::string_view text, const std::string& base_dir,
                                              Findings& findings)>;

struct SpecOptions {
  uid_t euid = 0;
  /// What an ordinary user maps into a user namespace, which their containers always have. Unused
  /// for root.
  std::vector<IdMapping> own_uids{}, own_gids{};
  DeviceResolver resolve_device = resolve_host_device;
  PodReader read_pod{};  ///< empty: a Pod is recognised and not read
};

}  // namespace minirun
