// Owns: sentences about values, and what follows from several levels of them.
#include "runtime/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/text.h"
#include "cgroups/files.h"
#include "netns/plan.h"
#include "runtime/report.h"
#include "spec/kubernetes/bandwidth.h"

namespace minirun {

std::optional<std::uint64_t> parse_limit(std::string_view text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, problem] = std::from_chars(text.data(), end, value);
  if (text.empty() || problem != std::errc{} || at != end) return std::nullopt;
  return value;
}

std::optional<double> parse_cpu_max(std::string_view text) {
  const auto words = split_words(text);
  if (words.size() != 2) return std::nullopt;
  const auto quota = parse_limit(words[0]), period = parse_limit(words[1]);
  if (!quota || !period || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

namespace {

std::string cpu_max_effect(std::string_view value) {
  const auto words = split_words(value);
  if (words.size() == 2 && words[0] == "max")
    return "no cap: it may use every CPU that is idle, and no throttling happens here";
  const auto cpus = parse_cpu_max(value);
  if (!cpus) return "";
  const auto quota = static_cast<double>(*parse_limit(words[0])) / 1000;
  const auto period = static_cast<double>(*parse_limit(words[1])) / 1000;
  return fmt::format(
      "all its threads together run {:g} ms in every {:g} ms, that is {:g} CPU; who used it up "
      "stands still until the next period (cpu.stat nr_throttled)",
      quota, period, *cpus);
}

std::string memory_max_effect(std::string_view value) {
  const auto bytes = parse_limit(value);
  if (!bytes) return "no limit of its own";
  if (*bytes < 4096)
    return "less than a page: nothing can start in it, the OOM killer takes the first process";
  return fmt::format(
      "at {} the kernel first takes back page cache, and kills (oom_kill) when that is not enough",
      human_bytes(*bytes));
}

std::string bytes_or_none(std::string_view value) {
  const auto bytes = parse_limit(value);
  return bytes ? human_bytes(*bytes) : std::string(value);
}

std::string memory_effect(std::string_view file, std::string_view value) {
  if (file == "memory.max") return memory_max_effect(value);
  if (file == "memory.high")
    return fmt::format("above {} its processes are slowed down and reclaimed, not killed",
                       bytes_or_none(value));
  if (file == "memory.min")
    return fmt::format("{} of it is never reclaimed for others", bytes_or_none(value));
  if (file == "memory.low")
    return fmt::format("{} of it is reclaimed only when nothing unprotected is left",
                       bytes_or_none(value));
  if (file == "memory.swap.max")
    return value == "0" ? std::string("it cannot swap: memory.max is all it has")
                        : fmt::format("it may have {} in swap", bytes_or_none(value));
  if (file == "memory.oom.group")
    return value == "1" ? "one OOM kills every process of the container, not only the largest"
                        : "an OOM kills one process, the others go on";
  return "";
}

}  // namespace

std::string effect_of(std::string_view file, std::string_view value) {
  if (file == "cpu.max") return cpu_max_effect(value);
  if (file == "cpu.weight")
    return fmt::format(
        "{} part{} of the CPU time against its siblings, only while CPUs are short; no cap", value,
        value == "1" ? "" : "s");
  if (file == "cpu.idle")
    return value == "1" ? "runs only when nobody else wants the CPU" : "an ordinary group";
  if (file == "cpu.max.burst")
    return fmt::format("{} us that were not used may be used later at once", value);
  if (file.starts_with("memory.")) return memory_effect(file, value);
  if (file == "pids.max")
    return value == "max"
               ? std::string("no limit of tasks")
               : fmt::format("a fork beyond {} tasks gets EAGAIN (pids.events max)", value);
  if (file.starts_with("hugetlb."))
    return value == "0" ? "no huge pages of this size: a fault gets SIGBUS"
                        : fmt::format("at most {} in pages of this size", bytes_or_none(value));
  if (file == "cpuset.cpus") return fmt::format("runs on the CPUs {} only", value);
  if (file == "cpuset.mems") return fmt::format("memory from the nodes {} only", value);
  if (file == "io.max") return "reads and writes of this device wait beyond the rate";
  if (file == "io.weight" || file == "io.bfq.weight")
    return "parts of the disk time against its siblings, only while the disk is busy";
  return "";
}

// ---------------------------------------------------------------- levels

namespace {

/// "the container", "the pod", or a path.
std::string who_of(const PathLevel& level) {
  return level.name;
}

void conclude_cpu(EffectivePath& path) {
  const PathLevel* least = nullptr;
  for (const PathLevel& level : path.levels)
    if (level.cpus && (least == nullptr || *level.cpus < *least->cpus)) least = &level;
  path.conclusions.push_back(least == nullptr ? "cpu: no cap on the whole path"
                                              : fmt::format("cpu: at most {:g}, by cpu.max of {}",
                                                            *least->cpus, who_of(*least)));
  double product = 1;
  std::string factors;
  for (const PathLevel& level : path.levels) {
    if (!level.share) continue;
    product *= *level.share;
    factors += fmt::format("{}{:.1f} % of {}", factors.empty() ? "" : " x ", *level.share * 100,
                           level.among);
  }
  if (!factors.empty())
    path.conclusions.push_back(fmt::format("cpu when all are busy: {}{}", factors,
                                           factors.find(" x ") == std::string::npos
                                               ? std::string()
                                               : fmt::format(" = {:.2f} %", product * 100)));
}

void conclude_memory(EffectivePath& path) {
  const PathLevel* least = nullptr;
  for (const PathLevel& level : path.levels)
    if (level.memory_max && (least == nullptr || *level.memory_max < *least->memory_max))
      least = &level;
  path.conclusions.push_back(least == nullptr
                                 ? "memory: no limit on the whole path, only the machine's"
                                 : fmt::format("memory: at most {}, by memory.max of {}",
                                               human_bytes(*least->memory_max), who_of(*least)));
  for (const auto& [name, member] : {std::pair{"memory.min", &PathLevel::memory_min},
                                     std::pair{"memory.low", &PathLevel::memory_low}}) {
    if (path.levels.empty() || !(path.levels.front().*member)) continue;
    std::uint64_t effective = *(path.levels.front().*member);
    const std::uint64_t own = effective;
    if (own == 0) continue;
    std::string capped;
    for (const PathLevel& level : path.levels) {
      const std::uint64_t here = (level.*member).value_or(0);
      if (here < effective) {
        effective = here;
        capped = who_of(level);
      }
    }
    path.conclusions.push_back(
        fmt::format("{}: {} of {} counts{}", name, human_bytes(effective), human_bytes(own),
                    capped.empty() ? "" : ", because " + capped + " protects no more"));
  }
}

}  // namespace

void conclude(EffectivePath& path) {
  conclude_cpu(path);
  conclude_memory(path);
  const PathLevel* least = nullptr;
  for (const PathLevel& level : path.levels)
    if (level.pids_max && (least == nullptr || *level.pids_max < *least->pids_max)) least = &level;
  if (least != nullptr)
    path.conclusions.push_back(
        fmt::format("pids: at most {}, by pids.max of {}", *least->pids_max, who_of(*least)));
}

// ---------------------------------------------------------------- specs

int explained_rank(std::string_view file) {
  if (file == "cpu.weight") return 0;
  if (file.starts_with("cpu.")) return 1;
  if (file == "memory.max") return 2;
  if (file.starts_with("memory.")) return 3;
  if (file.starts_with("pids.")) return 4;
  return 5;
}

std::string oci_field(std::string_view file, const Resources& oci) {
  if (file == "cpu.weight" && oci.cpu.shares)
    return fmt::format("linux.resources.cpu.shares = {}", *oci.cpu.shares);
  if (file == "cpu.max") {
    std::string text;
    if (oci.cpu.quota_us) text = fmt::format("linux.resources.cpu.quota = {}", *oci.cpu.quota_us);
    if (oci.cpu.period_us)
      text += fmt::format("{}period = {}", text.empty() ? "linux.resources.cpu." : ", ",
                          *oci.cpu.period_us);
    return text;
  }
  if (const auto it = oci.unified.find(std::string(file)); it != oci.unified.end())
    return fmt::format("linux.resources.unified[\"{}\"] = {}", file, it->second);
  if (file == "memory.max" && oci.memory.limit_bytes)
    return fmt::format("linux.resources.memory.limit = {}", *oci.memory.limit_bytes);
  if (file == "memory.swap.max" && oci.memory.swap_bytes)
    return fmt::format("linux.resources.memory.swap = {}", *oci.memory.swap_bytes);
  if (file == "pids.max" && oci.pids_limit)
    return fmt::format("linux.resources.pids.limit = {}", *oci.pids_limit);
  for (const HugepageLimit& page : oci.hugepage_limits)
    if (file.starts_with("hugetlb." + page.page_size + "."))
      return fmt::format("linux.resources.hugepageLimits[{}] = {}", page.page_size,
                         page.limit_bytes);
  return "";
}

namespace {

/// "resources.limits.cpu: 500m": the field with what was written there.
std::string written_field(const ContainerSpec& spec, const std::string& field) {
  for (const auto& [key, origin] : spec.origins)
    if (origin.field == field && !origin.text.empty())
      return fmt::format("{}: {}", field, origin.text);
  return field;
}

/// The token buckets of a container's network; none when nothing limits it. An annotation that is
/// no rate is the planner's error, not ours.
std::optional<ExplainedGroup> explain_bandwidth(const ContainerSpec& spec) {
  const Network& network = spec.network;
  if (network.mode != Network::Mode::bridge && network.mode != Network::Mode::cni) return {};
  ExplainedGroup group{.title = "network", .path = {}, .facts = {}, .values = {}};
  const std::uint32_t mtu = network.mtu.value_or(1500);
  for (const bool egress : {false, true}) {
    std::optional<std::uint64_t> bits = egress ? network.egress_bits : network.ingress_bits;
    std::string field = fmt::format("network.bandwidth.{}", egress ? "egress" : "ingress");
    const std::string annotation(egress ? kubernetes::egress_bandwidth
                                        : kubernetes::ingress_bandwidth);
    if (const auto said = spec.annotations.find(annotation);
        !bits && said != spec.annotations.end())
      if (const auto rate = kubernetes::parse_bandwidth(said->second)) {
        bits = *rate;
        field = fmt::format("annotations[\"{}\"]: {}", annotation, said->second);
      }
    if (!bits) continue;
    const RateLimit limit = rate_limit(*bits, mtu);
    group.values.push_back(
        {.file = egress ? "tc tbf of its ifb device (egress)" : "tc tbf of its veth (ingress)",
         .value = fmt::format("rate {}bps burst {} limit {}", limit.rate_bytes, limit.burst_bytes,
                              limit.limit_bytes),
         .field = std::move(field),
         .formula = fmt::format("rate = {} / 8 bytes/s; burst = max(rate / 10, 4 packets of {} "
                                "bytes); limit = burst + max(rate / 10, 20 packets)",
                                *bits, mtu + 14),
         .writer = "minirun",
         .effect = fmt::format("what it {} passes at {} kbit/s with all headers; after a pause {} "
                               "bytes go at once, what waits beyond the limit is dropped",
                               egress ? "sends" : "receives", *bits / 1000, limit.burst_bytes)});
  }
  if (group.values.empty()) return {};
  return group;
}

}  // namespace

Explanation explain_spec(const ContainerSpec& spec, const CgroupPlan& plan,
                         std::string_view title) {
  Explanation result;
  result.title = title;
  ExplainedGroup group{.title = "container", .path = plan.path, .facts = {}, .values = {}};
  if (spec.process && spec.process->oom_score_adj)
    group.facts.push_back(fmt::format("oom_score_adj {}: {}", *spec.process->oom_score_adj,
                                      *spec.process->oom_score_adj > 0
                                          ? "the machine's OOM killer prefers it"
                                          : "the machine's OOM killer spares it"));
  PathLevel level{.name = "the container", .path = plan.path};
  for (const CgroupWrite& write : plan.writes) {
    ExplainedValue value{.file = write.file,
                         .value = write.value,
                         .v1_file = write.v1_name,
                         .field = written_field(spec, write.source),
                         .formula = write.formula,
                         .oci = oci_field(write.file, spec.resources),
                         .writer = "minirun",
                         .effect = effect_of(write.file, write.value)};
    if (write.file == "cpu.max") level.cpus = parse_cpu_max(write.value);
    if (write.file == "cpu.weight") level.weight = parse_limit(write.value);
    if (write.file == "memory.max") level.memory_max = parse_limit(write.value);
    if (write.file == "memory.min") level.memory_min = parse_limit(write.value);
    if (write.file == "memory.low") level.memory_low = parse_limit(write.value);
    if (write.file == "pids.max") level.pids_max = parse_limit(write.value);
    group.values.push_back(std::move(value));
  }
  std::ranges::stable_sort(group.values, {},
                           [](const ExplainedValue& value) { return explained_rank(value.file); });
  result.groups.push_back(std::move(group));
  if (auto network = explain_bandwidth(spec)) result.groups.push_back(std::move(*network));
  EffectivePath path{.who = "the container", .levels = {std::move(level)}, .conclusions = {}};
  conclude(path);
  result.paths.push_back(std::move(path));
  return result;
}

namespace {

std::set<unsigned> cpu_list(std::string_view text) {
  std::set<unsigned> cpus;
  for (const std::string_view part : split(text, ',')) {
    const auto ends = split(part, '-');
    const auto first = ends.empty() ? std::nullopt : parse_limit(ends.front());
    const auto last = ends.empty() ? std::nullopt : parse_limit(ends.back());
    if (!first || !last || *last - *first > 8192) return {};
    for (auto cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<unsigned>(cpu));
  }
  return cpus;
}

}  // namespace

bool same_value(std::string_view file, std::string_view planned, std::string_view actual,
                std::uint64_t page_size_bytes) {
  while (!actual.empty() && actual.back() == '\n') actual.remove_suffix(1);
  if (planned == actual) return true;
  if (file.starts_with("cpuset.")) return cpu_list(planned) == cpu_list(actual);
  const auto want = parse_limit(planned), have = parse_limit(actual);
  // The kernel keeps these in pages.
  if (want && have && (file.starts_with("memory.") || file.starts_with("hugetlb.")))
    return *want - *want % page_size_bytes == *have;
  if (file != "io.max" && file != "rdma.max" && !file.ends_with(".weight")) return false;
  const auto words = split_words(planned);
  for (const std::string_view line : split(actual, '\n')) {
    const auto tokens = split_words(line);
    if (std::all_of(words.begin(), words.end(), [&tokens](std::string_view word) {
          return std::find(tokens.begin(), tokens.end(), word) != tokens.end();
        }))
      return true;
    // "default 100" is how io.weight shows its first word.
    if (tokens.size() == 2 && tokens[0] == "default" && tokens[1] == planned) return true;
  }
  return false;
}

}  // namespace minirun
