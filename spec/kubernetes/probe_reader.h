// Owns: reading the probes of one container. Private to the reader.
// Must not: run one.
#pragma once

#include <optional>
#include <string>

#include "spec/kubernetes/pod_run.h"
#include "spec/kubernetes/reader_context.h"

namespace minirun::kubernetes {

struct ProbeReader {
  ReaderContext& context;
  Findings& unsupported;
  const Node& container;

  /// nullopt: there is none, or it cannot be read.
  [[nodiscard]] std::optional<Probe> read(const char* name, const std::string& base);
  /// A handler of `lifecycle`.
  [[nodiscard]] std::optional<Hook> hook(const Node& lifecycle, const char* name,
                                         const std::string& base);

 private:
  void times(const Node& node, const std::string& at, bool readiness, Probe& probe);
  [[nodiscard]] bool action(const Node& node, const std::string& at, Probe& probe);
  [[nodiscard]] std::uint16_t port(const Node& node, const std::string& at);
};

}  // namespace minirun::kubernetes
