// Owns: the short form's resources: Kubernetes' words and arithmetic -> OCI values, each with its
// origin and formula. Must not: convert to cgroup v2 files (cgroups/ does).
#include <fmt/format.h>

#include <algorithm>

#include "spec/kubernetes/cpu.h"
#include "spec/oci_parts.h"
#include "spec/short_parts.h"
#include "spec/short_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

using Origins = std::map<std::string, Origin>;

/// A value of requests or limits with the place where it stands.
struct Said {
  Json json;
  Quantity quantity;
};

std::optional<Said> find_quantity(std::optional<JsonObject>& object, std::string_view key,
                                  std::string_view example) {
  const auto json = object ? object->find(key) : std::nullopt;
  if (!json) return std::nullopt;
  const auto quantity = get_quantity(*json, example);
  if (!quantity) return std::nullopt;
  return Said{*json, *quantity};
}

/// The value, or nothing with a warning: Kubernetes reads a limit of 0 as "no limit".
std::optional<Said> without_zero(std::optional<Said> limit) {
  if (limit && limit->quantity.zero()) {
    limit->json.warning("0 means \"no limit\", as in Kubernetes");
    return std::nullopt;
  }
  return limit;
}

void check_request(const std::optional<Said>& request, const std::optional<Said>& limit) {
  if (request && limit && request->quantity > limit->quantity)
    request->json.expected(
        fmt::format("at most the limit {} at {}", limit->json.shown(), limit->json.pointer()));
}

std::optional<std::int64_t> milli(const Said& said) {
  const auto value = said.quantity.milli_value();
  if (value) return *value;
  said.json.expected("at most 9223372036854775807m");
  return std::nullopt;
}

void set_shares(const std::optional<Said>& request, const std::optional<Said>& limit,
                Resources& resources, Origins& origins) {
  const Said* said = request ? &*request : limit ? &*limit : nullptr;
  const auto value = said ? milli(*said) : std::nullopt;
  if (!value) return;
  const std::uint64_t shares = milli_cpu_to_shares(*value);
  resources.cpu.shares = shares;
  origins["cpu.shares"] = {said->json.field(), said->json.text(),
                           fmt::format("{} * 1024 / 1000 = {}{}", *value, shares,
                                       request ? "" : " (no request: the limit counts)")};
}

void set_quota(const Said& limit, Resources& resources, Origins& origins) {
  const auto value = milli(limit);
  if (!value) return;
  const bool own_period = resources.cpu.period_us.has_value();
  const std::uint64_t period = resources.cpu.period_us.value_or(cpu_period_default_us);
  if (period < 1000 || period > 1'000'000) return;  // validate.h reports it
  const std::int64_t quota = milli_cpu_to_quota_us(*value, period);
  resources.cpu.quota_us = quota;
  resources.cpu.period_us = period;
  const bool raised = *value < cpu_quota_min_us * 1000 / static_cast<std::int64_t>(period);
  origins["cpu.quota"] = {limit.json.field(), limit.json.text(),
                          fmt::format("{} * {} / 1000 = {} us{}", *value, period, quota,
                                      raised ? " (the kernel's smallest quota)" : "")};
  if (!own_period)
    origins["cpu.period"] = {limit.json.field(), limit.json.text(),
                             fmt::format("default period {} us", period)};
}

void read_cpu_details(Json json, Resources& resources, Origins& origins) {
  JsonObject object(json);
  for (auto [key, name, out] : {std::tuple{"burst", "cpu.burst", &resources.cpu.burst_us},
                                std::tuple{"period", "cpu.period", &resources.cpu.period_us}}) {
    const auto place = object.find(key);
    const auto duration = place ? get_duration(*place) : std::nullopt;
    if (!duration) continue;
    *out = static_cast<std::uint64_t>(duration->count());
    origins[name] = {place->field(), place->text(), fmt::format("{} us", duration->count())};
  }
  const auto place = object.find("idle");
  bool idle = false;
  if (place && place->get(idle)) {
    resources.cpu.idle = idle ? 1 : 0;
    origins["cpu.idle"] = {place->field(), place->text(), ""};
  }
}

void read_cpuset(Json json, Resources& resources, Origins& origins) {
  JsonObject object(json);
  for (auto [key, out] :
       {std::pair{"cpus", &resources.cpu.cpus}, std::pair{"mems", &resources.cpu.mems}}) {
    const auto place = object.find(key);
    if (place && place->get(*out))
      origins[fmt::format("cpu.{}", key)] = {place->field(), place->text(), ""};
  }
}

bool is_word(Json json, std::string_view word) {
  return json.is(Json::Kind::string) && json.text() == word;
}

/// memory.swap of OCI is memory plus swap. Without a word about swap there is none, as Kubernetes
/// has it (NoSwap): a memory limit that spills to disk limits nothing but speed.
void set_swap(const std::optional<Json>& swap, std::int64_t limit, const Said& said,
              Resources& resources, Origins& origins) {
  MemoryResources& memory = resources.memory;
  if (swap && is_word(*swap, "max")) {
    memory.swap_bytes = -1;
    origins["memory.swap"] = {swap->field(), swap->text(), "no limit"};
    return;
  }
  const auto amount = swap ? get_bytes(*swap) : std::optional<std::int64_t>(0);
  std::int64_t total = 0;
  if (!amount) return;
  if (__builtin_add_overflow(limit, *amount, &total)) return swap->expected("less");
  memory.swap_bytes = total;
  const Json& place = swap ? *swap : said.json;
  origins["memory.swap"] = {
      place.field(), place.text(),
      fmt::format("{} + {} = {} bytes of memory and swap{}", limit, *amount, total,
                  swap ? "" : " (no swap unless limits.swap says so)")};
}

void read_memory(std::optional<JsonObject>& requests, std::optional<JsonObject>& limits,
                 Resources& resources, Origins& origins) {
  const auto request = find_quantity(requests, "memory", "64Mi");
  const auto limit = without_zero(find_quantity(limits, "memory", "64Mi"));
  check_request(request, limit);
  const auto requested = request ? get_bytes(request->json) : std::nullopt;
  // Kubernetes schedules by the request and writes no file for it (MemoryQoS, policy None, the
  // default of every release so far): memory.low would be a promise that nobody asked for.
  if (requested)
    origins["memory.request"] = {request->json.field(), request->json.text(),
                                 fmt::format("{} bytes; no file is written, as in Kubernetes; use "
                                             "unified memory.low to protect memory",
                                             *requested)};
  const auto swap = limits ? limits->find("swap") : std::nullopt;
  const auto bytes = limit ? get_bytes(limit->json) : std::nullopt;
  if (!bytes) {
    if (swap && !limit) swap->error("expected only together with a limit of memory");
    return;
  }
  resources.memory.limit_bytes = *bytes;
  origins["memory.limit"] = {limit->json.field(), limit->json.text(),
                             fmt::format("{} bytes", *bytes)};
  set_swap(swap, *bytes, *limit, resources, origins);
  resources.unified["memory.oom.group"] = "1";
  origins["unified.memory.oom.group"] = {
      limit->json.field(), limit->json.text(),
      "1: out of memory ends the whole container, as in Kubernetes; see oom_group"};
}

void read_cpu(std::optional<JsonObject>& requests, std::optional<JsonObject>& limits,
              const std::optional<Json>& details, Resources& resources, Origins& origins) {
  if (details) read_cpu_details(*details, resources, origins);
  const auto request = find_quantity(requests, "cpu", "500m");
  const auto limit = without_zero(find_quantity(limits, "cpu", "500m"));
  check_request(request, limit);
  if (resources.cpu.idle != 1)
    set_shares(request, limit, resources, origins);
  else if (request)
    request->json.error("an idle group has no share: leave requests.cpu out");
  if (limit) set_quota(*limit, resources, origins);
}

void read_pids(std::optional<JsonObject>& limits, Resources& resources, Origins& origins) {
  const auto json = limits ? limits->find("pids") : std::nullopt;
  if (!json) return;
  std::int64_t value = -1;
  // 2^22 is the kernel's PID_MAX_LIMIT; pids.max refuses more (measured).
  if (!is_word(*json, "max") && !json->get(value, std::int64_t{1}, std::int64_t{4'194'304})) return;
  resources.pids_limit = value;
  origins["pids.limit"] = {json->field(), json->text(), ""};
}

std::optional<DeviceNumbers> read_block_device(Json json, const SpecOptions& options) {
  const std::string text = json.text();
  if (json.is(Json::Kind::string) && text.starts_with('/')) {
    const auto numbers = options.resolve_device(text);
    if (!numbers) {
      json.error(fmt::format("{}: {}", json.shown(), to_string(numbers.error())));
    } else if (numbers->type != Device::Type::block) {
      json.expected("a block device");
    } else {
      return *numbers;
    }
    return std::nullopt;
  }
  DeviceNumbers numbers;
  std::uint32_t* out = &numbers.major;
  bool digit = false, good = json.is(Json::Kind::string) && text.size() <= 15;
  for (char c : text) {
    if (!good) break;
    if (c >= '0' && c <= '9') {
      *out = *out * 10 + static_cast<std::uint32_t>(c - '0');
      digit = true;
      good = *out <= kMostMinor;
    } else {
      good = c == ':' && digit && out == &numbers.major;
      out = &numbers.minor;
      digit = false;
    }
  }
  if (good && digit && out == &numbers.minor && numbers.major <= kMostMajor) return numbers;
  json.expected("a block device such as /dev/vda or 8:0");
  return std::nullopt;
}

void read_io_entry(Json json, const SpecOptions& options, Resources& resources, Origins& origins) {
  JsonObject object(json);
  const auto device = object.require("device", "a block device such as /dev/vda or 8:0");
  const auto numbers = device ? read_block_device(*device, options) : std::nullopt;
  BlockIoResources& io = resources.block_io;
  for (auto [key, list] : {std::pair{"rbps", &io.read_bps},
                           {"wbps", &io.write_bps},
                           {"riops", &io.read_iops},
                           {"wiops", &io.write_iops}}) {
    const auto place = object.find(key);
    if (!place || is_word(*place, "max")) continue;
    const auto rate = get_bytes(*place);
    if (!rate) continue;
    if (*rate == 0) {
      place->expected("at least 1, or max");
      continue;
    }
    if (!numbers) continue;
    list->push_back({numbers->major, numbers->minor, static_cast<std::uint64_t>(*rate)});
    origins[fmt::format("blockIO.{}.{}:{}", key, numbers->major, numbers->minor)] = {
        place->field(), place->text(), fmt::format("{} per second", *rate)};
  }
  std::uint16_t weight = 0;
  if (object.read_within("weight", weight, 10, 1000) && numbers)
    io.weight_device.push_back({numbers->major, numbers->minor, weight});
}

/// "2Mi" -> "2MB", the name that OCI and the kernel's files have.
std::optional<std::string> page_size_name(std::uint64_t bytes) {
  for (auto [unit, name] : {std::pair{std::uint64_t{1} << 30, "GB"},
                            {std::uint64_t{1} << 20, "MB"},
                            {std::uint64_t{1} << 10, "KB"}})
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, name);
  return std::nullopt;
}

void read_hugepages(Json json, Resources& resources, Origins& origins) {
  json.each_member([&](Json item) {
    const auto parsed = parse_quantity(item.key());
    const auto page = parsed ? parsed->value() : Result<std::int64_t>(0);
    const bool good = page && *page > 0 && (*page & (*page - 1)) == 0;
    const auto name = good ? page_size_name(static_cast<std::uint64_t>(*page)) : std::nullopt;
    if (!name) return item.error("the key is a page size, expected one such as 2Mi or 1Gi");
    const auto limit = get_bytes(item);
    if (!limit) return;
    if (*limit % *page != 0) return item.expected(fmt::format("a multiple of {}", item.key()));
    resources.hugepage_limits.push_back({*name, static_cast<std::uint64_t>(*limit)});
    origins["hugepage." + *name] = {item.field(), item.text(), fmt::format("{} bytes", *limit)};
  });
}

void read_unified(Json json, Resources& resources, Origins& origins) {
  json.each_member([&](Json item) {
    if (!item.is(Json::Kind::string) && !item.is(Json::Kind::integer))
      return item.expected("a string or an integer");
    resources.unified[item.key()] = item.text();
    origins["unified." + item.key()] = {item.field(), item.text(), ""};
  });
}

void read_oom_group(Json json, Resources& resources, Origins& origins) {
  bool group = false;
  if (!json.get(group)) return;
  resources.unified["memory.oom.group"] = group ? "1" : "0";
  origins["unified.memory.oom.group"] = {json.field(), json.text(), ""};
}

}  // namespace

std::optional<Quantity> get_quantity(Json json, std::string_view example) {
  const std::string what = fmt::format("a quantity such as {}", example);
  if (!json.is(Json::Kind::string) && !json.is_number()) return json.expected(what), std::nullopt;
  const auto quantity = read_quantity(json.text());
  if (!quantity) {
    json.expected(fmt::format("{}: {}", what, quantity.error().reason));
    return std::nullopt;
  }
  if (quantity->without_digits()) return json.expected(what + ": there is no digit"), std::nullopt;
  if (quantity->negative()) return json.expected(what + ", not a negative one"), std::nullopt;
  if (quantity->capped()) return json.expected("at most 9223372036854775807"), std::nullopt;
  return *quantity;
}

std::optional<std::int64_t> get_bytes(Json json) {
  const auto quantity = get_quantity(json, "64Mi");
  if (!quantity) return std::nullopt;
  if (quantity->fractional())
    return json.expected("a whole number; \"m\" means thousandths, \"Mi\" means 2^20"),
           std::nullopt;
  const auto value = quantity->value();
  if (!value) return json.expected("at most 9223372036854775807"), std::nullopt;
  return *value;
}

void read_short_resources(Json json, const SpecOptions& options, Resources& resources,
                          Origins& origins) {
  JsonObject object(json);
  std::optional<JsonObject> requests, limits;
  if (const auto place = object.find("requests")) requests.emplace(*place);
  if (const auto place = object.find("limits")) limits.emplace(*place);
  read_cpu(requests, limits, object.find("cpu"), resources, origins);
  read_memory(requests, limits, resources, origins);
  read_pids(limits, resources, origins);
  if (const auto place = object.find("cpuset")) read_cpuset(*place, resources, origins);
  object.each("io", [&](Json item) { read_io_entry(item, options, resources, origins); });
  if (const auto place = object.find("hugepages")) read_hugepages(*place, resources, origins);
  if (const auto place = object.find("oom_group")) read_oom_group(*place, resources, origins);
  if (const auto place = object.find("unified")) read_unified(*place, resources, origins);
}

}  // namespace minirun
