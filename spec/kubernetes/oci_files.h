// Owns: how runc and crun turn OCI linux.resources into cgroup v2 files, as pure data, with the
// differences between the two. What minirun itself writes is decided in cgroups/, not here.
// Must not: write a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spec/kubernetes/cpu.h"
#include "spec/model.h"

namespace minirun::kubernetes {

enum class OciRuntime { runc, crun };

/// Fields of the OCI specification that cgroup v2 has no file for.
struct LegacyResources {
  std::optional<std::int64_t> kernel_memory_bytes, kernel_tcp_bytes;
  std::optional<std::uint64_t> swappiness;
  std::optional<bool> disable_oom_killer;
  std::optional<std::int64_t> realtime_runtime_us;
  std::optional<std::uint64_t> realtime_period_us;
  std::optional<std::uint16_t> leaf_weight;
  std::optional<std::uint32_t> network_class_id;
  bool network_priorities = false;
};

struct FileOptions {
  OciRuntime runtime = OciRuntime::runc;
  WeightFormula weight = WeightFormula::quadratic;
  bool systemd_driver = false;  ///< runc then writes the quota that systemd rounded
  bool bfq_file = false;        ///< io.bfq.weight exists
  bool hugetlb_rsvd = true;     ///< runc writes it
};

struct OciFile {
  std::string name;
  std::vector<std::string> lines;  ///< one write(2) each
  std::string source;              ///< the OCI field: "cpu.shares", "unified"
  std::string formula;             ///< empty when the value is copied
};

struct OciConversion {
  std::vector<OciFile> files;         ///< in the order of writing, unified last
  std::vector<std::string> ignored;   ///< fields without effect
  std::vector<std::string> warnings;  ///< fields ignored with a message in the log
  std::vector<std::string> errors;    ///< the runtime refuses to start the container
  [[nodiscard]] const OciFile* find(std::string_view name) const;
};

[[nodiscard]] OciConversion to_cgroup2_files(const Resources& resources,
                                             const LegacyResources& legacy,
                                             const FileOptions& options);

/// The weight formula with the numbers put in.
[[nodiscard]] std::string weight_formula_text(std::uint64_t shares, WeightFormula formula);

/// blockIO.weight 10..1000 to io.weight 1..10000: 1 + (w - 10) * 9999 / 990.
[[nodiscard]] std::uint64_t block_weight_to_io_weight(std::uint16_t weight);
/// The map of systemd's IOWeight for BFQ, where 100 stays 100.
[[nodiscard]] std::uint64_t block_weight_to_systemd_io_weight(std::uint16_t weight);

}  // namespace minirun::kubernetes
