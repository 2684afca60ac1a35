// Owns: one run of a probe as a child process: `minirun exec`, or a connection from within the
// pod's network namespace.
// Must not: count successes or decide what follows.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "spec/kubernetes/pod_run.h"

namespace minirun {

struct ProbeTarget {
  std::string container_id;
  std::string state_root;  ///< of `minirun --root`
  int network = -1;        ///< namespace; -1: the host's
  std::string address;     ///< IPv4
};

struct ProbeProcess {
  pid_t pid = 0;
  PidFd pidfd;
};

/// Its exit status is 0 for success. Output goes nowhere.
[[nodiscard]] Result<ProbeProcess> start_probe(const kubernetes::Probe& probe,
                                               const ProbeTarget& target);

}  // namespace minirun
