// Owns: Explanation, what `minirun explain` says of a pod, a spec or a running container, as data;
// and the pure functions that make one.
// Must not: lay out text (cli/ does), or compute what a planner computed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/findings.h"
#include "base/host_facts.h"
#include "base/result.h"
#include "cgroups/plan.h"
#include "spec/kubernetes/node_reader.h"
#include "spec/kubernetes/plan.h"
#include "spec/model.h"

namespace minirun {

/// One value from the field of the user to the file of the kernel.
struct ExplainedValue {
  std::string file{}, value{};        ///< cgroup v2
  std::string v1_file{}, v1_value{};  ///< empty: cgroup v1 has none
  std::string field{};                ///< as the user wrote it: "spec.containers[0]...cpu: 500m"
  std::string formula{};              ///< with the numbers put in; empty: copied
  std::string oci{};                  ///< "linux.resources.cpu.shares = 512"; empty: not from OCI
  std::string writer{};
  std::string effect{};                 ///< one plain sentence
  std::optional<std::string> actual{};  ///< what the kernel has; absent: not read
  bool by_default = false;              ///< the user wrote nothing that it is made from
  bool drift = false;                   ///< `actual` is something else than was planned
  bool operator==(const ExplainedValue&) const = default;
};

struct ExplainedGroup {
  std::string title;               ///< "container app"
  std::string path;                ///< of its cgroup
  std::vector<std::string> facts;  ///< "oom_score_adj 936: ..."
  std::vector<ExplainedValue> values;
};

/// One cgroup on the way from a container to the root. Absent: no limit, or not known.
struct PathLevel {
  std::string name, path;
  std::optional<double> cpus{};  ///< quota / period
  std::optional<std::uint64_t> memory_max{}, memory_min{}, memory_low{}, pids_max{}, weight{};
  std::optional<double> share{};  ///< weight / weights of its busy siblings and itself
  std::string among{};            ///< who these are
};

struct EffectivePath {
  std::string who;
  std::vector<PathLevel> levels;         ///< the container first
  std::vector<std::string> conclusions;  ///< one sentence each
};

struct Explanation {
  std::string title;
  std::vector<std::string> facts;
  std::vector<ExplainedGroup> groups;
  std::vector<EffectivePath> paths;
  std::vector<kubernetes::Trap> traps;
};

/// What a value of a cgroup v2 file does to the processes in the group, in one sentence.
[[nodiscard]] std::string effect_of(std::string_view file, std::string_view value);

/// "500000 100000" gives 5; nullopt for "max ..." and what is no cpu.max.
[[nodiscard]] std::optional<double> parse_cpu_max(std::string_view text);
/// A number of bytes; nullopt for "max" and what is none.
[[nodiscard]] std::optional<std::uint64_t> parse_limit(std::string_view text);

/// Fills `conclusions` from the levels: smallest limits, product of the shares, protections.
void conclude(EffectivePath& path);

/// cpu first, then memory, pids, the rest.
[[nodiscard]] int explained_rank(std::string_view file);
/// "linux.resources.cpu.shares = 512" for the file that it becomes; empty: not from there.
[[nodiscard]] std::string oci_field(std::string_view file, const Resources& oci);

/// All pods of one file: they are siblings of each other.
[[nodiscard]] std::vector<Explanation> explain_pods(
    const std::vector<kubernetes::PodPlan>& plans,
    const std::vector<kubernetes::PodManifest>& written, const kubernetes::NodeFile& node);

/// An OCI or short-form spec by the plan of its cgroup.
[[nodiscard]] Explanation explain_spec(const ContainerSpec& spec, const CgroupPlan& plan,
                                       std::string_view title);

/// Reads the files of `plan` back from the cgroup `path`, and the levels above it with their
/// siblings. Error: the cgroup is gone.
[[nodiscard]] Status read_back(Explanation& explanation, const HostFacts& facts,
                               const std::string& path);

/// True when the kernel's `actual` is what becomes of writing `planned`: page floors, cpu lists,
/// one line of several.
[[nodiscard]] bool same_value(std::string_view file, std::string_view planned,
                              std::string_view actual, std::uint64_t page_size_bytes);

}  // namespace minirun
