// Reading and parsing. A missing file is a missing controller, except when the cgroup is gone.
// Must not: interpret (verdict.cc).
#include "cgroups/stats.h"

#include <fcntl.h>

#include <cerrno>
#include <charconv>

#include "base/text.h"
#include "cgroups/control.h"
#include "cgroups/files.h"

namespace minirun {
namespace {

// The text of a file, nothing when the kernel does not offer it here.
// EOPNOTSUPP: a pressure file while PSI is off.
Result<std::optional<std::string>> read_optional(int cgroup, const char* name) {
  auto text = read_beneath(cgroup, name);
  if (text) return std::optional(*std::move(text));
  if (text.error().errnum == ENOENT || text.error().errnum == EOPNOTSUPP) return std::nullopt;
  return std::unexpected(std::move(text).error());
}

// A single number; "max" and an absent file are nothing.
Result<std::optional<std::uint64_t>> read_number(int cgroup, const char* name) {
  const auto text = TRY(read_optional(cgroup, name));
  if (!text || text->starts_with("max")) return std::nullopt;
  return leading_number(*text).value_or(0);
}

Result<FlatKeys> read_keys(int cgroup, const char* name) {
  const auto text = TRY(read_optional(cgroup, name));
  return text ? parse_flat_keyed(*text) : FlatKeys();
}

Result<std::optional<MemoryStats>> read_memory(int cgroup) {
  const auto current = TRY(read_number(cgroup, "memory.current"));
  if (!current) return std::nullopt;
  MemoryStats memory;
  memory.current = *current;
  memory.max = TRY(read_number(cgroup, "memory.max"));
  memory.peak = TRY(read_number(cgroup, "memory.peak"));
  memory.stat = TRY(read_keys(cgroup, "memory.stat"));
  memory.events = TRY(read_keys(cgroup, "memory.events"));
  memory.events_local = TRY(read_keys(cgroup, "memory.events.local"));
  memory.swap_current = TRY(read_number(cgroup, "memory.swap.current"));
  memory.swap_peak = TRY(read_number(cgroup, "memory.swap.peak"));
  memory.swap_max = TRY(read_number(cgroup, "memory.swap.max"));
  memory.swap_events = TRY(read_keys(cgroup, "memory.swap.events"));
  return memory;
}

Result<std::optional<PidsStats>> read_pids(int cgroup) {
  const auto current = TRY(read_number(cgroup, "pids.current"));
  if (!current) return std::nullopt;
  PidsStats pids;
  pids.current = *current;
  pids.max = TRY(read_number(cgroup, "pids.max"));
  pids.peak = TRY(read_number(cgroup, "pids.peak"));
  pids.max_events = count_of(TRY(read_keys(cgroup, "pids.events")), "max");
  return pids;
}

Result<std::optional<Pressure>> read_pressure(int cgroup, const char* name) {
  const auto text = TRY(read_optional(cgroup, name));
  return text ? parse_pressure(*text) : std::nullopt;
}

Result<LevelCounters> read_level(int mount, std::string_view path) {
  const std::string below(path.substr(1));
  const CgroupFd cgroup(open_beneath(mount, below.c_str(), O_RDONLY | O_DIRECTORY));
  if (!cgroup) return os_error(std::string(path));
  LevelCounters level;
  level.path = path;
  level.memory_events = TRY(read_keys(cgroup.get(), "memory.events"));
  level.memory_events_local = TRY(read_keys(cgroup.get(), "memory.events.local"));
  const auto local = TRY(read_optional(cgroup.get(), "pids.events.local"));
  level.pids_local = local.has_value();
  level.pids_events =
      local ? parse_flat_keyed(*local) : TRY(read_keys(cgroup.get(), "pids.events"));
  level.memory_max = TRY(read_number(cgroup.get(), "memory.max"));
  level.pids_max = TRY(read_number(cgroup.get(), "pids.max"));
  return level;
}

}  // namespace

FlatKeys parse_flat_keyed(std::string_view text) {
  FlatKeys keys;
  for (std::string_view line : split(text, '\n')) {
    const auto words = split_words(line);
    if (words.size() == 2) keys.emplace(words[0], leading_number(words[1]).value_or(0));
  }
  return keys;
}

CpuStats parse_cpu_stat(std::string_view text) {
  const FlatKeys keys = parse_flat_keyed(text);
  const auto optional = [&](std::string_view key) {
    const auto it = keys.find(key);
    return it == keys.end() ? std::nullopt : std::optional(it->second);
  };
  CpuStats cpu;
  cpu.usage_usec = count_of(keys, "usage_usec");
  cpu.user_usec = count_of(keys, "user_usec");
  cpu.system_usec = count_of(keys, "system_usec");
  cpu.nr_periods = optional("nr_periods");
  cpu.nr_throttled = optional("nr_throttled");
  cpu.throttled_usec = optional("throttled_usec");
  cpu.nr_bursts = optional("nr_bursts");
  cpu.burst_usec = optional("burst_usec");
  return cpu;
}

std::map<std::string, IoStats> parse_io_stat(std::string_view text) {
  std::map<std::string, IoStats> devices;
  for (std::string_view line : split(text, '\n')) {
    const auto words = split_words(line);
    if (words.size() < 2) continue;  // a device without traffic may stand alone
    IoStats& io = devices[std::string(words[0])];
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::size_t equals = words[i].find('=');
      if (equals == std::string_view::npos) continue;
      const std::string_view key = words[i].substr(0, equals);
      const std::uint64_t value = leading_number(words[i].substr(equals + 1)).value_or(0);
      if (key == "rbytes") io.rbytes = value;
      if (key == "wbytes") io.wbytes = value;
      if (key == "rios") io.rios = value;
      if (key == "wios") io.wios = value;
      if (key == "dbytes") io.dbytes = value;
      if (key == "dios") io.dios = value;
    }
  }
  return devices;
}

namespace {

// "some avg10=0.12 avg60=0.00 avg300=0.00 total=4711"
std::array<double, 3> averages(std::string_view line) {
  std::array<double, 3> percent{};
  std::size_t next = 0;
  for (std::string_view word : split_words(line)) {
    if (!word.starts_with("avg") || next == percent.size()) continue;
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    std::from_chars(word.data() + equals + 1, word.data() + word.size(), percent[next++]);
  }
  return percent;
}

}  // namespace

std::optional<Pressure> parse_pressure(std::string_view text) {
  std::optional<Pressure> pressure;
  for (std::string_view line : split(text, '\n')) {
    const std::size_t total = line.find("total=");
    if (total == std::string_view::npos) continue;
    const std::uint64_t usec = leading_number(line.substr(total + 6)).value_or(0);
    if (!pressure) pressure.emplace();
    const bool some = line.starts_with("some ");
    (some ? pressure->some_percent : pressure->full_percent) = averages(line);
    if (some)
      pressure->some_usec = usec;
    else
      pressure->full_usec = usec;
  }
  return pressure;
}

MemoryStats::Peak MemoryStats::highest() const {
  return peak ? Peak{*peak, "memory.peak"} : Peak{current, "memory.current"};
}

Result<CgroupStats> read_stats(const CgroupFd& cgroup) {
  CgroupStats stats;
  if (const auto cpu = TRY(read_optional(cgroup.get(), "cpu.stat")))
    stats.cpu = parse_cpu_stat(*cpu);
  stats.memory = TRY(read_memory(cgroup.get()));
  stats.pids = TRY(read_pids(cgroup.get()));
  if (const auto io = TRY(read_optional(cgroup.get(), "io.stat"))) stats.io = parse_io_stat(*io);
  stats.cpu_pressure = TRY(read_pressure(cgroup.get(), "cpu.pressure"));
  stats.memory_pressure = TRY(read_pressure(cgroup.get(), "memory.pressure"));
  stats.io_pressure = TRY(read_pressure(cgroup.get(), "io.pressure"));
  return stats;
}

Result<std::vector<LevelCounters>> read_levels(const CgroupFacts& facts, std::string_view path) {
  const DirFd mount = TRY(open_cgroup_mount(facts));
  std::vector<LevelCounters> levels;
  while (path.size() > 1) {
    levels.push_back(TRY(read_level(mount.get(), path)));
    path = path.substr(0, path.rfind('/'));
  }
  return levels;
}

}  // namespace minirun
