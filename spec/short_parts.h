// Owns: what the files of the short reader share. Must not: be included outside spec/.
#pragma once

#include <string>

#include "spec/json.h"
#include "spec/kubernetes/quantity.h"
#include "spec/model.h"
#include "spec/options.h"

namespace minirun {

/// A quantity as a string or a bare number. Negative ones, ones without digits (Kubernetes reads
/// "Mi" as 0) and ones beyond 2^63-1 are reported.
[[nodiscard]] std::optional<Quantity> get_quantity(Json json, std::string_view example);
/// A whole number of bytes. "400m" bytes is 0.4: nobody means that, so it is an error.
[[nodiscard]] std::optional<std::int64_t> get_bytes(Json json);
/// A duration such as "20ms".
[[nodiscard]] std::optional<std::chrono::microseconds> get_duration(Json json);

void read_short_process(JsonObject& object, Process& process);
void read_short_root(JsonObject& object, const std::string& base_dir, ContainerSpec& spec);
void read_short_mounts(JsonObject& object, const std::string& base_dir, ContainerSpec& spec);
void read_short_devices(JsonObject& object, const SpecOptions& options, ContainerSpec& spec);
void read_short_network(JsonObject& object, ContainerSpec& spec);
void read_short_namespaces(JsonObject& object, const SpecOptions& options, ContainerSpec& spec);

}  // namespace minirun
