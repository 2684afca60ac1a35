// Owns: the short form's words about namespaces and the user namespace.
// Must not: open a namespace.
#include <fmt/format.h>

#include <algorithm>

#include "spec/oci_parts.h"
#include "spec/short_parts.h"
#include "spec/words.h"

namespace minirun {
namespace {

/// "0:100000:65536"
bool parse_mapping(std::string_view text, IdMapping& mapping) {
  std::array<std::uint64_t, 3> numbers{};
  std::size_t at = 0;
  bool digit = false;
  for (char c : text) {
    if (c >= '0' && c <= '9') {
      numbers[at] = numbers[at] * 10 + static_cast<std::uint64_t>(c - '0');
      if (numbers[at] > UINT32_MAX) return false;
      digit = true;
    } else if (c == ':' && digit && at < 2) {
      ++at;
      digit = false;
    } else {
      return false;
    }
  }
  if (at != 2 || !digit) return false;
  mapping = {static_cast<std::uint32_t>(numbers[0]), static_cast<std::uint32_t>(numbers[1]),
             static_cast<std::uint32_t>(numbers[2])};
  return true;
}

void read_mappings(Json json, std::vector<IdMapping>& mappings) {
  json.each([&](Json item) {
    IdMapping& mapping = mappings.emplace_back();  // also a bad one: the rules count positions
    if (item.is(Json::Kind::object)) {
      JsonObject object(item);
      for (auto [key, out] : {std::pair{"container", &mapping.container_id},
                              {"host", &mapping.host_id},
                              {"size", &mapping.size}})
        if (const auto value = object.require(key, "a number")) value->get(*out);
    } else if (!item.is(Json::Kind::string) || !parse_mapping(item.text(), mapping)) {
      item.expected(
          "\"container:host:size\" or {\"container\": 0, \"host\": 100000, \"size\": 65536}");
    }
  });
}

/// Root maps to ids that own nothing on the host, in the place where /etc/subuid starts by custom
/// (useradd(8), SUB_UID_MIN); anybody else can map only themselves without a helper.
void default_mappings(const SpecOptions& options, ContainerSpec& spec) {
  constexpr std::uint32_t kFirst = 100000, kSize = 65536;
  if (options.euid == 0) {
    spec.uid_mappings = spec.gid_mappings = {{0, kFirst, kSize}};
  } else {
    spec.uid_mappings = options.own_uids;
    spec.gid_mappings = options.own_gids;
  }
}

void read_userns(JsonObject& object, const SpecOptions& options, ContainerSpec& spec) {
  const auto json = object.find("userns");
  if (!json) return;
  if (json->is(Json::Kind::boolean)) {
    if (json->text() == "false") return;
    default_mappings(options, spec);
  } else if (json->is(Json::Kind::object)) {
    JsonObject members(*json);
    const auto uid = members.require("uid", "an array of mappings");
    if (uid) read_mappings(*uid, spec.uid_mappings);
    spec.gid_mappings = spec.uid_mappings;
    if (const auto gid = members.find("gid")) {
      spec.gid_mappings.clear();
      read_mappings(*gid, spec.gid_mappings);
    }
  } else {
    return json->expected("true, false, or {\"uid\": [\"0:100000:65536\"], \"gid\": [...]}");
  }
  spec.namespaces.insert(spec.namespaces.begin(), {NamespaceType::user, ""});
}

void set_namespace(std::vector<Namespace>& namespaces, NamespaceType type, bool host,
                   std::string path) {
  std::erase_if(namespaces, [&](const Namespace& ns) { return ns.type == type; });
  if (!host) namespaces.push_back({type, std::move(path)});
}

void read_one(Json item, std::vector<Namespace>& namespaces) {
  // By the key, so that an unknown one is reported with a suggestion like any unknown word.
  const auto* word = std::find_if(namespace_words.begin(), namespace_words.end(),
                                  [&](const auto& row) { return row.name == item.key(); });
  if (word == namespace_words.end())
    return item.error("unknown namespace, expected one of pid, network, ipc, uts, cgroup, time");
  if (word->value == NamespaceType::user)
    return item.error("expected \"userns\" beside \"namespaces\" for this");
  if (word->value == NamespaceType::mount && item.text() != "new")
    return item.expected("new: a container always has its own mount namespace");
  std::string text;
  if (!item.get(text)) return;
  if (text == "new")
    set_namespace(namespaces, word->value, false, "");
  else if (text == "host")
    set_namespace(namespaces, word->value, true, "");
  else if (text.starts_with('/'))
    set_namespace(namespaces, word->value, false, text);
  else
    item.expected("new, host, or the absolute path of a namespace such as /proc/1/ns/net");
}

}  // namespace

void read_short_namespaces(JsonObject& object, const SpecOptions& options, ContainerSpec& spec) {
  for (NamespaceType type : {NamespaceType::pid, NamespaceType::network, NamespaceType::mount,
                             NamespaceType::uts, NamespaceType::ipc, NamespaceType::cgroup})
    spec.namespaces.push_back({type, ""});
  if (const auto json = object.find("namespaces"))
    json->each_member([&](Json item) { read_one(item, spec.namespaces); });
  read_userns(object, options, spec);
  read_short_network(object, spec);
}

}  // namespace minirun
