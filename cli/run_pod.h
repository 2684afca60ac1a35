// Owns: `minirun run` of Pod manifests, and what explain shares with it: reading a node.
// Must not: be used for other formats.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/network_flags.h"
#include "cli/output.h"
#include "runtime/container.h"
#include "spec/kubernetes/node_reader.h"
#include "spec/load.h"

namespace minirun::cli {

struct PodArguments {
  std::vector<std::string> images;  ///< NAME=DIR
  std::string node;                 ///< file; empty or "host": this machine
  std::string cgroup_root = "/minirun";
  std::string restart_delay;
  std::string report, timeout;
  bool dry_run = false;
  bool summary = false;
  bool linear = false;
};

/// Exit status: see docs/kubernetes-limits.md.
[[nodiscard]] int run_pod_file(const LoadedSpec& loaded, const std::string& path,
                               const PodArguments& arguments, const NetworkFlags& network,
                               const GlobalOptions& options, Output& output);

/// `file` is a path, or "host" for this machine. nullopt: the findings were printed.
[[nodiscard]] std::optional<kubernetes::NodeFile> load_node(const std::string& file,
                                                            Output& output);

/// A version 4 UUID from the kernel.
[[nodiscard]] std::string random_uid();

}  // namespace minirun::cli
