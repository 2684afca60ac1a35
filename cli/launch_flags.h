// Owns: what `run` and `create` share: the flags of runc and crun, which spec is meant, what the
// caller's environment adds (LISTEN_FDS, NOTIFY_SOCKET).
// Must not: start anything.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/app.h"
#include "runtime/handover.h"
#include "runtime/plan.h"
#include "runtime/state.h"
#include "spec/load.h"

namespace minirun::cli {

/// The absolute form of a path, from the working directory.
[[nodiscard]] std::string absolute_from_here(const std::string& path);

class LaunchFlags {
 public:
  void declare(App app);

  /// True when the bundle or its config.json was named, so that a positional is an id.
  [[nodiscard]] bool names_bundle() const { return !bundle_.empty() || !config_.empty(); }

  /// config.json of the bundle (default: the working directory), or --config, whose relative paths
  /// are below the bundle all the same.
  [[nodiscard]] Result<LoadedSpec> load(const SpecOptions& options) const;

  /// What a terminal needs (the rules of runc).
  [[nodiscard]] Status check(const ContainerSpec& spec, bool detached) const;

  /// Adds what the caller's environment asks for: to the spec, the record and the options. `root`
  /// empty: a dry run without a state directory.
  [[nodiscard]] Status adapt(ContainerSpec& spec, Record& record, LaunchOptions& options,
                             const std::string& root) const;

  /// What of these flags is another way to carry the plan out.
  [[nodiscard]] Status change_plan(const ContainerSpec& spec, LaunchPlan& plan) const;

  [[nodiscard]] HandoverPaths handover() const {
    return {
        .pid_file = pid_file_, .console_socket = console_socket_, .pidfd_socket = pidfd_socket_};
  }

 private:
  std::string bundle_, config_, console_socket_, pidfd_socket_, pid_file_;
  bool no_pivot_ = false, no_new_keyring_ = false, no_subreaper_ = false;
  int preserve_fds_ = 0;
};

/// The record of a container that is made from `loaded`.
[[nodiscard]] Record make_record(const LoadedSpec& loaded);

}  // namespace minirun::cli
