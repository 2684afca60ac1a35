// Owns: `minirun update`: from flags or a LinuxResources object to a ResourceUpdate.
// Must not: know how a value is written.
#include "runtime/update.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>

#include "base/file.h"
#include "cgroups/files.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/load.h"
#include "spec/json.h"
#include "spec/kubernetes/range.h"
#include "spec/oci_reader.h"

namespace minirun::cli {
namespace {

bool parse_number(std::string_view text, std::int64_t& value) {
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && at == text.data() + text.size() && !text.empty();
}

/// Bytes, also "64m" and "64MiB" (powers of 1024, as docker and runc read them); -1 is no limit.
bool parse_size(std::string_view text, std::int64_t& value) {
  constexpr std::string_view units = "bkmgtp";
  std::size_t end = text.find_first_not_of("-0123456789");
  std::string unit(text.substr(std::min(end, text.size())));
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (unit.size() > 1 && unit.ends_with('b')) unit.pop_back();
  if (unit.size() > 1 && unit.ends_with('i')) unit.pop_back();
  const std::size_t power = unit.empty() ? 0 : units.find(unit.front());
  if (unit.size() > 1 || power == std::string_view::npos) return false;
  if (!parse_number(text.substr(0, end), value) || value < -1) return false;
  if (value < 0) return unit.empty();
  return !__builtin_mul_overflow(value, std::int64_t{1} << (10 * power), &value);
}

/// A flag with a number: its name, the key of its origin, what it says, and where it goes.
struct NumberFlag {
  const char* name;
  const char* key;
  const char* summary;
  bool size;  ///< takes "64m"
  std::int64_t least, most;
  void (*set)(Resources&, std::int64_t);
};

constexpr auto number_flags = std::to_array<NumberFlag>({
    {"--memory", "memory.limit", "limit in bytes, 64m, or request..limit: 256Mi..512Mi; -1: none",
     true, -1, INT64_MAX, [](Resources& r, std::int64_t v) { r.memory.limit_bytes = v; }},
    {"--memory-reservation", "memory.reservation", "protected memory (memory.low)", true, -1,
     INT64_MAX, [](Resources& r, std::int64_t v) { r.memory.reservation_bytes = v; }},
    {"--memory-swap", "memory.swap", "memory and swap together; -1: no limit of swap", true, -1,
     INT64_MAX, [](Resources& r, std::int64_t v) { r.memory.swap_bytes = v; }},
    {"--cpu-quota", "cpu.quota", "microseconds of CPU time per period; -1: no limit", false,
     INT64_MIN, INT64_MAX, [](Resources& r, std::int64_t v) { r.cpu.quota_us = v; }},
    {"--cpu-period", "cpu.period", "length of the period in microseconds", false, 0, INT64_MAX,
     [](Resources& r, std::int64_t v) { r.cpu.period_us = static_cast<std::uint64_t>(v); }},
    {"--cpu-share,--cpu-shares", "cpu.shares", "relative weight, 2 to 262144", false, 0, INT64_MAX,
     [](Resources& r, std::int64_t v) { r.cpu.shares = static_cast<std::uint64_t>(v); }},
    {"--cpu-burst", "cpu.burst", "microseconds that may be saved up", false, 0, INT64_MAX,
     [](Resources& r, std::int64_t v) { r.cpu.burst_us = static_cast<std::uint64_t>(v); }},
    {"--cpu-idle", "cpu.idle", "1: only what nobody else wants; 0: ordinary", false, 0, 1,
     [](Resources& r, std::int64_t v) { r.cpu.idle = v; }},
    {"--pids-limit", "pids.limit", "processes and threads; -1: no limit", false, -1, INT64_MAX,
     [](Resources& r, std::int64_t v) { r.pids_limit = v; }},
    {"--blkio-weight", "blockIO.weight", "weight of the disk, 10 to 1000", false, 10, 1000,
     [](Resources& r, std::int64_t v) { r.block_io.weight = static_cast<std::uint16_t>(v); }},
});

/// Flags of other runtimes that cannot be done, and why.
struct RefusedFlag {
  const char* name;
  const char* why;
};
constexpr auto refused_flags = std::to_array<RefusedFlag>({
    {"--cpu-rt-period", "only cgroup v1 has it; use process.scheduler"},
    {"--cpu-rt-runtime", "only cgroup v1 has it; use process.scheduler"},
    {"--l3-cache-schema", "Intel RDT cannot be changed by update"},
    {"--mem-bw-schema", "Intel RDT cannot be changed by update"},
});

class Update : public Command {
 public:
  void declare(App app) override {
    app.add_option("ID", id_, "the container").required();
    app.add_option("-r,--resources", document_,
                   "file with an OCI LinuxResources object, - for standard input");
    for (std::size_t i = 0; i < number_flags.size(); ++i)
      app.add_option(number_flags[i].name, numbers_[i], number_flags[i].summary);
    app.add_option("--cpu", cpu_range_,
                   "request..limit as in Kubernetes: 250m..500m, 250m..max, 1");
    app.add_option("--cpuset-cpus", cpus_, "list of CPUs, e.g. 0-3,8");
    app.add_option("--cpuset-mems", mems_, "list of memory nodes");
    app.add_option("--kernel-memory", kernel_, "no effect on cgroup v2");
    app.add_option("--kernel-memory-tcp", kernel_, "no effect on cgroup v2");
    for (std::size_t i = 0; i < refused_flags.size(); ++i)
      app.add_option(refused_flags[i].name, refused_[i], "not supported");
  }

  int run(const GlobalOptions& options, Output& output) override {
    const Result<Findings> findings = update(options, output);
    if (!findings) return report(std::unexpected(findings.error()), output);
    return output.findings(*findings, true) ? 1 : 0;
  }

 private:
  Result<Findings> update(const GlobalOptions& options, Output& output) const {
    ResourceUpdate change;
    TRY(read_flags(change));
    if (!kernel_.empty()) output.warning("--kernel-memory: has no effect on cgroup v2");
    if (!document_.empty()) {
      if (change.resources != Resources{})
        return plain_error("--resources", "and flags with single values exclude each other");
      Findings findings = TRY(read_document(change));
      if (!findings.empty()) return findings;
    }
    const Found found = TRY(find_container(options, id_));
    if (!found.view.record)
      return plain_error(id_, "its record cannot be read; delete -f removes it");
    ContainerSpec spec = TRY(original_spec(found.dir, *found.view.record));
    return update_container(found.dir, found.view, std::move(spec), change, found.ground.facts);
  }

  Status read_flags(ResourceUpdate& change) const {
    for (std::size_t i = 0; i < refused_flags.size(); ++i)
      if (!refused_[i].empty() && refused_[i] != "0")
        return plain_error(refused_flags[i].name, refused_flags[i].why);
    if (!cpu_range_.empty())
      TRY(kubernetes::set_cpu_range("--cpu", cpu_range_, change.resources, change.origins));
    for (std::size_t i = 0; i < number_flags.size(); ++i) {
      const NumberFlag& flag = number_flags[i];
      const std::string& text = numbers_[i];
      if (text.empty()) continue;
      const std::string name(flag.name, std::strcspn(flag.name, ","));
      // 256Mi..512Mi is Kubernetes' notation, where 512m would be half a byte.
      if (name == "--memory" && text.find("..") != std::string::npos) {
        TRY(kubernetes::set_memory_range(name, text, change.resources, change.origins));
        continue;
      }
      std::int64_t value = 0;
      if (!(flag.size ? parse_size(text, value) : parse_number(text, value)))
        return plain_error(name, fmt::format("\"{}\" is not a {}", text,
                                             flag.size ? "size such as 64m" : "number"));
      if (value < flag.least || value > flag.most)
        return plain_error(
            name, fmt::format("{} is out of range, {} to {}", value, flag.least, flag.most));
      flag.set(change.resources, value);
      change.origins[flag.key] = {name, text, ""};
    }
    for (const auto& [text, name, key, out] :
         {std::tuple{&cpus_, "--cpuset-cpus", "cpu.cpus", &change.resources.cpu.cpus},
          std::tuple{&mems_, "--cpuset-mems", "cpu.mems", &change.resources.cpu.mems}}) {
      if (text->empty()) continue;
      *out = *text;
      change.origins[key] = {name, *text, ""};
    }
    return {};
  }

  Result<Findings> read_document(ResourceUpdate& change) const {
    const std::string name = document_ == "-" ? "standard input" : document_;
    const Fd file(document_ == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                   : ::open(document_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) return os_error(name);
    const std::string text = TRY(read_all(file.get(), name));
    Findings findings;
    const std::optional<JsonDocument> document =
        JsonDocument::parse(text, findings, {.bytes = document_most});
    if (document) read_oci_resources(document->root(findings), change.resources, change.origins);
    // Unknown properties are nobody's business: engines write their own.
    std::erase_if(findings, [](const Finding& f) { return f.level != Finding::Level::error; });
    change.resources.devices.clear();
    return findings;
  }

  std::string id_, document_, cpu_range_, cpus_, mems_, kernel_;
  std::array<std::string, number_flags.size()> numbers_;
  std::array<std::string, refused_flags.size()> refused_;
};

}  // namespace

std::unique_ptr<Command> make_update() {
  return std::make_unique<Update>();
}

}  // namespace minirun::cli
