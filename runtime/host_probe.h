// Owns: what this host offers, asked of the kernel itself: each ability is tried, not looked up.
// Must not: leave anything behind (what is tried lives in a child process), or print.
#pragma once

#include <string>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"

namespace minirun {

struct HostAbility {
  std::string area;  ///< "controller", "namespace", "idmap", "seccomp", "lsm", "files", "host"
  std::string name;
  bool available = false;
  std::string detail;  ///< who holds it, the kernel's answer, a version
  std::string cost;    ///< what cannot be done without it; empty when it is there
  bool operator==(const HostAbility&) const = default;
};

/// Tries everything; about 40 ms. Never fails as a whole: what cannot be tried is not available.
[[nodiscard]] std::vector<HostAbility> probe_host(const HostFacts& facts);

}  // namespace minirun
