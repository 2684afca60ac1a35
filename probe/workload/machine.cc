// Owns: what is read of the machine and of this process' own cgroup, for the document.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "probe/workload/clock.h"
#include "probe/workload/report.h"

namespace minirun::probe {

bool read_small(const char* path, char* buffer, std::size_t size) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t got = ::read(fd, buffer, size - 1);
  ::close(fd);
  if (got < 0) return false;
  std::size_t end = static_cast<std::size_t>(got);
  while (end > 0 && buffer[end - 1] == '\n') --end;
  buffer[end] = '\0';
  return true;
}

namespace {

/// The value of `key` in a text of "key<spaces>: value" lines, as /proc/cpuinfo is.
bool find_field(const char* text, const char* key, char* buffer, std::size_t size) {
  const char* line = std::strstr(text, key);
  if (line == nullptr) return false;
  const char* value = std::strchr(line, ':');
  if (value == nullptr) return false;
  ++value;
  while (*value == ' ' || *value == '\t') ++value;
  std::size_t length = std::strcspn(value, "\n");
  if (length >= size) length = size - 1;
  std::memcpy(buffer, value, length);
  buffer[length] = '\0';
  return true;
}

const char* cpuinfo() {
  static char text[16384];
  if (text[0] == '\0' && !read_small("/proc/cpuinfo", text, sizeof text)) std::strcpy(text, "\n");
  return text;
}

bool virtualised() {
  char flags[8192];
  return find_field(cpuinfo(), "\nflags", flags, sizeof flags) &&
         std::strstr(flags, "hypervisor") != nullptr;
}

bool frequency_known() {
  char text[64];
  return read_small("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", text, sizeof text);
}

void write_caches(FILE* out) {
  std::fputs(",\"caches\":[", out);
  bool first = true;
  for (int index = 0; index < 8; ++index) {
    char path[128], type[32], level[16], size[32];
    constexpr const char* base = "/sys/devices/system/cpu/cpu0/cache";
    std::snprintf(path, sizeof path, "%s/index%d/type", base, index);
    if (!read_small(path, type, sizeof type)) break;
    std::snprintf(path, sizeof path, "%s/index%d/level", base, index);
    if (!read_small(path, level, sizeof level)) break;
    std::snprintf(path, sizeof path, "%s/index%d/size", base, index);
    if (!read_small(path, size, sizeof size) || std::strcmp(type, "Instruction") == 0) continue;
    std::fprintf(out, "%s{\"level\":%d,\"bytes\":%ld}", first ? "" : ",", std::atoi(level),
                 std::atol(size) * 1024);
    first = false;
  }
  std::fputs("]", out);
}

}  // namespace

void write_machine(FILE* out) {
  utsname system{};
  ::uname(&system);
  char text[256];
  std::fputs("{\"kernel\":", out);
  write_json_string(out, system.release);
  std::fputs(",\"arch\":", out);
  write_json_string(out, system.machine);
  const bool model = find_field(cpuinfo(), "model name", text, sizeof text) ||
                     find_field(cpuinfo(), "CPU part", text, sizeof text);
  std::fputs(",\"cpu_model\":", out);
  write_json_string(out, model ? text : "unknown");
  std::fprintf(out, ",\"cpus_allowed\":%d,\"cpus_online\":%ld,\"page_bytes\":%ld", allowed_cpus(),
               ::sysconf(_SC_NPROCESSORS_ONLN), ::sysconf(_SC_PAGESIZE));
  const bool clock = read_small("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                                text, sizeof text);
  std::fputs(",\"clock\":", out);
  write_json_string(out, clock ? text : "unknown");
  const ClockCost cost = clock_cost();
  std::fprintf(out, ",\"clock_read_ns\":%.4g,\"clock_step_ns\":%.4g", cost.read_ns, cost.step_ns);
  std::fprintf(out, ",\"virtualised\":%s,\"frequency_known\":%s", virtualised() ? "true" : "false",
               frequency_known() ? "true" : "false");
  struct sysinfo info{};
  ::sysinfo(&info);
  std::fprintf(out, ",\"memory_bytes\":%llu,\"swap_bytes\":%llu",
               static_cast<unsigned long long>(info.totalram) * info.mem_unit,
               static_cast<unsigned long long>(info.totalswap) * info.mem_unit);
  write_caches(out);
  std::fputc('}', out);
}

bool read_own_cgroup(const char* file, char* buffer, std::size_t size) {
  char text[4096], path[4600];
  if (!read_small("/proc/self/cgroup", text, sizeof text)) return false;
  const char* line = std::strstr(text, "0::");
  if (line == nullptr || (line != text && line[-1] != '\n')) return false;
  const auto length = static_cast<int>(std::strcspn(line + 3, "\n"));
  for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    std::snprintf(path, sizeof path, "%s%.*s/%s", mount, length, line + 3, file);
    if (read_small(path, buffer, size)) return true;
  }
  return false;
}

void write_cgroup(FILE* out) {
  static constexpr const char* files[] = {
      "cpu.max",         "cpu.max.burst", "cpu.weight", "cpu.idle", "cpuset.cpus.effective",
      "memory.max",      "memory.high",   "memory.low", "pids.max", "memory.swap.max",
      "memory.oom.group"};
  std::fputc('{', out);
  bool first = true;
  for (const char* file : files) {
    char text[256];
    if (!read_own_cgroup(file, text, sizeof text)) continue;
    std::fprintf(out, "%s\"%s\":", first ? "" : ",", file);
    write_json_string(out, text);
    first = false;
  }
  std::fputc('}', out);
}

void warn_of_machine(Report& report) {
  if (virtualised())
    report.warning("virtualised: the hypervisor takes time that no counter here shows");
  char load[64];
  if (read_small("/proc/loadavg", load, sizeof load) &&
      std::atof(load) > 0.5 * static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN)) + 0.5) {
    char text[128];
    std::snprintf(text, sizeof text, "others are running: the load was %.4s at the start", load);
    report.warning(text);
  }
  if (!frequency_known()) report.warning("frequency unknown: the clock rate may change meanwhile");
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.config = PERF_COUNT_HW_INSTRUCTIONS;
  attributes.exclude_kernel = 1;
  const long fd = ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
  if (fd < 0) {
    char text[128];
    std::snprintf(text, sizeof text, "no hardware counters: perf_event_open: %s",
                  std::strerror(errno));
    report.warning(text);
  } else {
    ::close(static_cast<int>(fd));
  }
}

}  // namespace minirun::probe
