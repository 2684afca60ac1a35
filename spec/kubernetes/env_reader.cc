#include "spec/kubernetes/env_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "spec/kubernetes/effective.h"

namespace minirun::kubernetes {

Result<std::int64_t> divided(const std::string& resource, const Quantity& amount,
                             const Quantity& divisor) {
  const bool milli = resource == "cpu";
  const std::int64_t top = TRY(milli ? amount.milli_value() : amount.value());
  const std::int64_t bottom = TRY(milli ? divisor.milli_value() : divisor.value());
  if (bottom <= 0) return plain_error("divisor", "has to be above zero");
  return top / bottom + (top % bottom > 0 ? 1 : 0);
}

std::vector<EnvRun> EnvReader::read(const Node& container, const std::string& at) {
  own_ = at;
  const Node* from = container.find("envFrom");
  if (from != nullptr && from->kind == Node::Kind::sequence)
    for (std::size_t i = 0; i < from->items.size(); ++i)
      env_from(from->items[i], fmt::format("{}/envFrom/{}", at, i));
  const Node* env = container.find("env");
  if (env != nullptr && env->kind == Node::Kind::sequence)
    for (std::size_t i = 0; i < env->items.size(); ++i)
      if (env->items[i].kind == Node::Kind::mapping)
        variable(env->items[i], fmt::format("{}/env/{}", at, i));
  return std::move(env_);
}

void EnvReader::refuse(const Node& node, const std::string& at, std::string message) {
  unsupported_.push_back(
      {Finding::Level::error, at, std::move(message), node.at.line, node.at.column});
}

void EnvReader::env_from(const Node& node, const std::string& at) {
  if (!context_.expect(node, Node::Kind::mapping, at)) return;
  for (const auto& [name, kind] : {std::pair{"configMapRef", DataMaps::Kind::config_map},
                                   std::pair{"secretRef", DataMaps::Kind::secret}}) {
    const Node* reference = context_.object(node, name, at);
    if (reference == nullptr) continue;
    const std::string where = fmt::format("{}/{}", at, name);
    const auto* map = maps_.find(kind, context_.word(*reference, "name", where));
    if (map == nullptr) {
      if (!context_.boolean(*reference, "optional", where).value_or(false))
        refuse(*reference, where + "/name",
               fmt::format("names no {} of this file", DataMaps::name(kind)));
      return;
    }
    for (const auto& [key, content] : *map)
      env_.push_back({context_.word(node, "prefix", at) + key, content});
    return;
  }
  context_.error(node, at, "has to have configMapRef or secretRef");
}

void EnvReader::variable(const Node& node, const std::string& at) {
  const Node* name = node.find("name");
  if (name == nullptr) return;
  const Node* value = node.find("value");
  const Node* source = node.find("valueFrom");
  if (source == nullptr || source->kind == Node::Kind::null) {
    env_.push_back({name->text, value == nullptr ? "" : value->text});
    return;
  }
  if (value != nullptr && !value->text.empty())
    context_.error(*source, at + "/valueFrom", "excludes value");
  if (!context_.expect(*source, Node::Kind::mapping, at + "/valueFrom")) return;
  if (auto found = value_from(*source, at + "/valueFrom")) {
    found->name = name->text;
    env_.push_back(std::move(*found));
  }
}

std::optional<EnvRun> EnvReader::value_from(const Node& node, const std::string& at) {
  if (const Node* key = context_.object(node, "configMapKeyRef", at))
    return key_of(*key, DataMaps::Kind::config_map, at + "/configMapKeyRef");
  if (const Node* key = context_.object(node, "secretKeyRef", at))
    return key_of(*key, DataMaps::Kind::secret, at + "/secretKeyRef");
  if (const Node* field_node = context_.object(node, "fieldRef", at))
    return field(*field_node, at + "/fieldRef");
  if (const Node* resource_node = context_.object(node, "resourceFieldRef", at))
    return resource(*resource_node, at + "/resourceFieldRef");
  refuse(node, at,
         "is not supported, only configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef");
  return std::nullopt;
}

std::optional<EnvRun> EnvReader::key_of(const Node& node, DataMaps::Kind kind,
                                        const std::string& at) {
  const std::string name = context_.word(node, "name", at);
  const std::string key = context_.word(node, "key", at);
  if (const auto* map = maps_.find(kind, name))
    if (const auto it = map->find(key); it != map->end()) return EnvRun{"", it->second};
  if (!context_.boolean(node, "optional", at).value_or(false))
    refuse(node, at,
           maps_.find(kind, name) == nullptr
               ? fmt::format("the {} \"{}\" is not in this file", DataMaps::name(kind), name)
               : fmt::format("the {} \"{}\" has no \"{}\"", DataMaps::name(kind), name, key));
  return std::nullopt;
}

namespace {

/// "x" of "metadata.labels['x']".
std::optional<std::string> subscript(std::string_view path, std::string_view list) {
  if (!path.starts_with(list) || !path.ends_with("']")) return std::nullopt;
  path.remove_prefix(list.size());
  if (!path.starts_with("['") || path.size() < 4) return std::nullopt;
  return std::string(path.substr(2, path.size() - 4));
}

}  // namespace

std::optional<EnvRun> EnvReader::field(const Node& node, const std::string& at) {
  const std::string path = context_.word(node, "fieldPath", at);
  if (path == "metadata.name") return EnvRun{"", pod_.name};
  if (path == "metadata.namespace") return EnvRun{"", pod_.namespace_name};
  if (path == "metadata.uid" && !pod_.uid.empty()) return EnvRun{"", pod_.uid};
  if (path == "status.podIP" || path == "status.podIPs") return EnvRun{"", "", true};
  for (const auto& [list, values] : {std::pair{"metadata.labels", &pod_.labels},
                                     std::pair{"metadata.annotations", &pod_.annotations}})
    if (const auto key = subscript(path, list)) {
      const auto it = values->find(*key);
      return EnvRun{"", it == values->end() ? "" : it->second};
    }
  refuse(node, at + "/fieldPath",
         fmt::format("\"{}\" is not supported, only metadata.name, .namespace, .uid (when it is "
                     "given), .labels['...'], .annotations['...'] and status.podIP",
                     path));
  return std::nullopt;
}

std::optional<EnvRun> EnvReader::resource(const Node& node, const std::string& at) {
  const std::string path = context_.word(node, "resource", at);
  const std::string name = context_.word(node, "containerName", at);
  const Container* container = nullptr;
  for (const auto* list : {&pod_.init_containers, &pod_.containers})
    for (const Container& one : *list)
      if (name.empty() ? one.pointer == own_ : one.name == name) container = &one;
  const bool limit = path.starts_with("limits.");
  if (container == nullptr || (!limit && !path.starts_with("requests."))) {
    context_.error(node, at,
                   container == nullptr
                       ? fmt::format("no container is named \"{}\"", name)
                       : fmt::format("\"{}\" is not limits.RESOURCE or requests.RESOURCE", path));
    return std::nullopt;
  }
  const std::string resource = path.substr(path.find('.') + 1);
  Quantity divisor = *parse_quantity("1");
  if (const Node* written = node.find("divisor"); written != nullptr) {
    const auto value = context_.quantity(*written, at + "/divisor");
    if (!value) return std::nullopt;
    if (!value->zero()) divisor = *value;  // the API's own default is "0", and means 1
  }
  const Quantity* amount =
      find(limit ? container->resources.limits : container->resources.requests, resource);
  if (amount == nullptr && !limit) return EnvRun{"", "0"};
  if (amount == nullptr) {
    refuse(node, at,
           fmt::format("container {} has no limit of {}: what the node would offer instead is not "
                       "known here",
                       container->name, resource));
    return std::nullopt;
  }
  const auto value = divided(resource, *amount, divisor);
  if (!value) {
    context_.error(node, at, to_string(value.error()));
    return std::nullopt;
  }
  return EnvRun{"", std::to_string(*value)};
}

}  // namespace minirun::kubernetes
