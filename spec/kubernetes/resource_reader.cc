// Owns: the API server's rules for resources: no negative amount, request at most the limit,
// hugepages in whole pages, extended resources in integers; and what would overflow silently.
// Must not: warn about what is valid but unwise; traps.cc does.
#include "spec/kubernetes/resource_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "spec/kubernetes/plan.h"

namespace minirun::kubernetes {

namespace {

bool hugepages_name(std::string_view name) {
  return name.starts_with("hugepages-");
}

bool known_resource(std::string_view name) {
  return name == "cpu" || name == "memory" || name == "ephemeral-storage" || hugepages_name(name);
}

void check_amount(ReaderContext& context, const Node& node, const std::string& name,
                  const Quantity& amount, const std::string& pointer) {
  if (amount.negative()) {
    context.error(node, pointer, fmt::format("{} is negative", amount.canonical()));
    return;
  }
  const auto number = name == "cpu" ? amount.milli_value() : amount.value();
  if (!number) context.error(node, pointer, to_string(number.error()));
  if (!known_resource(name) && amount.fractional())
    context.error(node, pointer,
                  fmt::format("{} of \"{}\" has to be an integer", amount.canonical(), name));
  if (!hugepages_name(name) || !number) return;
  const std::int64_t page = hugepage_size_bytes(name);
  if (page == 0)
    context.error(node, pointer, fmt::format("\"{}\" names no page size", name));
  else if (*number % page != 0)
    context.error(
        node, pointer,
        fmt::format("{} is not a multiple of the page size {}", amount.canonical(), page));
}

void check_name(ReaderContext& context, const Node& node, const std::string& name, Stanza stanza,
                const std::string& pointer) {
  if (stanza == Stanza::pod_level) {
    if (name != "cpu" && name != "memory" && !hugepages_name(name))
      context.error(
          node, pointer,
          fmt::format("\"{}\" has no pod-level form, only cpu, memory and hugepages-*", name));
    return;
  }
  if (known_resource(name) || name.find('/') != std::string::npos) return;
  context.error(node, pointer,
                fmt::format("unknown resource \"{}\"; cpu, memory, ephemeral-storage, "
                            "hugepages-<size> or a name with a domain",
                            name));
}

void check_pairs(ReaderContext& context, const Node& requests,
                 const ResourceRequirements& resources, Stanza stanza, const std::string& pointer) {
  for (const auto& [name, request] : resources.requests) {
    const Node* node = requests.find(name);
    const Quantity* limit = find(resources.limits, name);
    const std::string where = pointer + "/requests/" + pointer_token(name);
    const bool exact = !known_resource(name) || hugepages_name(name);
    if (node == nullptr) continue;
    if (limit != nullptr && request > *limit)
      context.error(*node, where,
                    fmt::format("the request {} is above the limit {}", request.canonical(),
                                limit->canonical()));
    else if (limit != nullptr && exact && request != *limit)
      context.error(*node, where,
                    fmt::format("the request {} has to equal the limit {}", request.canonical(),
                                limit->canonical()));
    else if (limit == nullptr && exact && stanza == Stanza::container)
      context.error(*node, where, fmt::format("\"{}\" needs a limit, which is its request", name));
  }
}

}  // namespace

ResourceList read_resource_list(ReaderContext& context, const Node& node,
                                const std::string& pointer) {
  ResourceList list;
  if (node.kind == Node::Kind::null) return list;
  if (!context.expect(node, Node::Kind::mapping, pointer)) return list;
  for (const Node::Field& field : node.fields) {
    const std::string where = pointer + "/" + pointer_token(field.name);
    const auto amount = context.quantity(field.value, where);
    if (!amount) continue;
    check_amount(context, field.value, field.name, *amount, where);
    list.emplace(field.name, *amount);
  }
  return list;
}

ResourceRequirements read_resources(ReaderContext& context, const Node& node, Stanza stanza,
                                    const std::string& pointer) {
  ResourceRequirements resources;
  if (node.kind == Node::Kind::null) return resources;
  if (!context.expect(node, Node::Kind::mapping, pointer)) return resources;
  static constexpr std::array<std::string_view, 3> known = {"requests", "limits", "claims"};
  context.unknown_fields(node, known, pointer);
  for (const char* kind : {"limits", "requests"}) {
    const Node* list = node.find(kind);
    if (list == nullptr) continue;
    const std::string where = pointer + "/" + kind;
    auto& target = list == node.find("limits") ? resources.limits : resources.requests;
    target = read_resource_list(context, *list, where);
    for (const Node::Field& field : list->fields)
      check_name(context, field.value, field.name, stanza, where + "/" + pointer_token(field.name));
  }
  if (const Node* requests = node.find("requests"))
    check_pairs(context, *requests, resources, stanza, pointer);
  return resources;
}

namespace {

void check_pod_level(ReaderContext& context, const PodManifest& pod, const Node& at,
                     const std::string& pointer) {
  if (!pod.resources) return;
  const auto requests = aggregated(pod, Which::requests);
  for (const auto& [name, amount] : pod.resources->requests) {
    const Quantity* containers = requests ? find(requests->amounts, name) : nullptr;
    if (containers != nullptr && *containers > amount)
      context.error(at, pointer + "/resources/requests/" + pointer_token(name),
                    fmt::format("the containers request {} {}, more than the pod's {}",
                                containers->canonical(), name, amount.canonical()));
  }
  for (const auto* list : {&pod.init_containers, &pod.containers})
    for (const Container& container : *list)
      for (const auto& [name, limit] : pod.resources->limits) {
        const Quantity* own = find(container.resources.limits, name);
        if (own != nullptr && *own > limit)
          context.error(at, container.pointer + "/resources/limits/" + pointer_token(name),
                        fmt::format("the limit {} is above the pod's {}", own->canonical(),
                                    limit.canonical()));
      }
}

}  // namespace

void check_pod_resources(ReaderContext& context, const PodManifest& pod, const Node& spec,
                         const std::string& pointer) {
  const Node* stanza = spec.find("resources");
  const Node& at = stanza == nullptr ? spec : *stanza;
  check_pod_level(context, pod, at, pointer);
  // The single amounts are right; this finds sums that no file can hold.
  const auto plan = plan_pod(pod, NodeFacts{});
  if (!plan) context.error(spec, pointer, to_string(plan.error()));
}

}  // namespace minirun::kubernetes
