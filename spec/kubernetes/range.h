// Owns: "250m..500m", a request and a limit in one word of the command line, and what they become
// in OCI resources.
// Must not: know a container.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "spec/kubernetes/quantity.h"
#include "spec/model.h"

namespace minirun::kubernetes {

struct QuantityRange {
  Quantity request;
  std::optional<Quantity> limit;  ///< absent: "max", no limit
};

/// "REQUEST..LIMIT", "REQUEST..max", or one amount for both. Errors: an amount that is none,
/// negative or zero; a request above its limit.
[[nodiscard]] Result<QuantityRange> parse_range(std::string_view text);

/// Shares, quota and period as the kubelet computes them; origins name `option`.
[[nodiscard]] Status set_cpu_range(const std::string& option, std::string_view text,
                                   Resources& resources, std::map<std::string, Origin>& origins);
/// The limit. The request of memory has no file; it only has to fit.
[[nodiscard]] Status set_memory_range(const std::string& option, std::string_view text,
                                      Resources& resources, std::map<std::string, Origin>& origins);

}  // namespace minirun::kubernetes
