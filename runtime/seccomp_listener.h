// Owns: handing the listener of a seccomp filter with SCMP_ACT_NOTIFY to the agent behind
// linux.seccomp.listenerPath (config-linux.md "The Container Process State").
// Must not: answer notifications.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "spec/model.h"

namespace minirun {

/// What the agent is told about the process.
struct ProcessState {
  std::string oci_version;
  std::string id;
  std::string status;  ///< of the container: "creating" for its first process
  pid_t pid = 0;       ///< the filtered process, as seen here
  pid_t init_pid = 0;  ///< the container's first process
  std::string bundle;
  std::map<std::string, std::string> annotations;
};

/// The JSON of a container process state with one descriptor, "seccompFd".
[[nodiscard]] std::string container_process_state(const ProcessState& state,
                                                  const std::string& metadata);

/// Connects (AF_UNIX, SOCK_STREAM), sends the state with the listener, closes. Waits at most ten
/// seconds for an agent that does not read. Errors: what connect and sendmsg report, naming
/// linux.seccomp.listenerPath.
[[nodiscard]] Status send_listener(const std::string& path, const std::string& payload,
                                   int listener);

}  // namespace minirun
