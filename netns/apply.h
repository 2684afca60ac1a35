// Owns: carrying out the steps of a NetworkPlan: rtnetlink, /proc/sys, nft.
// Must not: decide anything, or undo anything (network.h does).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "netns/plan.h"

namespace minirun {

/// A program of the system, with no more than it needs of our descriptors: standard input is
/// `input`, standard output comes back. Error: `object`, and what it wrote on standard error.
struct ToolCall {
  std::vector<std::string> arguments;  ///< the first is the path
  std::vector<std::string> environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  std::string input;
  std::string object;
  int lock_fd = -1;                  ///< inherited: as long as it runs nobody else has the lock
  bool output_tells_errors = false;  ///< the detail of an error is its whole standard output
  bool last_line_tells = false;      ///< of standard error, not the first
};
[[nodiscard]] Result<std::string> run_tool(const ToolCall& call);

/// Replaces our table by what `state` says. `nft` is the path of the program.
[[nodiscard]] Status apply_rules(const std::string& nft, const RuleTable& table, int lock_fd);

/// Carries out steps in order; those inside in the network namespace of `pid` (0: there are none).
/// The first failure ends it; its object is the step's field.
struct ApplyContext {
  pid_t pid = 0;
  std::string nft;
  int lock_fd = -1;
};
[[nodiscard]] Status apply_steps(const std::vector<NetStep>& steps, const ApplyContext& context);

}  // namespace minirun
