#include "cgroups/systemd.h"

#include <fmt/format.h>
#include <sys/auxv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "base/text.h"
#include "cgroups/files.h"

namespace minirun {
namespace {

using dbus::Connection;
using dbus::Message;
using Clock = Connection::Clock;

constexpr std::uint64_t infinity = UINT64_MAX;
constexpr std::string_view systemd_name = "org.freedesktop.systemd1";
constexpr std::string_view manager_path = "/org/freedesktop/systemd1";
constexpr std::string_view manager_interface = "org.freedesktop.systemd1.Manager";

/// "max" is systemd's infinity.
std::uint64_t limit_number(std::string_view text) {
  return leading_number(text).value_or(infinity);
}

/// systemd.unit(5): the characters of a unit name without its suffix.
bool is_unit_text(std::string_view text) {
  static constexpr std::string_view extra = ":-_.\\@";
  return std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           extra.find(c) != std::string_view::npos;
  });
}

}  // namespace

Result<ScopeName> parse_scope_name(std::string_view cgroups_path, std::string_view id, bool root) {
  const auto refuse = [&](const std::string& why) {
    return plain_error("linux.cgroupsPath", fmt::format("\"{}\" {}", cgroups_path, why));
  };
  std::string slice, prefix = "minirun", name(id);
  if (!cgroups_path.empty()) {
    const std::size_t first = cgroups_path.find(':');
    const std::size_t second =
        first == std::string_view::npos ? first : cgroups_path.find(':', first + 1);
    if (second == std::string_view::npos ||
        cgroups_path.find(':', second + 1) != std::string_view::npos)
      return refuse("is not slice:prefix:name, which the systemd cgroup manager needs");
    slice = cgroups_path.substr(0, first);
    prefix = cgroups_path.substr(first + 1, second - first - 1);
    name = cgroups_path.substr(second + 1);
  }
  if (slice.empty()) slice = root ? "system.slice" : "user.slice";
  if (name.empty()) return refuse("has no name");
  ScopeName result{slice, (prefix.empty() ? name : prefix + "-" + name) + ".scope"};
  if (!slice.ends_with(".slice")) return refuse("does not begin with a slice, \"x.slice\"");
  for (const std::string& part : {result.slice, result.unit})
    if (!is_unit_text(part) || part.size() > 255 || part.starts_with('.'))
      return refuse(fmt::format("gives \"{}\", which is no name of a unit", part));
  if (const auto path = slice_path(slice); !path) return refuse(path.error().detail);
  return result;
}

Result<std::string> slice_path(std::string_view slice) {
  constexpr std::string_view suffix = ".slice";
  if (slice == "-.slice") return std::string();
  const std::string_view name = slice.substr(0, slice.size() - suffix.size());
  if (name.empty() || name.starts_with('-') || name.ends_with('-') ||
      name.find("--") != std::string_view::npos || name.find('/') != std::string_view::npos)
    return plain_error("slice", fmt::format("names a slice that cannot be: \"{}\"", slice));
  std::string path;
  for (std::size_t dash = name.find('-');; dash = name.find('-', dash + 1)) {
    path += fmt::format("/{}{}", name.substr(0, dash), suffix);
    if (dash == std::string_view::npos) return path;
  }
}

std::string manager_root(const HostFacts& facts) {
  if (facts.euid == 0) return "";
  const std::string service = fmt::format("/user@{}.service", facts.euid);
  const std::size_t at = facts.cgroup.own_path.find(service);
  if (at != std::string::npos) return facts.cgroup.own_path.substr(0, at + service.size());
  return fmt::format("/user.slice/user-{}.slice{}", facts.euid, service);
}

namespace {

/// "0-2,8" as the bit mask that AllowedCPUs takes, first byte first.
std::vector<std::uint8_t> mask_of(std::string_view list) {
  std::vector<std::uint8_t> mask;
  for (std::string_view part : split(list, ',')) {
    const std::size_t dash = part.find('-');
    const std::uint64_t first = limit_number(part.substr(0, dash));
    const std::uint64_t last =
        dash == std::string_view::npos ? first : limit_number(part.substr(dash + 1));
    for (std::uint64_t bit = first; bit <= last && bit < 8192; ++bit) {
      if (mask.size() <= bit / 8) mask.resize(bit / 8 + 1);
      mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 1U << bit % 8);
    }
  }
  return mask;
}

void put_quota(std::string_view value, std::vector<UnitProperty>& properties) {
  const auto words = split_words(value);
  if (words.size() != 2) return;
  const std::uint64_t period = limit_number(words[1]);
  std::uint64_t per_second = infinity;
  if (words[0] != "max" && period > 0) {
    // systemd keeps whole percent and would round down.
    constexpr std::uint64_t percent = 10'000;
    per_second = (limit_number(words[0]) * 1'000'000 / period + percent - 1) / percent * percent;
  }
  properties.push_back({"CPUQuotaPerSecUSec", per_second});
  properties.push_back({"CPUQuotaPeriodUSec", period});
}

}  // namespace

std::vector<UnitProperty> unit_properties(const std::vector<CgroupWrite>& writes) {
  struct Row {
    std::string_view file, property;
  };
  constexpr std::array<Row, 9> rows{{{"memory.max", "MemoryMax"},
                                     {"memory.high", "MemoryHigh"},
                                     {"memory.low", "MemoryLow"},
                                     {"memory.min", "MemoryMin"},
                                     {"memory.swap.max", "MemorySwapMax"},
                                     {"cpu.weight", "CPUWeight"},
                                     {"pids.max", "TasksMax"},
                                     {"cpuset.cpus", "AllowedCPUs"},
                                     {"cpuset.mems", "AllowedMemoryNodes"}}};
  std::vector<UnitProperty> properties;
  for (const CgroupWrite& write : writes) {
    if (write.file == "cpu.max") put_quota(write.value, properties);
    if (write.file == "io.bfq.weight" && write.value.find(' ') == std::string::npos)
      properties.push_back({"IOWeight", limit_number(write.else_value)});
    const auto* row = std::ranges::find(rows, write.file, &Row::file);
    if (row == rows.end()) continue;
    if (write.file.starts_with("cpuset."))
      properties.push_back({std::string(row->property), mask_of(write.value)});
    else
      properties.push_back({std::string(row->property), limit_number(write.value)});
  }
  return properties;
}

namespace {

void put_property(dbus::Writer& writer, const UnitProperty& property) {
  writer.align(8);
  writer.string(property.name);
  if (const auto* text = std::get_if<std::string>(&property.value)) {
    writer.signature("s");
    writer.string(*text);
  } else if (const auto* flag = std::get_if<bool>(&property.value)) {
    writer.signature("b");
    writer.boolean(*flag);
  } else if (const auto* number = std::get_if<std::uint64_t>(&property.value)) {
    writer.signature("t");
    writer.uint64(*number);
  } else if (const auto* mask = std::get_if<std::vector<std::uint8_t>>(&property.value)) {
    writer.signature("ay");
    const auto array = writer.begin_array(1);
    for (const std::uint8_t byte : *mask) writer.byte(byte);
    writer.end_array(array);
  }
}

void put_properties(dbus::Writer& writer, const std::vector<UnitProperty>& properties) {
  for (const UnitProperty& property : properties) put_property(writer, property);
}

Message manager_call(std::string member, std::string signature, std::string body) {
  Message message;
  message.destination = systemd_name;
  message.path = manager_path;
  message.interface = manager_interface;
  message.member = std::move(member);
  message.signature = std::move(signature);
  message.body = std::move(body);
  return message;
}

std::string bus_path(const HostFacts& facts) {
  if (facts.euid == 0) return "/run/dbus/system_bus_socket";
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe)
  if (runtime != nullptr && *runtime != '\0') return std::string(runtime) + "/bus";
  return fmt::format("/run/user/{}/bus", facts.euid);
}

Result<Connection> open_bus(const HostFacts& facts, Clock::time_point deadline) {
  Result<Connection> connection = Connection::open(bus_path(facts), deadline);
  if (!connection && connection.error().errnum == ENOENT)
    return os_error(ENOENT, "--cgroup-manager=systemd",
                    fmt::format("no bus at {}: systemd does not run here", bus_path(facts)));
  return connection;
}

std::unexpected<Error> refusal(const std::string& unit, const Message& reply) {
  return plain_error("systemd",
                     fmt::format("{}: {} ({})", unit, error_text(reply), reply.error_name));
}

Result<Message> expect(Result<Message> reply, const std::string& unit) {
  if (reply && reply->type == dbus::Type::error) return refusal(unit, *reply);
  return reply;
}

/// Waits for JobRemoved(u id, o job, s unit, s result) of this job.
Status await_job(Connection& bus, const std::string& job, const std::string& unit,
                 Clock::time_point deadline) {
  for (;;) {
    const Message signal = TRY(bus.next_signal(deadline));
    if (signal.member != "JobRemoved") continue;
    dbus::Reader reader(signal.body);
    const auto id = reader.uint32();
    const auto path = reader.string();
    const auto name = reader.string();
    const auto result = reader.string();
    if (!id || !path || !name || !result || *path != job) continue;
    if (*result == "done") return {};
    return plain_error("systemd",
                       fmt::format("{}: the start of the scope ended with \"{}\"", unit, *result));
  }
}

/// Waits for UnitRemoved(s unit, o path).
Status await_removal(Connection& bus, const std::string& unit, Clock::time_point deadline) {
  for (;;) {
    const Message signal = TRY(bus.next_signal(deadline));
    if (signal.member != "UnitRemoved") continue;
    if (const auto name = dbus::Reader(signal.body).string(); name && *name == unit) return {};
  }
}

Status subscribe(Connection& bus, const std::string& unit, Clock::time_point deadline) {
  dbus::Writer rule;
  rule.string(fmt::format("type='signal',sender='{}',path='{}',interface='{}'", systemd_name,
                          manager_path, manager_interface));
  Message match;
  match.destination = match.interface = "org.freedesktop.DBus";
  match.path = "/org/freedesktop/DBus";
  match.member = "AddMatch";
  match.signature = "s";
  match.body = rule.bytes();
  TRY(expect(bus.call(std::move(match), deadline), unit));
  TRY(expect(bus.call(manager_call("Subscribe", "", ""), deadline), unit));
  return {};
}

}  // namespace

std::string start_body(const ScopeUnit& scope, pid_t pid) {
  dbus::Writer writer;
  writer.string(scope.unit);
  writer.string("replace");
  const auto properties = writer.begin_array(8);
  put_properties(writer, {{"Description", scope.description},
                          {"Slice", scope.slice},
                          {"Delegate", true},
                          {"DefaultDependencies", false},
                          // A scope whose processes were killed must not stay behind as failed.
                          {"CollectMode", std::string("inactive-or-failed")}});
  writer.align(8);
  writer.string("PIDs");
  writer.signature("au");
  const auto pids = writer.begin_array(4);
  writer.uint32(static_cast<std::uint32_t>(pid));
  writer.end_array(pids);
  put_properties(writer, scope.properties);
  writer.end_array(properties);
  writer.end_array(writer.begin_array(8));  // no other units
  return writer.bytes();
}

Status start_scope(const ScopeUnit& scope, pid_t pid, const HostFacts& facts) {
  const Clock::time_point deadline = Clock::now() + systemd_patience;
  Connection bus = TRY(open_bus(facts, deadline));
  TRY(subscribe(bus, scope.unit, deadline));
  for (bool again = false;; again = true) {
    const Message reply = TRY(bus.call(
        manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))", start_body(scope, pid)), deadline));
    if (reply.type != dbus::Type::error) {
      const auto job = dbus::Reader(reply.body).string();
      if (!job) return plain_error("systemd", scope.unit + ": the answer names no job");
      return await_job(bus, *job, scope.unit, deadline);
    }
    if (again || !reply.error_name.ends_with(".UnitExists")) return refusal(scope.unit, reply);
    // The scope of a container that was just deleted goes when systemd has seen its end.
    if (Status gone = await_removal(bus, scope.unit, Clock::now() + std::chrono::seconds(2)); !gone)
      return gone.error().errnum == ETIMEDOUT ? refusal(scope.unit, reply) : std::move(gone);
  }
}

Status stop_scope(const std::string& unit) {
  HostFacts facts;
  facts.euid = static_cast<uid_t>(::getauxval(AT_EUID));
  const Clock::time_point deadline = Clock::now() + systemd_patience;
  Connection bus = TRY(open_bus(facts, deadline));
  dbus::Writer writer;
  writer.string(unit);
  writer.string("replace");
  const Message reply = TRY(bus.call(manager_call("StopUnit", "ss", writer.bytes()), deadline));
  if (reply.type == dbus::Type::error && !reply.error_name.ends_with(".NoSuchUnit"))
    return refusal(unit, reply);
  return {};
}

Status set_scope_properties(const std::string& unit, const std::vector<UnitProperty>& properties,
                            const HostFacts& facts) {
  if (properties.empty()) return {};
  const Clock::time_point deadline = Clock::now() + systemd_patience;
  Connection bus = TRY(open_bus(facts, deadline));
  dbus::Writer writer;
  writer.string(unit);
  writer.boolean(true);  // until the next boot
  const auto array = writer.begin_array(8);
  put_properties(writer, properties);
  writer.end_array(array);
  TRY(expect(bus.call(manager_call("SetUnitProperties", "sba(sv)", writer.bytes()), deadline),
             unit));
  return {};
}

}  // namespace minirun
