#include "probe/workload/report.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "probe/workload/clock.h"

namespace minirun::probe {

Samples::Samples(std::size_t capacity)
    : values_(static_cast<double*>(std::malloc(capacity * sizeof(double)))), capacity_(capacity) {
  if (values_ == nullptr) die("malloc");
}

Samples::~Samples() {
  std::free(values_);
}

void Report::open(Part& part) {
  part.file = ::open_memstream(&part.text, &part.size);
  if (part.file == nullptr) die("open_memstream");
}

Report::Report() {
  for (Part* part : {&results_, &series_, &counters_, &unsupported_, &warnings_, &text_})
    open(*part);
}

FILE* Report::Part::next() {
  if (any) std::fputc(',', file);
  any = true;
  return file;
}

void write_json_string(FILE* out, const char* text) {
  std::fputc('"', out);
  for (; *text != '\0'; ++text) {
    const auto c = static_cast<unsigned char>(*text);
    if (c == '"' || c == '\\')
      std::fprintf(out, "\\%c", c);
    else if (c < 0x20 || c >= 0x7f)
      std::fprintf(out, "\\u%04x", c);
    else
      std::fputc(c, out);
  }
  std::fputc('"', out);
}

void Report::numbers(const Metric& metric, const Summary& summary) {
  FILE* out = results_.next();
  std::fputs("{\"metric\":", out);
  write_json_string(out, metric.name);
  std::fputs(",\"unit\":", out);
  write_json_string(out, metric.unit);
  std::fprintf(out,
               ",\"better\":\"%s\",\"n\":%zu,\"median\":%.9g,\"p5\":%.9g,\"p95\":%.9g,\"p99\":%.9g,"
               "\"min\":%.9g,\"max\":%.9g,\"mean\":%.9g,\"noisy\":%s,\"pinning\":",
               metric.better, summary.n, summary.median, summary.p5, summary.p95, summary.p99,
               summary.min, summary.max, summary.mean, noisy(summary) ? "true" : "false");
  write_json_string(out, metric.pinning[0] != '\0' ? metric.pinning : "none");
  if (metric.note[0] != '\0') {
    std::fputs(",\"note\":", out);
    write_json_string(out, metric.note);
  }
  std::fprintf(text_.file, "%-44s %12.6g %-6s p5 %-10.5g p95 %-10.5g p99 %-10.5g n %zu%s\n",
               metric.name, summary.median, metric.unit, summary.p5, summary.p95, summary.p99,
               summary.n, noisy(summary) ? "  (noisy)" : "");
}

void Report::result(const Metric& metric, Samples& samples) {
  if (samples.size() == 0) {
    unsupported(metric.name, "no sample was taken");
    return;
  }
  // A document keeps every sample up to this many, then every k-th of the sorted ones and the
  // largest: the statistics are of all.
  constexpr std::size_t kept = 256;
  const std::span<double> values = samples.values();
  const Summary summary = summarize(values);
  numbers(metric, summary);
  FILE* out = results_.file;
  if (samples.dropped() > 0) std::fprintf(out, ",\"dropped\":%zu", samples.dropped());
  const std::size_t step = (values.size() + kept - 1) / kept;
  std::fprintf(out, ",\"every\":%zu,\"samples\":[", step);
  for (std::size_t i = 0; i < values.size(); i += step)
    std::fprintf(out, "%s%.7g", i == 0 ? "" : ",", values[i]);
  std::fputs("]}", out);
}

void Report::value(const Metric& metric, double value) {
  if (!std::isfinite(value)) return unsupported(metric.name, "the result is not a number");
  const Summary summary{1, value, value, value, value, value, value, value};
  numbers(metric, summary);
  std::fprintf(results_.file, ",\"every\":1,\"samples\":[%.9g]}", value);
}

void Report::series(const char* name, const char* x_unit, const char* unit, const double* x,
                    const double* y, std::size_t n) {
  FILE* out = series_.next();
  std::fputs("{\"name\":", out);
  write_json_string(out, name);
  std::fprintf(out, ",\"x_unit\":\"%s\",\"unit\":\"%s\",\"x\":[", x_unit, unit);
  for (std::size_t i = 0; i < n; ++i) std::fprintf(out, "%s%.7g", i == 0 ? "" : ",", x[i]);
  std::fputs("],\"y\":[", out);
  for (std::size_t i = 0; i < n; ++i) std::fprintf(out, "%s%.7g", i == 0 ? "" : ",", y[i]);
  std::fputs("]}", out);
}

void Report::counter(const char* name, std::uint64_t value) {
  FILE* out = counters_.next();
  write_json_string(out, name);
  std::fprintf(out, ":%llu", static_cast<unsigned long long>(value));
  std::fprintf(text_.file, "%-44s %12llu\n", name, static_cast<unsigned long long>(value));
}

void Report::unsupported(const char* name, const char* reason) {
  FILE* out = unsupported_.next();
  std::fputs("{\"metric\":", out);
  write_json_string(out, name);
  std::fputs(",\"reason\":", out);
  write_json_string(out, reason);
  std::fputc('}', out);
  std::fprintf(text_.file, "%-44s unsupported: %s\n", name, reason);
}

void Report::warning(const char* text) {
  write_json_string(warnings_.next(), text);
  std::fprintf(text_.file, "warning: %s\n", text);
}

bool Report::finish(const char* probe, bool quick, bool json) {
  for (Part* part : {&results_, &series_, &counters_, &unsupported_, &warnings_, &text_})
    if (std::fflush(part->file) != 0) return false;
  if (!json) {
    std::fputs(text_.text, stdout);
    return std::fflush(stdout) == 0;
  }
  std::fprintf(stdout, "{\"schema\":%d,\"tool\":\"minirun-probe %s\",\"probe\":\"%s\",\"quick\":%s",
               document_schema, MINIRUN_VERSION, probe, quick ? "true" : "false");
  std::fputs(",\"machine\":", stdout);
  write_machine(stdout);
  std::fputs(",\"cgroup\":", stdout);
  write_cgroup(stdout);
  std::fprintf(stdout, ",\"results\":[%s],\"series\":[%s],\"counters\":{%s},\"unsupported\":[%s]",
               results_.text, series_.text, counters_.text, unsupported_.text);
  std::fprintf(stdout, ",\"warnings\":[%s]}\n", warnings_.text);
  return std::fflush(stdout) == 0;
}

}  // namespace minirun::probe
