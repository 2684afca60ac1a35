// Owns: the config.json that `minirun spec` writes.
// Must not: write files.
#pragma once

#include <sys/types.h>

#include <string>

namespace minirun {

struct DefaultSpecOptions {
  /// For a caller without privileges: a user namespace that maps root to them, no cgroup limits
  /// that need delegation, /sys bound instead of mounted.
  bool rootless = false;
  uid_t uid = 0;  ///< the caller's, used when rootless
  gid_t gid = 0;
};

/// A complete OCI 1.3 config.json with two-space indentation and a final newline: `sh` on a
/// terminal in the read-only root "rootfs".
[[nodiscard]] std::string default_oci_config(const DefaultSpecOptions& options);

}  // namespace minirun
