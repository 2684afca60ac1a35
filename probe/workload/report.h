// Owns: what a workload says: results with their statistics, series, counters, what cannot be
// shown and why; as one JSON document (schema 1) or as text. And the machine that it ran on.
// Must not: measure, or use the C++ library: minirun-probe is small because it does not.
#pragma once

#include <cstdint>
#include <cstdio>

#include "probe/statistics.h"

namespace minirun::probe {

inline constexpr int document_schema = 1;

/// Samples in the order in which they were taken. The capacity is fixed when it is made; what
/// does not fit is counted, not lost without a word.
class Samples {
 public:
  explicit Samples(std::size_t capacity);
  ~Samples();
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;
  void add(double value) {
    if (size_ < capacity_)
      values_[size_++] = value;
    else
      ++dropped_;
  }
  [[nodiscard]] std::span<double> values() { return {values_, size_}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t dropped() const { return dropped_; }
  [[nodiscard]] bool full() const { return size_ == capacity_; }
  void clear() { size_ = dropped_ = 0; }

 private:
  double* values_;
  std::size_t size_ = 0, capacity_, dropped_ = 0;
};

struct Metric {
  const char* name;
  const char* unit;              ///< "ns", "us", "cores", "bytes", "1/s", "ratio"
  const char* better = "lower";  ///< "lower", "higher", "none"
  const char* pinning = "";      ///< "cpu 0", "cpus 0 and 1"; empty: not pinned
  const char* note = "";         ///< one sentence of the method or of a known error
};

class Report {
 public:
  Report();
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  /// Sorts the samples.
  void result(const Metric& metric, Samples& samples);
  /// A result of one sample: a count, or a quotient over the whole run.
  void value(const Metric& metric, double value);
  /// Points (x, y) in order, for charts.
  void series(const char* name, const char* x_unit, const char* unit, const double* x,
              const double* y, std::size_t n);
  void counter(const char* name, std::uint64_t value);
  void unsupported(const char* name, const char* reason);
  void warning(const char* text);
  /// Writes everything to standard output. False: it cannot be written.
  [[nodiscard]] bool finish(const char* probe, bool quick, bool json);

 private:
  struct Part {
    char* text = nullptr;
    std::size_t size = 0;
    FILE* file = nullptr;
    bool any = false;
    /// Puts the comma.
    FILE* next();
  };
  static void open(Part& part);
  void numbers(const Metric& metric, const Summary& summary);
  Part results_, series_, counters_, unsupported_, warnings_, text_;
};

/// Writes `text` as a JSON string.
void write_json_string(FILE* out, const char* text);

/// The "machine" and "cgroup" members of the document.
void write_machine(FILE* out);
void write_cgroup(FILE* out);
/// What makes this machine a bad one to measure on, as warnings.
void warn_of_machine(Report& report);

/// The content of a small file without its last newline; false when it cannot be read.
bool read_small(const char* path, char* buffer, std::size_t size);
/// A value of this process' own cgroup ("memory.max"); false: not visible here.
bool read_own_cgroup(const char* file, char* buffer, std::size_t size);

}  // namespace minirun::probe
