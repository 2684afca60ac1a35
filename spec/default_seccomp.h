// Owns: the seccomp profile of the short form, as data in the model of OCI. Must not: compile it or
// know libseccomp (security/seccomp.h does both).
#pragma once

#include <cstdint>

#include "spec/model.h"

namespace minirun {

/// The default profile of the field for a container whose bounding set is `bounding_capabilities`
/// (bit n is capability n): what needs a capability is allowed only with that capability, all
/// unknown calls fail with EPERM, clone3 with ENOSYS unless CAP_SYS_ADMIN. It has no listener and
/// no flags of its own, and serves the architecture that minirun was built for and its 32-bit
/// siblings.
[[nodiscard]] Seccomp default_seccomp(std::uint64_t bounding_capabilities);

}  // namespace minirun
