// Owns: the hooks of config.json: which run when, where, with what, and what their failure means.
// Must not: know how a container is made; whoever makes one calls this at the six places.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/host_facts.h"
#include "base/result.h"
#include "runtime/state.h"
#include "security/seccomp.h"
#include "spec/model.h"

namespace minirun {

/// What could not be done and does not stop the command; the caller prints it.
using Warn = std::function<void(const Error&)>;

/// The state of the specification (runtime.md "State") as a hook gets it on standard input.
/// `pid` 0: there is no process.
[[nodiscard]] std::string hook_state(const Record& record, std::string_view status, pid_t pid);

/// The hooks of one container. Once the first of them may have run, its end runs poststop: so it is
/// declared before what makes the container, whose undo then comes first.
///
/// Each hook gets exactly its own environment, the state on standard input, a process group, no
/// other descriptor. Its output is kept up to `output_limit` for the error. SIGTERM, SIGINT and
/// SIGHUP on `signal_fd` kill it.
class ContainerHooks {
 public:
  static constexpr std::size_t output_limit = 4096;  ///< bytes, the last ones

  /// `record` must have its id, bundle and annotations.
  ContainerHooks(const Hooks& hooks, const Record& record, int signal_fd, Warn warn);
  ContainerHooks(ContainerHooks&& other) noexcept;
  ContainerHooks& operator=(ContainerHooks&&) = delete;
  ~ContainerHooks();

  [[nodiscard]] bool has_start_container() const { return !hooks_.start_container.empty(); }

  /// prestart, createRuntime and createContainer, while `pid` waits before its pivot. The last
  /// kind runs in every namespace of `pid`, with the tree of the host as its root.
  [[nodiscard]] Status before_pivot(pid_t pid);

  /// startContainer: in the container, confined as its program is, `seccomp` (may be
  /// null) included. `dir` is committed.
  [[nodiscard]] Status before_program(const ContainerDir& dir, const ContainerSpec& spec,
                                      const SeccompProgram* seccomp, const HostFacts& facts);

  /// poststart, when the program runs. Error: the container has to be stopped.
  [[nodiscard]] Status after_program(pid_t pid);

  /// The container goes on: poststop is not due.
  void keep() { begun_ = false; }

  /// poststop, when the container is gone. Failures are warnings.
  void after_end();

 private:
  Hooks hooks_;
  Record record_;
  int signal_fd_;
  Warn warn_;
  bool begun_ = false;
};

/// The hooks of an existing container, from its stored document; none when it has none or the
/// file cannot be read.
[[nodiscard]] Hooks stored_hooks(const ContainerDir& dir, const Record& record);

}  // namespace minirun
