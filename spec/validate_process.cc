// Owns: the rules about the process. Must not: know whether a program or user exists.
#include <algorithm>

#include "spec/oci_parts.h"
#include "spec/places.h"
#include "spec/words.h"

namespace minirun {
namespace {

std::string_view rlimit_name(int resource) {
  for (const auto& word : rlimit_words)
    if (word.value == resource) return word.name;
  return "?";
}

void check_args(const Process& process, Reporter& report) {
  if (process.args.empty())
    report.error("/process/args", "/command", "empty, expected at least the program");
  else if (process.args.front().empty())
    report.error("/process/args/0", "/command/0", "\"\", expected the name or path of a program");
  if (!process.cwd.starts_with('/'))
    report.error("/process/cwd", "/cwd", quote_text(process.cwd) + ", expected an absolute path");
  for (std::size_t i = 0; i < process.env.size(); ++i) {
    const std::string& entry = process.env[i];
    if (entry.find('=') == std::string::npos || entry.starts_with('='))
      report.error(fmt::format("/process/env/{}", i), "/env",
                   quote_text(entry) + ", expected NAME=value");
  }
}

void check_ids(const User& user, Reporter& report) {
  if (user.uid > kMostId)
    report.error("/process/user/uid", "/user",
                 "4294967295 means \"leave unchanged\" to the kernel, expected a smaller id");
  if (user.gid > kMostId)
    report.error("/process/user/gid", "/user",
                 "4294967295 means \"leave unchanged\" to the kernel, expected a smaller id");
}

void check_rlimits(const Process& process, Reporter& report) {
  for (std::size_t i = 0; i < process.rlimits.size(); ++i) {
    const Rlimit& limit = process.rlimits[i];
    const std::string oci = fmt::format("/process/rlimits/{}", i);
    const std::string_view name = rlimit_name(limit.resource);
    const auto same = [&](const Rlimit& other) { return other.resource == limit.resource; };
    const auto here = process.rlimits.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(process.rlimits.begin(), here, same))
      report.error(oci + "/type", "/rlimits",
                   fmt::format("{} is there twice, expected it once", name));
    if (limit.soft > limit.hard)
      report.error(
          oci + "/soft", "/rlimits",
          fmt::format("{}: soft {}, expected at most hard {}", name, limit.soft, limit.hard));
  }
}

void check_capabilities(const Capabilities& caps, Reporter& report) {
  // capabilities(7): capset refuses effective beyond permitted; ambient needs both of the others.
  if ((caps.effective & ~caps.permitted) != 0)
    report.error("/process/capabilities/effective", "/capabilities",
                 "has capabilities that \"permitted\" lacks, expected a subset of it");
  if ((caps.ambient & ~(caps.permitted & caps.inheritable)) != 0)
    report.warning("/process/capabilities/ambient", "/capabilities",
                   "has capabilities that \"permitted\" or \"inheritable\" lacks; the kernel "
                   "will not raise these");
}

void check_scheduler(const Process& process, Reporter& report) {
  if (!process.scheduler) return;
  const Scheduler& scheduler = *process.scheduler;
  const bool realtime = scheduler.policy == 1 || scheduler.policy == 2;  // FIFO, RR
  const bool deadline = scheduler.policy == 6;
  constexpr std::string_view kPlace = "/process/scheduler";
  if (realtime && scheduler.priority == 0)
    report.error(fmt::format("{}/priority", kPlace), "",
                 "0, expected 1 to 99 for SCHED_FIFO and SCHED_RR");
  if (!realtime && scheduler.priority != 0)
    report.error(fmt::format("{}/priority", kPlace), "",
                 fmt::format("{}, expected 0 unless SCHED_FIFO or SCHED_RR", scheduler.priority));
  const bool has_times = scheduler.runtime_ns || scheduler.deadline_ns || scheduler.period_ns;
  if (has_times && !deadline)
    report.error(std::string(kPlace), "",
                 "runtime, deadline and period are there, expected them only for SCHED_DEADLINE");
  const std::uint64_t period = scheduler.period_ns ? scheduler.period_ns : scheduler.deadline_ns;
  if (deadline && (scheduler.runtime_ns < 1024 || scheduler.runtime_ns > scheduler.deadline_ns ||
                   scheduler.deadline_ns > period))
    report.error(std::string(kPlace), "",
                 "expected 1024 ns <= runtime <= deadline <= period (sched_setattr(2))");
}

void check_affinity(const Process& process, Reporter& report) {
  if (!process.exec_cpu_affinity) return;
  for (auto [name, list] : {std::pair{"initial", &process.exec_cpu_affinity->initial},
                            std::pair{"final", &process.exec_cpu_affinity->final}})
    if (!list->empty() && !is_cpu_list(*list))
      report.error(fmt::format("/process/execCPUAffinity/{}", name), "",
                   quote_text(*list) + ", expected a list of CPUs such as 0-3,7");
}

}  // namespace

void validate_process(const ContainerSpec& spec, Reporter& report) {
  if (!spec.process) return;
  const Process& process = *spec.process;
  check_args(process, report);
  check_ids(process.user, report);
  check_rlimits(process, report);
  if (process.capabilities) check_capabilities(*process.capabilities, report);
  if (process.oom_score_adj && (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000))
    report.error("/process/oomScoreAdj", "/oom_score_adj",
                 fmt::format("{}, expected -1000 to 1000", *process.oom_score_adj));
  check_scheduler(process, report);
  check_affinity(process, report);
}

}  // namespace minirun
