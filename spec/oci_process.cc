// Owns: the process object of config.json.
// Must not: look at the rest of the document.
#include <fmt/format.h>

#include "base/capabilities.h"
#include "spec/oci_parts.h"
#include "spec/oci_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

void read_user(Json json, User& user) {
  JsonObject object(json);
  // REQUIRED by config.md, but not by the specification's own JSON Schema; runc and crun take 0.
  object.read_within("uid", user.uid, 0, kMostId);
  object.read_within("gid", user.gid, 0, kMostId);
  std::uint32_t umask = 0;
  if (object.read_within("umask", umask, 0, 0777)) user.umask = umask;
  object.each("additionalGids", [&](Json item) {
    std::uint32_t gid = 0;
    if (item.get(gid, std::uint32_t{0}, kMostId)) user.additional_gids.push_back(gid);
  });
  if (const auto name = object.find("username"))
    name->warning("only for Windows, ignored; Linux takes uid and gid");
}

void read_rlimit(Json json, std::vector<Rlimit>& rlimits) {
  JsonObject object(json);
  Rlimit& limit = rlimits.emplace_back();  // also a bad one: the rules count positions
  if (const auto type = object.require("type", "a limit such as RLIMIT_NOFILE"))
    type->get_word<int>(rlimit_words, limit.resource);
  for (auto [key, out] : {std::pair{"soft", &limit.soft}, std::pair{"hard", &limit.hard}})
    if (const auto value = object.require(key, "a number")) value->get(*out);
}

/// Unknown names are warned about and left out (config.md: "SHOULD NOT fail").
void read_capability_set(JsonObject& object, std::string_view key, std::uint64_t& out) {
  object.each(key, [&](Json item) {
    std::string name;
    if (!item.get(name)) return;
    const auto number = name.starts_with("CAP_") ? capability_from_name(name) : std::nullopt;
    if (number)
      out |= capability_bit(*number);
    else
      item.warning(fmt::format("{} is not a capability known here, left out", item.shown()));
  });
}

void read_capabilities(Json json, Capabilities& capabilities) {
  JsonObject object(json);
  read_capability_set(object, "bounding", capabilities.bounding);
  read_capability_set(object, "effective", capabilities.effective);
  read_capability_set(object, "inheritable", capabilities.inheritable);
  read_capability_set(object, "permitted", capabilities.permitted);
  read_capability_set(object, "ambient", capabilities.ambient);
}

void read_scheduler(Json json, Scheduler& scheduler) {
  JsonObject object(json);
  if (const auto policy = object.require("policy", "a policy such as SCHED_OTHER"))
    policy->get_word<int>(scheduler_policy_words, scheduler.policy);
  object.read_within("nice", scheduler.nice, -20, 19);
  object.read_within("priority", scheduler.priority, 0, 99);
  object.each("flags", [&](Json item) {
    std::uint64_t flag = 0;
    if (item.get_word<std::uint64_t>(scheduler_flag_words, flag)) scheduler.flags |= flag;
  });
  object.read("runtime", scheduler.runtime_ns);
  object.read("deadline", scheduler.deadline_ns);
  object.read("period", scheduler.period_ns);
}

void read_io_priority(Json json, IoPriority& priority) {
  JsonObject object(json);
  if (const auto place = object.require("class", "a class such as IOPRIO_CLASS_BE"))
    place->get_word<int>(io_class_words, priority.class_);
  if (const auto level = object.require("priority", "a number from 0 to 7"))
    level->get(priority.priority, 0, 7);
}

void read_affinity(Json json, ExecCpuAffinity& affinity) {
  JsonObject object(json);
  object.read("initial", affinity.initial);
  object.read("final", affinity.final);
}

void read_console_size(Json json, ConsoleSize& size) {
  JsonObject object(json);
  for (auto [key, out] : {std::pair{"height", &size.height}, std::pair{"width", &size.width}})
    if (const auto value = object.require(key, "a number of characters")) value->get(*out);
}

}  // namespace

void read_oci_process(Json json, Process& process) {
  JsonObject object(json);
  object.read("terminal", process.terminal);
  if (const auto size = object.find("consoleSize"))
    read_console_size(*size, process.console_size.emplace());
  process.cwd.clear();
  if (const auto cwd = object.require("cwd", "an absolute path")) cwd->get(process.cwd);
  object.read("env", process.env);
  if (const auto args = object.require("args", "the program and its arguments"))
    args->get(process.args);
  if (const auto user = object.find("user")) read_user(*user, process.user);
  object.each("rlimits", [&](Json item) { read_rlimit(item, process.rlimits); });
  if (const auto capabilities = object.find("capabilities"))
    read_capabilities(*capabilities, process.capabilities.emplace());
  object.read("noNewPrivileges", process.no_new_privileges);
  int score = 0;
  if (object.read_within("oomScoreAdj", score, -1000, 1000)) process.oom_score_adj = score;
  if (const auto scheduler = object.find("scheduler"))
    read_scheduler(*scheduler, process.scheduler.emplace());
  if (const auto priority = object.find("ioPriority"))
    read_io_priority(*priority, process.io_priority.emplace());
  if (const auto affinity = object.find("execCPUAffinity"))
    read_affinity(*affinity, process.exec_cpu_affinity.emplace());
  object.read("apparmorProfile", process.apparmor_profile);
  object.read("selinuxLabel", process.selinux_label);
  if (const auto line = object.find("commandLine")) line->warning("only for Windows, ignored");
}

}  // namespace minirun
