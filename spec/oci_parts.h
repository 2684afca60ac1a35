// Owns: what the files of the OCI reader share among themselves and with the short form.
// Must not: be included outside spec/.
#pragma once

#include <string>
#include <vector>

#include "spec/json.h"
#include "spec/model.h"

namespace minirun {

/// linux.* but resources and seccomp.
void read_oci_linux(Json json, ContainerSpec& spec);
void read_oci_hooks(Json json, Hooks& hooks);
/// [{containerID, hostID, size}]
void read_oci_id_mappings(Json json, std::vector<IdMapping>& mappings);

/// {"type", "path", "major", ...}
void read_device(Json json, Device& device);

/// Largest numbers of the kernel's dev_t (MAJOR 12 bits, MINOR 20 bits).
inline constexpr std::uint32_t kMostMajor = 4095;
inline constexpr std::uint32_t kMostMinor = 1048575;
/// uid 4294967295 is -1, which setresuid(2) reads as "leave unchanged": the container would keep
/// the ids of the runtime (seen in crun 1.8.1).
inline constexpr std::uint32_t kMostId = 4294967294;

}  // namespace minirun
