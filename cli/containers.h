// Owns: what the commands about existing containers share: the way to the state directory, one
// container or those that a regular expression names, and the JSON of a state.
// Must not: change a container.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/output.h"
#include "runtime/container.h"

namespace minirun::cli {

/// What every one of these commands needs.
struct Ground {
  StateRoot root;
  HostFacts facts;
};

/// Errors: ENOENT when no container was ever created here.
[[nodiscard]] Result<Ground> prepare(const GlobalOptions& options);

/// prepare() for a command about one container, whose id is checked first.
/// Error "container does not exist".
[[nodiscard]] Result<Ground> prepare(const GlobalOptions& options, const std::string& id);

/// A container, opened and looked at.
struct Found {
  Ground ground;
  ContainerDir dir;
  ContainerView view;
};
[[nodiscard]] Result<Found> find_container(const GlobalOptions& options, const std::string& id);

/// Does `act` for each container whose id the POSIX extended regular expression matches; the first
/// error is returned after all of them were tried.
[[nodiscard]] Status for_each_match(
    const GlobalOptions& options, const std::string& expression,
    const std::function<Status(const Ground&, const std::string&)>& act);

/// The state of the OCI specification (runtime.md "State"), and what engines read besides.
[[nodiscard]] nlohmann::ordered_json state_json(const ContainerView& view);

/// Two blanks per level and a final newline; bytes that are not UTF-8 are replaced.
[[nodiscard]] std::string dump(const nlohmann::ordered_json& value);

/// Prints the error, if there is one; the exit status of a lifecycle command.
int report(const Status& status, Output& output);

}  // namespace minirun::cli
