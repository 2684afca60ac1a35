#include "cli/plan_text.h"

#include <fmt/format.h>

namespace minirun::cli {
namespace {

std::string step_line(const Step& step) {
  const std::string field = step.field.empty() ? "" : fmt::format("   [{}]", step.field);
  return fmt::format("  {}{}\n", describe(step), field);
}

std::string namespaces_line(std::uint64_t flags) {
  return describe(Step{.op = Op::unshare, .n = {static_cast<std::int64_t>(flags)}});
}

}  // namespace

std::string plan_text(const LaunchPlan& plan, const HostFacts& facts) {
  std::string text = fmt::format("container {}\n\ncgroup {}{}\n", plan.id, facts.cgroup.mount_point,
                                 plan.cgroup.path);
  if (!plan.cgroup.controllers.empty())
    text += fmt::format("  controllers {}\n", fmt::join(plan.cgroup.controllers, " "));
  for (const CgroupWrite& write : plan.cgroup.writes) {
    text += fmt::format("  {} = {}", write.file, write.value);
    if (!write.source.empty()) text += fmt::format("   [{}]", write.source);
    if (!write.formula.empty()) text += fmt::format("   {}", write.formula);
    if (!write.v1_name.empty()) text += fmt::format("   (v1: {})", write.v1_name);
    text += '\n';
  }
  if (plan.cgroup.attach_devices)
    text += fmt::format("  device filter of {} rules (BPF)\n", plan.cgroup.devices.size());
  if (plan.cgroup_owner) text += fmt::format("  belongs to uid {}\n", *plan.cgroup_owner);
  if (plan.rdt) {
    text += fmt::format("\nresctrl group {}{}   [linux.intelRdt]\n", plan.rdt->group,
                        plan.rdt->make_group ? ", made" : "");
    for (const std::string& line : plan.rdt->schemata) text += fmt::format("  {}\n", line);
    if (!plan.rdt->monitor.empty()) text += fmt::format("  monitored as {}\n", plan.rdt->monitor);
  }
  text += "\nparent, before the clone\n";
  for (const Step& step : plan.parent) text += step_line(step);
  text +=
      "\nclone3 into the cgroup\n  it dies with minirun until it is committed\n"
      "  it executes the stage\n";
  if (plan.clone_flags != 0) text += fmt::format("  {}\n", namespaces_line(plan.clone_flags));
  for (const JoinForClone& join : plan.joined_for_clone)
    text += fmt::format("  {}, for the clone\n",
                        describe(Step{.op = Op::set_namespace, .n = {0, join.flag}}));
  if (plan.write_id_maps) {
    for (const IdMapping& mapping : plan.id_maps.uid)
      text +=
          fmt::format("  uid map {} {} {}\n", mapping.container_id, mapping.host_id, mapping.size);
    for (const IdMapping& mapping : plan.id_maps.gid)
      text +=
          fmt::format("  gid map {} {} {}\n", mapping.container_id, mapping.host_id, mapping.size);
  }
  if (plan.oom_score_adj)
    text += fmt::format("  oom_score_adj {}   [process.oomScoreAdj]\n", *plan.oom_score_adj);
  for (const auto& [device, inside] : plan.net_devices)
    text +=
        fmt::format("  move the network device {} in as {}   [linux.netDevices]\n", device, inside);
  if (!plan.network_commands.empty()) text += "\nnetwork\n";
  for (const std::string& command : plan.network_commands) text += fmt::format("  {}\n", command);
  text += "\nchild\n";
  for (const Step& step : plan.child) text += step_line(step);
  return text;
}

std::string timing_text(const LaunchPlan& plan, const std::vector<PhaseClock::Phase>& phases,
                        const std::vector<std::uint32_t>& step_nanoseconds) {
  std::string text = "parent                            us\n";
  for (const PhaseClock::Phase& phase : phases)
    text += fmt::format("  {:<28} {:>6}\n", phase.name, phase.microseconds);
  text += "child                             us\n";
  for (std::size_t i = 0; i < step_nanoseconds.size() && i < plan.child.size(); ++i)
    text += fmt::format("  {:<14} {:>20.1f}  {}\n", name(plan.child[i].op),
                        static_cast<double>(step_nanoseconds[i]) / 1000.0, plan.child[i].field);
  return text;
}

}  // namespace minirun::cli
