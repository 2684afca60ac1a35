#include "runtime/update.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/file.h"
#include "base/text.h"
#include "cgroups/apply.h"
#include "cgroups/control.h"
#include "cgroups/files.h"
#include "cgroups/systemd.h"
#include "runtime/freezer.h"
#include "spec/json.h"
#include "spec/oci_reader.h"
#include "spec/validate.h"

namespace minirun {
namespace {

constexpr const char* kFile = "resources.json";

template <class T>
void replace(T& now, const T& given) {
  if (given != T{}) now = given;
}

/// The swap of a container is the difference of two fields: it stays when only one changes.
void merge_memory(const MemoryResources& given, MemoryResources& now) {
  const MemoryResources before = now;
  replace(now.limit_bytes, given.limit_bytes);
  replace(now.reservation_bytes, given.reservation_bytes);
  replace(now.swap_bytes, given.swap_bytes);
  now.check_before_update = given.check_before_update || before.check_before_update;
  if (!given.limit_bytes || given.swap_bytes) return;
  const bool both = before.swap_bytes.value_or(-1) > 0 && before.limit_bytes.value_or(-1) > 0;
  if (*given.limit_bytes == -1)
    now.swap_bytes = -1;
  else if (both)
    now.swap_bytes = *given.limit_bytes + (*before.swap_bytes - *before.limit_bytes);
}

template <class T>
void merge_devices(const std::vector<T>& given, std::vector<T>& now) {
  for (const T& entry : given) {
    const auto same = [&entry](const T& old) {
      return old.major == entry.major && old.minor == entry.minor;
    };
    std::erase_if(now, same);
    now.push_back(entry);
  }
}

Resources merge(Resources now, const Resources& given) {
  merge_memory(given.memory, now.memory);
  replace(now.cpu.shares, given.cpu.shares);
  replace(now.cpu.quota_us, given.cpu.quota_us);
  replace(now.cpu.period_us, given.cpu.period_us);
  replace(now.cpu.burst_us, given.cpu.burst_us);
  replace(now.cpu.idle, given.cpu.idle);
  replace(now.cpu.cpus, given.cpu.cpus);
  replace(now.cpu.mems, given.cpu.mems);
  replace(now.block_io.weight, given.block_io.weight);
  merge_devices(given.block_io.weight_device, now.block_io.weight_device);
  merge_devices(given.block_io.read_bps, now.block_io.read_bps);
  merge_devices(given.block_io.write_bps, now.block_io.write_bps);
  merge_devices(given.block_io.read_iops, now.block_io.read_iops);
  merge_devices(given.block_io.write_iops, now.block_io.write_iops);
  for (const HugepageLimit& limit : given.hugepage_limits) {
    std::erase_if(now.hugepage_limits,
                  [&](const HugepageLimit& old) { return old.page_size == limit.page_size; });
    now.hugepage_limits.push_back(limit);
  }
  replace(now.pids_limit, given.pids_limit);
  for (const auto& [device, limit] : given.rdma) now.rdma[device] = limit;
  for (const auto& [file, value] : given.unified) now.unified[file] = value;
  return now;
}

/// Not the directory's lock: a foreground run keeps that for the life of its container.
Result<Fd> lock_updates(const ContainerDir& dir) {
  Fd lock(::openat(dir.fd(), "record.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!lock) return os_error(dir.id() + "/record.json");
  TRY(lock_patiently(lock.get(), dir.id()));
  return lock;
}

Findings errors_only(Findings findings) {
  std::erase_if(findings, [](const Finding& f) { return f.level != Finding::Level::error; });
  return findings;
}

}  // namespace

Result<CurrentLimits> read_current_limits(const CgroupFd& cgroup) {
  CurrentLimits now;
  const auto number = [](std::string_view word, std::uint64_t& value) {
    return std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc();
  };
  const auto read = [&cgroup](const char* name) -> Result<std::optional<std::string>> {
    Result<std::string> text = read_beneath(cgroup.get(), name);
    if (!text && text.error().errnum == ENOENT) return std::nullopt;
    if (!text) return std::unexpected(std::move(text).error());
    return std::move(*text);
  };
  std::uint64_t value = 0;
  if (const auto text = TRY(read("cpu.max"))) {
    const auto words = split_words(*text);
    if (!words.empty())
      now.quota_us = number(words[0], value) ? static_cast<std::int64_t>(value) : -1;
    if (words.size() > 1 && number(words[1], value)) now.period_us = value;
  }
  if (const auto text = TRY(read("cpu.max.burst")); text && number(*text, value))
    now.burst_us = value;
  if (const auto text = TRY(read("cpu.idle"))) now.idle = text->starts_with('1');
  return now;
}

namespace {

/// Values that a write needs besides those that are given: one file has both quota and period, and
/// the swap of cgroup v2 is the difference of two fields.
Resources with_companions(const Resources& given, const Resources& merged,
                          const CurrentLimits& now) {
  Resources planned = given;
  planned.devices.clear();
  const bool bandwidth = given.cpu.quota_us || given.cpu.period_us;
  if (bandwidth || given.cpu.burst_us) {
    if (!planned.cpu.quota_us) planned.cpu.quota_us = now.quota_us;
    if (!planned.cpu.period_us) planned.cpu.period_us = now.period_us;
  }
  if (given.memory.swap_bytes && !given.memory.limit_bytes)
    planned.memory.limit_bytes = merged.memory.limit_bytes;
  planned.memory.check_before_update = merged.memory.check_before_update;
  return planned;
}

void check_beside_current(const Resources& given, const CurrentLimits& now,
                          const std::map<std::string, Origin>& origins, Findings& findings) {
  const auto error = [&](const char* key, std::string message) {
    const auto origin = origins.find(key);
    findings.push_back({Finding::Level::error,
                        origin == origins.end() ? std::string(key) : origin->second.field,
                        std::move(message)});
  };
  const std::int64_t quota = given.cpu.quota_us.value_or(0);
  if (quota > 0 && !given.cpu.burst_us && now.burst_us &&
      *now.burst_us > static_cast<std::uint64_t>(quota)) {
    // Else the field that was not given would be named.
    std::erase_if(findings, [](const Finding& f) { return f.pointer.ends_with("/cpu/burst"); });
    error("cpu.quota", fmt::format("{} us is below the present burst of {} us; give a burst too",
                                   quota, *now.burst_us));
  }
  if (given.cpu.shares && !given.cpu.idle && now.idle)
    error("cpu.shares", "the kernel takes no weight while cpu.idle is 1; give cpu.idle 0 too");
}

}  // namespace

UpdatePlan plan_update(const ContainerSpec& spec, const ContainerView& view,
                       const ResourceUpdate& update, const CurrentLimits& now,
                       const HostFacts& facts) {
  UpdatePlan plan;
  plan.result = merge(spec.resources, update.resources);
  ContainerSpec merged;
  merged.resources = plan.result;
  merged.resources.devices.clear();
  merged.origins = update.origins;
  plan.findings = errors_only(validate_resources(merged, Format::oci));
  ContainerSpec changed;
  changed.cgroups_path = view.cgroup_path();
  changed.origins = update.origins;
  changed.resources = with_companions(update.resources, plan.result, now);
  CgroupPlanResult planned = plan_cgroup(changed, facts, view.id, {.update = true});
  plan.cgroup = std::move(planned.plan);
  plan.cgroup.path = view.cgroup_path();
  plan.cgroup.attach_devices = false;
  plan.cgroup.devices.clear();
  const bool bandwidth = update.resources.cpu.quota_us || update.resources.cpu.period_us;
  std::erase_if(plan.cgroup.writes, [&](const CgroupWrite& write) {
    // Companions that were not asked for: another may have changed them behind our back.
    return (write.file == "memory.max" && !update.resources.memory.limit_bytes &&
            !update.resources.unified.contains("memory.max")) ||
           (write.file == "cpu.max" && !bandwidth && !update.resources.unified.contains("cpu.max"));
  });
  if (view.record && !view.record->systemd_unit.empty())
    plan.cgroup.scope =
        ScopeUnit{view.record->systemd_unit, "", "", unit_properties(plan.cgroup.writes)};
  // What both find is said once.
  for (Finding& finding : planned.findings)
    if (std::ranges::none_of(plan.findings,
                             [&](const Finding& f) { return f.pointer == finding.pointer; }))
      plan.findings.push_back(std::move(finding));
  check_beside_current(update.resources, now, update.origins, plan.findings);
  for (Finding& finding : plan.findings)  // a flag is no pointer into a document
    if (finding.pointer.starts_with("/--")) finding.pointer.erase(0, 1);
  return plan;
}

Result<std::optional<std::string>> stored_resources(const ContainerDir& dir) {
  Result<std::string> text = read_file(dir.fd(), kFile);
  if (!text && text.error().errnum == ENOENT) return std::nullopt;
  if (!text) return std::unexpected(std::move(text).error());
  return std::move(*text);
}

Status apply_stored_resources(const ContainerDir& dir, ContainerSpec& spec) {
  const std::optional<std::string> text = TRY(stored_resources(dir));
  if (!text) return {};
  Findings findings;
  const std::optional<JsonDocument> document = JsonDocument::parse(*text, findings);
  Resources resources;
  std::map<std::string, Origin> origins;
  if (document) read_oci_resources(document->root(findings), resources, origins);
  findings = errors_only(std::move(findings));
  if (!findings.empty()) return plain_error(dir.id() + "/" + kFile, findings.front().message);
  for (auto& [key, origin] : origins) {
    const auto old = spec.origins.find(key);
    // Of what has not changed the user's own words are better than ours.
    if (old == spec.origins.end() || old->second.text != origin.text)
      spec.origins[key] = {"update: " + origin.field, origin.text, ""};
  }
  resources.devices = std::move(spec.resources.devices);
  spec.resources = std::move(resources);
  return {};
}

Status apply_update(const ContainerDir& dir, const UpdatePlan& plan, const ResourceUpdate& update,
                    const HostFacts& facts) {
  if (!plan.cgroup.writes.empty()) TRY(update_cgroup(plan.cgroup, facts.cgroup));
  if (plan.cgroup.scope)
    if (Status told =
            set_scope_properties(plan.cgroup.scope->unit, plan.cgroup.scope->properties, facts);
        !told)
      return std::unexpected(std::move(told).error().in(
          "the limits are set, but a daemon-reload of systemd would take them back"));
  if (update.resources == Resources{}) return {};
  return replace_file(dir.fd(), kFile, resources_json(plan.result));
}

Status store_resources(const ContainerDir& dir, const Resources& resources) {
  const Fd lock = TRY(lock_updates(dir));
  return replace_file(dir.fd(), kFile, resources_json(resources));
}

Result<Findings> update_container(const ContainerDir& dir, const ContainerView& view,
                                  ContainerSpec spec, const ResourceUpdate& update,
                                  const HostFacts& facts) {
  const bool alive = view.status == ContainerStatus::created ||
                     view.status == ContainerStatus::running ||
                     view.status == ContainerStatus::paused;
  if (!alive) return plain_error(view.id, "container not running");
  const Fd lock = TRY(lock_updates(dir));
  TRY(apply_stored_resources(dir, spec));
  const CgroupFd cgroup = TRY(open_container_cgroup(view, facts));
  UpdatePlan plan = plan_update(spec, view, update, TRY(read_current_limits(cgroup)), facts);
  const bool bad = std::ranges::any_of(
      plan.findings, [](const Finding& f) { return f.level == Finding::Level::error; });
  if (!bad) TRY(apply_update(dir, plan, update, facts));
  return std::move(plan.findings);
}

}  // namespace minirun
