// Owns: section 5 of the reference, "In-place resize".
// Must not: reorder; a decrease before the net increase would starve, an increase before it would
// be capped by the pod.
#include "spec/kubernetes/resize.h"

#include <fmt/format.h>

#include <algorithm>

namespace minirun::kubernetes {

namespace {

std::unexpected<Error> refuse(const std::string& object, std::string reason) {
  return plain_error(object, std::move(reason));
}

std::vector<const Container*> all(const PodManifest& pod) {
  std::vector<const Container*> list;
  for (const Container& container : pod.init_containers) list.push_back(&container);
  for (const Container& container : pod.containers) list.push_back(&container);
  return list;
}

/// -1 lower, 0 same, 1 higher. No limit counts as higher than any.
int compare_limits(const Quantity* before, const Quantity* after) {
  const bool had = before != nullptr && !before->zero();
  const bool has = after != nullptr && !after->zero();
  if (!had || !has) return had == has ? 0 : (had ? 1 : -1);
  return *after < *before ? -1 : (*before < *after ? 1 : 0);
}

int compare_requests(const Quantity* before, const Quantity* after) {
  const Quantity a = before != nullptr ? *before : Quantity{};
  const Quantity b = after != nullptr ? *after : Quantity{};
  return b < a ? -1 : (a < b ? 1 : 0);
}

/// A container's direction for one resource: its limit decides, the request when that is the same.
int direction(const Container& before, const Container& after, const std::string& resource) {
  const int limits = compare_limits(find(before.resources.limits, resource),
                                    find(after.resources.limits, resource));
  if (limits != 0) return limits;
  return compare_requests(find(before.resources.requests, resource),
                          find(after.resources.requests, resource));
}

Status check_container(const Container& before, const Container& after, bool is_init,
                       const PodPlan& plan, const NodeFacts& node) {
  if (before.name != after.name || before.sidecar != after.sidecar)
    return refuse("container " + after.name, "a resize cannot add, remove or reorder containers");
  for (const auto* pair : {&before.resources.limits, &before.resources.requests}) {
    const bool limits = pair == &before.resources.limits;
    for (const auto& [name, amount] : *pair) {
      const Quantity* now = find(limits ? after.resources.limits : after.resources.requests, name);
      if (now == nullptr)
        return refuse("container " + after.name, fmt::format("a resize cannot remove the {} {}",
                                                             name, limits ? "limit" : "request"));
      if (*now != amount && name != "cpu" && name != "memory")
        return refuse("container " + after.name,
                      fmt::format("a resize cannot change {}, only cpu and memory", name));
    }
  }
  if (is_init && !after.sidecar && before.resources != after.resources)
    return refuse("container " + after.name,
                  "a resize cannot change an init container that is not a sidecar");
  const auto* planned = plan.find(before.name);
  const auto swap = planned->cri.unified.find("memory.swap.max");
  const bool may_swap = node.swap_behavior == SwapBehavior::limited_swap &&
                        swap != planned->cri.unified.end() && swap->second != "0";
  if (may_swap && compare_requests(find(before.resources.requests, "memory"),
                                   find(after.resources.requests, "memory")) != 0)
    return refuse("container " + after.name,
                  "the memory request of a container that may swap cannot be resized");
  return {};
}

Status check(const PodPlan& before, const PodPlan& after, const NodeFacts& node) {
  if (before.qos != after.qos)
    return refuse("pod", fmt::format("a resize cannot change the QoS class from {} to {}",
                                     to_string(before.qos), to_string(after.qos)));
  if (before.pod.init_containers.size() != after.pod.init_containers.size() ||
      before.pod.containers.size() != after.pod.containers.size())
    return refuse("pod", "a resize cannot add, remove or reorder containers");
  if (before.qos == QosClass::guaranteed && !node.exclusive_cpu_containers.empty())
    return refuse("pod", "Guaranteed under the static CPU manager cannot be resized in place");
  const auto old_list = all(before.pod);
  const auto new_list = all(after.pod);
  for (std::size_t i = 0; i < new_list.size(); ++i)
    TRY(check_container(*old_list[i], *new_list[i], i < after.pod.init_containers.size(), before,
                        node));
  return {};
}

class Order {
 public:
  Order(const PodPlan& before, const PodPlan& after) : before_(before), after_(after) {}

  std::vector<ResizeStep> run() {
    resource("memory", {"memory.max"}, {"memory.min", "memory.low", "memory.high"});
    resource("cpu", {"cpu.max"}, {"cpu.weight"});
    return std::move(steps_);
  }

 private:
  void resource(const std::string& name, const std::vector<std::string>& limit_files,
                const std::vector<std::string>& request_files) {
    // Limits and requests of the pod are compared apart: one may rise while the other falls.
    const int limit =
        compare_limits(find(before_.limits.amounts, name), find(after_.limits.amounts, name));
    const int request =
        compare_requests(find(before_.requests.amounts, name), find(after_.requests.amounts, name));
    if (limit > 0) pod(name, limit_files, "net increase of limits");
    if (request > 0) pod(name, request_files, "net increase of requests");
    containers(name, -1);
    if (request < 0) pod(name, request_files, "net decrease of requests");
    if (limit < 0) pod(name, limit_files, "net decrease of limits");
    containers(name, 1);
  }

  void pod(const std::string& resource, const std::vector<std::string>& files,
           const std::string& reason) {
    for (const std::string& file : files) {
      const auto now = after_.pod_cgroup2.find(file);
      const auto then = before_.pod_cgroup2.find(file);
      const std::string value = now != after_.pod_cgroup2.end()     ? now->second.value
                                : then != before_.pod_cgroup2.end() ? removed(file)
                                                                    : std::string();
      if (value.empty()) continue;
      if (then != before_.pod_cgroup2.end() && then->second.value == value) continue;
      steps_.push_back({ResizeStep::Kind::pod_file, resource, {}, file, value, reason});
    }
  }

  static std::string removed(const std::string& file) {
    return file == "memory.min" || file == "memory.low" ? "0" : "max";
  }

  void containers(const std::string& resource, int wanted) {
    const auto old_list = all(before_.pod);
    const auto new_list = all(after_.pod);
    for (std::size_t i = 0; i < new_list.size(); ++i) {
      if (direction(*old_list[i], *new_list[i], resource) != wanted) continue;
      const auto& restarting = new_list[i]->restart_on_resize;
      const bool restart =
          std::find(restarting.begin(), restarting.end(), resource) != restarting.end();
      steps_.push_back(
          {restart ? ResizeStep::Kind::restart_container : ResizeStep::Kind::update_container,
           resource,
           new_list[i]->name,
           {},
           {},
           wanted < 0 ? "decrease" : "increase"});
    }
  }

  const PodPlan& before_;
  const PodPlan& after_;
  std::vector<ResizeStep> steps_;
};

}  // namespace

std::string to_string(const ResizeStep& step) {
  switch (step.kind) {
    case ResizeStep::Kind::pod_file:
      return fmt::format("pod {}={}", step.file, step.value);
    case ResizeStep::Kind::update_container:
      return "UpdateContainerResources " + step.container;
    case ResizeStep::Kind::restart_container:
      return "restart " + step.container;
  }
  return {};
}

Result<std::vector<ResizeStep>> plan_resize(const PodManifest& before, const PodManifest& after,
                                            const NodeFacts& node) {
  const PodPlan old_plan = TRY(plan_pod(before, node));
  const PodPlan new_plan = TRY(plan_pod(after, node));
  TRY(check(old_plan, new_plan, node));
  return Order(old_plan, new_plan).run();
}

}  // namespace minirun::kubernetes
