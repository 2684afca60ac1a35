// Owns: the short form's words about the process: command, env, user, capabilities, rlimits.
// Must not: look at files, namespaces or resources.
#include <fmt/format.h>

#include <algorithm>

#include "base/capabilities.h"
#include "spec/oci_parts.h"
#include "spec/short_parts.h"
#include "spec/short_reader.h"
#include "spec/words.h"

namespace minirun {
namespace {

void read_command(JsonObject& object, Process& process) {
  const auto json =
      object.require("command", "the program and its arguments, [\"sh\", \"-c\", ...]");
  if (!json) return;
  if (json->is(Json::Kind::string))
    return json->expected("an array such as [\"sh\", \"-c\", \"...\"]: no shell splits the words");
  json->get(process.args);
}

void read_env(JsonObject& object, Process& process) {
  std::vector<std::string> env;
  if (const auto json = object.find("env")) {
    if (json->is(Json::Kind::object)) {
      std::map<std::string, std::string> values;
      json->get(values);
      for (const auto& [key, value] : values) env.push_back(fmt::format("{}={}", key, value));
    } else if (json->is(Json::Kind::array)) {
      json->get(env);
    } else {
      json->expected("an object {\"NAME\": \"value\"} or an array [\"NAME=value\"]");
    }
  }
  const auto has = [&](std::string_view prefix) {
    return std::any_of(env.begin(), env.end(),
                       [&](const std::string& entry) { return entry.starts_with(prefix); });
  };
  if (process.terminal && !has("TERM=")) env.insert(env.begin(), "TERM=xterm");
  if (!has("PATH=")) env.insert(env.begin(), kDefaultPath);
  process.env = std::move(env);
}

/// Digits only, no sign, no blank, no leading zero, at most kMostId (CVE-2026-30892 was a parser
/// that took "1" for root).
std::optional<std::uint32_t> parse_id(std::string_view text) {
  if (text.empty() || text.size() > 10 || (text.size() > 1 && text.front() == '0'))
    return std::nullopt;
  std::uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value > kMostId) return std::nullopt;
  return static_cast<std::uint32_t>(value);
}

void read_user_object(Json json, User& user) {
  JsonObject object(json);
  const auto uid = object.require("uid", "a number");
  if (uid) uid->get(user.uid, std::uint32_t{0}, kMostId);
  user.gid = user.uid;
  object.read_within("gid", user.gid, 0, kMostId);
  object.each("additional_gids", [&](Json item) {
    std::uint32_t gid = 0;
    if (item.get(gid, std::uint32_t{0}, kMostId)) user.additional_gids.push_back(gid);
  });
}

void read_user(JsonObject& object, User& user) {
  const auto json = object.find("user");
  if (!json) return;
  if (json->is(Json::Kind::object)) return read_user_object(*json, user);
  const std::string text = json->text();
  const std::string_view words = text;
  const std::size_t colon = words.find(':');
  const auto uid = parse_id(words.substr(0, colon));
  const auto gid = colon == std::string_view::npos ? uid : parse_id(words.substr(colon + 1));
  if (uid && gid && (json->is(Json::Kind::string) || json->is(Json::Kind::integer))) {
    user.uid = *uid;
    user.gid = *gid;
    return;
  }
  json->expected(
      fmt::format("numbers such as \"1000\" or \"1000:1000\" up to {}; the container's "
                  "passwd file is not consulted",
                  kMostId));
}

void read_umask(JsonObject& object, User& user) {
  const auto json = object.find("umask");
  if (!json) return;
  const std::string text = json->text();
  std::uint32_t mask = 0;
  for (char c : text) {
    if (!json->is(Json::Kind::string) || c < '0' || c > '7' || text.size() > 4 || mask > 0777)
      return json->expected("octal digits in a string, such as \"022\"");
    mask = mask * 8 + static_cast<std::uint32_t>(c - '0');
  }
  if (text.empty() || mask > 0777) return json->expected("octal digits up to \"0777\"");
  user.umask = mask;
}

constexpr std::uint64_t kAllCapabilities = (std::uint64_t{1} << capability_names.size()) - 1;

std::uint64_t read_names(Json json) {
  std::uint64_t bits = 0;
  json.each([&](Json item) {
    std::string name;
    if (!item.get(name)) return;
    if (name == "all" || name == "ALL")
      bits |= kAllCapabilities;
    else if (const auto number = capability_from_name(name))
      bits |= capability_bit(*number);
    else
      item.expected("a capability such as CAP_CHOWN or net_admin, or all");
  });
  return bits;
}

/// What a user who is not root asked for by name goes into the ambient set too: the kernel would
/// else take it away at execve (capabilities(7)).
Capabilities with_ambient(std::uint64_t bits, std::uint64_t named, const User& user) {
  Capabilities out = capabilities_of(bits);
  if (user.uid != 0 && named != kAllCapabilities) out.inheritable = out.ambient = named & bits;
  return out;
}

void read_capabilities(JsonObject& object, Process& process) {
  process.capabilities = capabilities_of(default_capabilities);
  const auto json = object.find("capabilities");
  if (!json) return;
  if (json->is(Json::Kind::array)) {
    const std::uint64_t bits = read_names(*json);
    process.capabilities = with_ambient(bits, bits, process.user);
  } else if (json->is(Json::Kind::object)) {
    JsonObject members(*json);
    const auto add = members.find("add"), drop = members.find("drop");
    const std::uint64_t added = add ? read_names(*add) : 0;
    const std::uint64_t dropped = drop ? read_names(*drop) : 0;
    // As docker: "drop all" comes before "add", any other drop after it.
    std::uint64_t bits = dropped == kAllCapabilities ? 0 : default_capabilities;
    bits |= added;
    if (dropped != kAllCapabilities) bits &= ~dropped;
    process.capabilities = with_ambient(bits, added, process.user);
  } else if (json->is(Json::Kind::string) && json->text() == "all") {
    process.capabilities = capabilities_of(kAllCapabilities);
  } else if (json->is(Json::Kind::string) && json->text() == "none") {
    process.capabilities = Capabilities{};
  } else if (!(json->is(Json::Kind::string) && json->text() == "default")) {
    json->expected("default, all, none, an array of names, or {\"add\": [...], \"drop\": [...]}");
  }
}

bool read_rlimit_value(Json json, std::uint64_t& out) {
  if (json.is(Json::Kind::string) && json.text() == "unlimited") {
    out = UINT64_MAX;
    return true;
  }
  if (json.is(Json::Kind::integer)) return json.get(out);
  json.expected("a number or unlimited");
  return false;
}

void read_rlimits(JsonObject& object, std::vector<Rlimit>& rlimits) {
  const auto json = object.find("rlimits");
  if (!json) return;
  std::vector<std::string> names;  // "nofile" for RLIMIT_NOFILE
  for (const Word<int>& word : rlimit_words) {
    std::string& name = names.emplace_back(word.name.substr(sizeof "RLIMIT_" - 1));
    for (char& c : name) c = static_cast<char>(c - 'A' + 'a');
  }
  json->each_member([&](Json item) {
    const auto found = std::find(names.begin(), names.end(), item.key());
    if (found == names.end())
      return item.error(fmt::format("unknown limit, expected one of {}", fmt::join(names, ", ")));
    const auto row = static_cast<std::size_t>(found - names.begin());
    Rlimit limit{rlimit_words[row].value, 0, 0};
    bool good = true;
    if (item.is(Json::Kind::object)) {
      JsonObject members(item);
      for (auto [key, out] : {std::pair{"soft", &limit.soft}, std::pair{"hard", &limit.hard}}) {
        const auto value = members.require(key, "a number or unlimited");
        good = value && read_rlimit_value(*value, *out) && good;
      }
    } else {
      good = read_rlimit_value(item, limit.soft);
      limit.hard = limit.soft;
    }
    if (good) rlimits.push_back(limit);
  });
}

}  // namespace

void read_short_process(JsonObject& object, Process& process) {
  read_command(object, process);
  object.read("terminal", process.terminal);
  read_env(object, process);
  object.read("cwd", process.cwd);
  read_user(object, process.user);
  read_umask(object, process.user);
  read_capabilities(object, process);
  read_rlimits(object, process.rlimits);
  process.no_new_privileges = true;
  object.read("no_new_privs", process.no_new_privileges);
  int score = 0;
  if (object.read_within("oom_score_adj", score, -1000, 1000)) process.oom_score_adj = score;
  object.read("apparmor", process.apparmor_profile);
  object.read("selinux_label", process.selinux_label);
}

}  // namespace minirun
