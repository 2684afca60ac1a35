// Owns: what the parts of the textbook workload share: one timed loop for all of them.
// Must not: decide what is measured.
#pragma once

#include "probe/workload/clock.h"
#include "probe/workload/workload.h"

namespace minirun::probe {

/// Calls `body` in batches of at least `batch_ns` until `milliseconds` are over and adds the
/// nanoseconds of one call of each batch. The first batch warms up and is not counted.
template <class Body>
void time_calls(Samples& samples, std::uint64_t milliseconds, Body body,
                std::uint64_t batch_ns = 50'000) {
  std::uint64_t count = 1;
  for (;;) {  // calibrate, warm up
    const std::uint64_t begin = now_ns();
    for (std::uint64_t i = 0; i < count; ++i) body();
    if (now_ns() - begin >= batch_ns || count >= (1U << 24)) break;
    count *= 2;
  }
  const std::uint64_t end = now_ns() + milliseconds * 1'000'000U;
  do {
    const std::uint64_t begin = now_ns();
    for (std::uint64_t i = 0; i < count; ++i) body();
    samples.add(static_cast<double>(now_ns() - begin) / static_cast<double>(count));
  } while ((now_ns() < end || samples.size() < 5) && !samples.full());
}

/// time_calls() and the result.
template <class Body>
void measure(Report& report, const Metric& metric, std::uint64_t milliseconds, Body body,
             std::uint64_t batch_ns = 50'000) {
  Samples samples(8192);
  time_calls(samples, milliseconds, body, batch_ns);
  report.result(metric, samples);
}

/// "CALL: ERROR" of errno as the reason.
void unsupported_errno(Report& report, const char* metric, const char* call);

// One per file. `length` is the time for each case in milliseconds.
void textbook_process(Report& report, std::uint64_t length, bool quick);
void textbook_memory(Report& report, std::uint64_t length, bool quick);
void textbook_faults(Report& report, std::uint64_t length, const Options& options);
void textbook_files(Report& report, std::uint64_t length, const Options& options);
void textbook_ipc(Report& report, std::uint64_t length);
void textbook_polling(Report& report, std::uint64_t length, bool quick);
void textbook_locks(Report& report, std::uint64_t length);
void textbook_calls(Report& report, std::uint64_t length);

}  // namespace minirun::probe
