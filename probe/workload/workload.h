// Owns: the table of workloads of minirun-probe and their options.
// Must not: know containers: a workload runs the same way everywhere.
#pragma once

#include <cstdint>
#include <span>

#include "probe/workload/report.h"

namespace minirun::probe {

struct Options {
  bool quick = false;
  bool json = false;
  std::uint64_t milliseconds = 0;  ///< length of the main measurement; 0: the workload's own
  int threads = 0;                 ///< throttle: this many only; 0: one, and one for each CPU
  const char* kind = "";           ///< one case of the workload, or a prefix of it
  std::uint64_t cap_bytes = 0;     ///< oom: give up here; 0: the workload's own
  const char* directory = "";      ///< for files; empty: the first writable of a few
  int port = 0;                    ///< net: of the server; 0: any free one
  const char* device = "";         ///< net: the only interface that is served; empty: all
};

struct Workload {
  const char* name;
  const char* summary;
  const char* kinds;  ///< for the help; empty: none
  /// False: nothing could be measured at all (the report says why).
  bool (*run)(const Options&, Report&);
};

/// Whether `name` is chosen by options.kind: equal, or below it ("pipe" chooses "pipe.thread").
bool chosen(const Options& options, const char* name);

bool run_throttle(const Options& options, Report& report);
bool run_oom(const Options& options, Report& report);
bool run_ctxswitch(const Options& options, Report& report);
bool run_net(const Options& options, Report& report);
bool run_textbook(const Options& options, Report& report);

std::span<const Workload> workloads();

}  // namespace minirun::probe
