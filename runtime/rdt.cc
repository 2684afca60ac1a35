#include "runtime/rdt.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "base/file.h"
#include "base/text.h"

namespace minirun {
namespace {

/// "L3:0=07f0;1=1f" -> {"L3", "0"} = "7f0" ...: what can be compared with what the kernel prints.
using Values = std::map<std::pair<std::string, std::string>, std::string>;

void add_values(std::string_view line, Values& values) {
  line = trimmed(line);
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return;
  const std::string resource(trimmed(line.substr(0, colon)));
  for (const std::string_view part : split(line.substr(colon + 1), ';')) {
    const std::size_t equals = part.find('=');
    if (equals == part.npos) continue;
    std::string value(trimmed(part.substr(equals + 1)));
    value.erase(0, std::min(value.find_first_not_of('0'), value.size()));
    for (char& c : value)
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    values[{resource, std::string(trimmed(part.substr(0, equals)))}] = value;
  }
}

/// config-linux.md: the lines of l3CacheSchema that are not about bandwidth when memBwSchema says
/// that, and memBwSchema.
std::vector<std::string> combined(const IntelRdt& rdt) {
  std::vector<std::string> lines;
  for (const std::string_view line : split(rdt.l3_cache_schema, '\n'))
    if (!line.empty() && (rdt.mem_bw_schema.empty() || !line.starts_with("MB:")))
      lines.emplace_back(line);
  if (!rdt.mem_bw_schema.empty()) lines.push_back(rdt.mem_bw_schema);
  return lines;
}

bool directory_exists(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Status write_line(const std::string& path, const std::string& line, const char* field) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return os_error(field, path);
  if (Status written = write_all(file.get(), line, field); !written) {
    written.error().detail = fmt::format("write \"{}\" to {}", trimmed(line), path);
    return written;
  }
  return {};
}

/// What the kernel itself says about the last refusal.
std::string last_status(const std::string& group) {
  const std::string mount = group.substr(0, group.rfind('/'));
  for (const std::string& place : {group, mount})
    if (const Result<std::string> text = read_file(AT_FDCWD, place + "/info/last_cmd_status", 4096);
        text && !text->empty() && *text != "ok\n")
      return " (kernel: " + std::string(trimmed(text->substr(0, text->find('\n')))) + ")";
  return {};
}

}  // namespace

std::string find_resctrl(std::string_view mountinfo) {
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == line.npos || !line.substr(dash + 3).starts_with("resctrl ")) continue;
    const auto fields = split(line, ' ');
    if (fields.size() > 4) return std::string(fields[4]);
  }
  return {};
}

std::string rdt_group(const IntelRdt& rdt, std::string_view id, const std::string& mount) {
  if (rdt.clos_id == "/") return mount;
  return fmt::format("{}/{}", mount, rdt.clos_id.empty() ? id : rdt.clos_id);
}

RdtFacts read_rdt_facts(const std::string& mount, const IntelRdt& rdt, std::string_view id) {
  RdtFacts facts{.mount = mount, .group_exists = false, .schemata = {}};
  if (mount.empty()) return facts;
  const std::string group = rdt_group(rdt, id, mount);
  facts.group_exists = directory_exists(group);
  if (const Result<std::string> text = read_file(AT_FDCWD, group + "/schemata", 1 << 16))
    facts.schemata = *text;
  return facts;
}

RdtPlan plan_rdt(const IntelRdt& rdt, std::string_view id, const RdtFacts& facts,
                 Findings& findings) {
  RdtPlan plan;
  auto error = [&findings](const char* pointer, std::string message) {
    findings.push_back({Finding::Level::error, pointer, std::move(message)});
  };
  if (facts.mount.empty()) {
    error("/linux/intelRdt",
          "no resctrl file system is mounted (mount -t resctrl resctrl /sys/fs/resctrl; the "
          "processor needs Intel RDT or AMD QoS)");
    return plan;
  }
  plan.group = rdt_group(rdt, id, facts.mount);
  if (rdt.enable_monitoring) plan.monitor = fmt::format("{}/mon_groups/{}", plan.group, id);
  const std::vector<std::string> wanted = combined(rdt);
  if (facts.group_exists) {
    Values are, should;
    for (const std::string_view line : split(facts.schemata, '\n')) add_values(line, are);
    for (const std::string& line : wanted) add_values(line, should);
    for (const auto& [key, value] : should) {
      const auto at = are.find(key);
      if (at == are.end() || at->second != value)
        error(key.first == "MB" ? "/linux/intelRdt/memBwSchema" : "/linux/intelRdt/l3CacheSchema",
              fmt::format("{}:{}={}, but the group {} is there and has {}", key.first, key.second,
                          value, plan.group, at == are.end() ? "no such value" : at->second));
    }
    plan.schemata = rdt.schemata;
  } else if (!rdt.clos_id.empty() && wanted.empty() && rdt.schemata.empty()) {
    error(
        "/linux/intelRdt/closID",
        fmt::format("the group {} does not exist, and no schema says how to make it", plan.group));
  } else {
    plan.make_group = true;
    plan.schemata = wanted;
    plan.schemata.insert(plan.schemata.end(), rdt.schemata.begin(), rdt.schemata.end());
  }
  return plan;
}

std::vector<std::string> groups_made(const RdtPlan& plan) {
  std::vector<std::string> groups;
  if (plan.make_group) groups.push_back(plan.group);
  if (!plan.monitor.empty()) groups.push_back(plan.monitor);
  return groups;
}

RdtGroup::RdtGroup(RdtGroup&& other) noexcept
    : tasks_(std::exchange(other.tasks_, {})), made_(std::exchange(other.made_, {})) {}

RdtGroup& RdtGroup::operator=(RdtGroup&& other) noexcept {
  std::swap(tasks_, other.tasks_);
  std::swap(made_, other.made_);
  return *this;
}

RdtGroup::~RdtGroup() {
  (void)remove_rdt(made_);
}

Result<RdtGroup> RdtGroup::create(const RdtPlan& plan) {
  RdtGroup group;
  for (const std::string& path : groups_made(plan)) {
    if (::mkdir(path.c_str(), 0755) != 0)
      return os_error(
          errno, "linux.intelRdt",
          fmt::format("make {}{}", path,
                      errno == ENOSPC ? ": the processor has no class or monitor left" : ""));
    group.made_.push_back(path);
  }
  for (const std::string& line : plan.schemata)
    if (Status written = write_line(plan.group + "/schemata", line + "\n", "linux.intelRdt");
        !written) {
      written.error().detail += last_status(plan.group);
      return std::unexpected(std::move(written).error());
    }
  group.tasks_.push_back(plan.group);
  if (!plan.monitor.empty()) group.tasks_.push_back(plan.monitor);
  return group;
}

RdtGroup RdtGroup::of_container(const IntelRdt& rdt, std::string_view id,
                                const std::string& mount) {
  RdtGroup group;
  group.tasks_.push_back(rdt_group(rdt, id, mount));
  if (rdt.enable_monitoring)
    group.tasks_.push_back(fmt::format("{}/mon_groups/{}", group.tasks_.front(), id));
  return group;
}

Status RdtGroup::add(pid_t pid) const {
  for (const std::string& group : tasks_)
    TRY(write_line(group + "/tasks", std::to_string(pid), "linux.intelRdt"));
  return {};
}

Status remove_rdt(const std::vector<std::string>& groups) {
  for (auto group = groups.rbegin(); group != groups.rend(); ++group)
    if (::rmdir(group->c_str()) != 0 && errno != ENOENT) return os_error("linux.intelRdt", *group);
  return {};
}

}  // namespace minirun
