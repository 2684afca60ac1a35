// Owns: argv -> workload -> report. `minirun-probe ctxswitch --json` needs nothing else on the
// machine: one static file, also as the only file of an image.
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "probe/workload/clock.h"
#include "probe/workload/workload.h"

namespace minirun::probe {

std::span<const Workload> workloads() {
  static constexpr Workload table[] = {
      {"throttle", "burns CPU and looks for the gaps in its own time", "burn bursts requests",
       run_throttle},
      {"oom", "takes memory in steps until it is killed",
       "anon tmpfs pagecache kernel processes cow", run_oom},
      {"ctxswitch", "hands a token over between two threads or processes",
       "futex pipe eventfd signal stream yield workingset", run_ctxswitch},
      {"net", "sends over TCP, through loopback or to a server elsewhere", "loopback serve connect",
       run_net},
      {"textbook", "the numbers that textbooks quote",
       "process calls memory faults files ipc polling locks", run_textbook},
  };
  return table;
}

bool chosen(const Options& options, const char* name) {
  const std::size_t length = std::strlen(options.kind);
  if (length == 0) return true;
  return std::strncmp(name, options.kind, length) == 0 &&
         (name[length] == '\0' || name[length] == '.');
}

namespace {

int usage(FILE* out, int status) {
  std::fputs(
      "usage: minirun-probe WORKLOAD [--json] [--quick] [--kind KIND] [--threads N] [--ms N]\n"
      "                     [--cap BYTES] [--dir DIRECTORY] [--port N] [--device INTERFACE]\n\n",
      out);
  for (const Workload& workload : workloads())
    std::fprintf(out, "  %-12s %s%s%s\n", workload.name, workload.summary,
                 workload.kinds[0] != '\0' ? "; kinds: " : "", workload.kinds);
  return status;
}

/// A whole number from 1 to `max`; ends the program when it is none.
std::uint64_t number(const char* option, const char* text, std::uint64_t max) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value == 0 || value > max) {
    std::fprintf(stderr, "minirun-probe: %s: \"%s\" is not a number from 1 to %llu\n", option, text,
                 static_cast<unsigned long long>(max));
    std::exit(2);
  }
  return value;
}

bool takes(char** argv, int& at, const char* name, const char*& value) {
  if (std::strcmp(argv[at], name) != 0) return false;
  if (argv[at + 1] == nullptr) {
    std::fprintf(stderr, "minirun-probe: %s needs a value\n", name);
    std::exit(2);
  }
  value = argv[++at];
  return true;
}

Options parse(char** argv) {
  Options options;
  for (int at = 2; argv[at] != nullptr; ++at) {
    const char* value = nullptr;
    if (std::strcmp(argv[at], "--json") == 0) {
      options.json = true;
    } else if (std::strcmp(argv[at], "--quick") == 0) {
      options.quick = true;
    } else if (takes(argv, at, "--kind", value)) {
      options.kind = value;
    } else if (takes(argv, at, "--threads", value)) {
      options.threads = static_cast<int>(number("--threads", value, 256));
    } else if (takes(argv, at, "--ms", value)) {
      options.milliseconds = number("--ms", value, 600'000);
    } else if (takes(argv, at, "--cap", value)) {
      options.cap_bytes = number("--cap", value, std::uint64_t{1} << 40);
    } else if (takes(argv, at, "--port", value)) {
      options.port = static_cast<int>(number("--port", value, 65535));
    } else if (takes(argv, at, "--device", value)) {
      options.device = value;
    } else if (takes(argv, at, "--dir", value)) {
      options.directory = value;
    } else {
      std::fprintf(stderr, "minirun-probe: unknown option \"%s\"\n", argv[at]);
      std::exit(2);
    }
  }
  return options;
}

/// What the kernel counted for this process' own cgroup, where it can be seen: for comparison with
/// what minirun reads from outside.
void report_own_counters(Report& report) {
  for (const char* file : {"cpu.stat", "memory.events"}) {
    char text[4096];
    if (!read_own_cgroup(file, text, sizeof text)) continue;
    char* rest = nullptr;
    for (char* line = ::strtok_r(text, "\n", &rest); line != nullptr;
         line = ::strtok_r(nullptr, "\n", &rest)) {
      char* value = std::strchr(line, ' ');
      if (value == nullptr) continue;
      *value = '\0';
      char name[160];
      std::snprintf(name, sizeof name, "%s %s", file, line);
      report.counter(name, std::strtoull(value + 1, nullptr, 10));
    }
  }
}

int run(char** argv) {
  if (argv[1] == nullptr) return usage(stderr, 2);
  if (std::strcmp(argv[1], "--help") == 0) return usage(stdout, 0);
  for (const Workload& workload : workloads()) {
    if (std::strcmp(argv[1], workload.name) != 0) continue;
    const Options options = parse(argv);
    remember_cpus();
    Report report;
    warn_of_machine(report);
    const bool measured = workload.run(options, report);
    report_own_counters(report);
    if (!report.finish(workload.name, options.quick, options.json)) die("standard output");
    return measured ? 0 : 4;
  }
  std::fprintf(stderr, "minirun-probe: unknown workload \"%s\"\n", argv[1]);
  return usage(stderr, 2);
}

}  // namespace
}  // namespace minirun::probe

int main(int argc, char** argv) {
  return argc < 1 ? 2 : minirun::probe::run(argv);
}
