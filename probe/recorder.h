// Owns: the runs of probes one after the other, into one recording (judge.h reads it).
// Must not: print; progress goes to a function of the caller.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "probe/judge.h"
#include "probe/session.h"

namespace minirun::probe {

struct RecordRequest {
  std::vector<std::string> probes;      ///< "throttle", or one scenario: "throttle.1t"
  const ContainerSpec* spec = nullptr;  ///< null: the built-in one of each probe
  std::string spec_name;                ///< for the recording
  bool host = true, container = true;
  bool quick = false;
  int repeat = 1;  ///< 1 to 1000
};

struct RecordProgress {
  std::size_t done, total;
  std::string what;  ///< "throttle nt, container"
};

/// Errors: those of run_sessions().
[[nodiscard]] Result<Json> record(const RecordRequest& request, const SessionHost& host,
                                  const std::function<void(const RecordProgress&)>& progress);

/// Whether `name` is a probe, or a probe and one of its scenarios.
[[nodiscard]] Status check_name(const std::string& name);

/// The spec for probes whose user names none: 500m and 64Mi for throttle and oom, no limit for
/// the others, over the host's own root.
[[nodiscard]] Result<ContainerSpec> built_in_spec(std::string_view probe);

}  // namespace minirun::probe
