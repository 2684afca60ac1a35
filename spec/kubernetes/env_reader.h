// Owns: reading the environment of one container: values, ConfigMaps and Secrets of the same file,
// the downward API. Private to the reader.
// Must not: replace $(NAME), which needs the order of the whole list.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "spec/kubernetes/pod.h"
#include "spec/kubernetes/pod_run.h"
#include "spec/kubernetes/reader_context.h"
#include "spec/kubernetes/run_reader.h"

namespace minirun::kubernetes {

class EnvReader {
 public:
  EnvReader(ReaderContext& context, Findings& unsupported, const PodManifest& pod,
            const DataMaps& maps)
      : context_(context), unsupported_(unsupported), pod_(pod), maps_(maps) {}

  [[nodiscard]] std::vector<EnvRun> read(const Node& container, const std::string& at);

 private:
  void env_from(const Node& node, const std::string& at);
  void variable(const Node& node, const std::string& at);
  [[nodiscard]] std::optional<EnvRun> value_from(const Node& node, const std::string& at);
  [[nodiscard]] std::optional<EnvRun> key_of(const Node& node, DataMaps::Kind kind,
                                             const std::string& at);
  [[nodiscard]] std::optional<EnvRun> field(const Node& node, const std::string& at);
  [[nodiscard]] std::optional<EnvRun> resource(const Node& node, const std::string& at);
  void refuse(const Node& node, const std::string& at, std::string message);

  ReaderContext& context_;
  Findings& unsupported_;
  const PodManifest& pod_;
  const DataMaps& maps_;
  std::vector<EnvRun> env_;
  std::string own_;  ///< the container's pointer
};

/// What `divisor` makes of an amount, as the kubelet rounds it: up. Errors: an overflow, and a
/// divisor that is not above zero.
[[nodiscard]] Result<std::int64_t> divided(const std::string& resource, const Quantity& amount,
                                           const Quantity& divisor);

}  // namespace minirun::kubernetes
