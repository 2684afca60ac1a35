// Must not: stop at the first finding.
#include "spec/kubernetes/pod_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "spec/kubernetes/bandwidth.h"
#include "spec/kubernetes/resource_reader.h"

namespace minirun::kubernetes {

namespace {

constexpr std::array<std::string_view, 5> pod_fields = {"apiVersion", "kind", "metadata", "spec",
                                                        "status"};
constexpr std::array<std::string_view, 15> metadata_fields = {
    "name",          "generateName",      "namespace",         "uid",
    "labels",        "annotations",       "ownerReferences",   "finalizers",
    "managedFields", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
    "generation",    "resourceVersion",   "selfLink"};
constexpr std::array<std::string_view, 42> spec_fields = {"containers",
                                                          "initContainers",
                                                          "ephemeralContainers",
                                                          "volumes",
                                                          "restartPolicy",
                                                          "terminationGracePeriodSeconds",
                                                          "activeDeadlineSeconds",
                                                          "dnsPolicy",
                                                          "dnsConfig",
                                                          "nodeSelector",
                                                          "serviceAccountName",
                                                          "serviceAccount",
                                                          "automountServiceAccountToken",
                                                          "nodeName",
                                                          "hostNetwork",
                                                          "hostPID",
                                                          "hostIPC",
                                                          "hostUsers",
                                                          "shareProcessNamespace",
                                                          "securityContext",
                                                          "imagePullSecrets",
                                                          "hostname",
                                                          "hostnameOverride",
                                                          "subdomain",
                                                          "affinity",
                                                          "schedulerName",
                                                          "tolerations",
                                                          "hostAliases",
                                                          "priorityClassName",
                                                          "priority",
                                                          "readinessGates",
                                                          "runtimeClassName",
                                                          "enableServiceLinks",
                                                          "preemptionPolicy",
                                                          "overhead",
                                                          "topologySpreadConstraints",
                                                          "setHostnameAsFQDN",
                                                          "os",
                                                          "schedulingGates",
                                                          "resourceClaims",
                                                          "resources",
                                                          "workloadRef"};
constexpr std::array<std::string_view, 25> container_fields = {"name",
                                                               "image",
                                                               "command",
                                                               "args",
                                                               "workingDir",
                                                               "ports",
                                                               "envFrom",
                                                               "env",
                                                               "resources",
                                                               "resizePolicy",
                                                               "restartPolicy",
                                                               "restartPolicyRules",
                                                               "volumeMounts",
                                                               "volumeDevices",
                                                               "livenessProbe",
                                                               "readinessProbe",
                                                               "startupProbe",
                                                               "lifecycle",
                                                               "terminationMessagePath",
                                                               "terminationMessagePolicy",
                                                               "imagePullPolicy",
                                                               "securityContext",
                                                               "stdin",
                                                               "stdinOnce",
                                                               "tty"};

/// RFC 1123 label or, with dots, subdomain.
bool dns_name(std::string_view name, std::size_t longest, bool dots) {
  auto inner = [dots](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || (dots && c == '.');
  };
  auto outer = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= longest && std::all_of(name.begin(), name.end(), inner) &&
         outer(name.front()) && outer(name.back());
}

/// The uid becomes a directory name below /sys/fs/cgroup: letters, digits and dashes only.
bool safe_uid(std::string_view uid) {
  return !uid.empty() && uid.size() <= 64 && std::all_of(uid.begin(), uid.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

class PodReader {
 public:
  explicit PodReader(ReaderContext& context) : context_(context) {}

  PodManifest read(const Node& document, const std::string& base) {
    base_ = base;
    context_.unknown_fields(document, pod_fields, base);
    if (const Node* node = object(document, "metadata", base)) metadata(*node);
    const Node* spec_node = document.find("spec");
    if (spec_node == nullptr)
      context_.error(document, base + "/spec", "is missing");
    else if (context_.expect(*spec_node, Node::Kind::mapping, base + "/spec"))
      spec(*spec_node);
    return std::move(pod_);
  }

 private:
  /// A field that has to be an object; nullptr when absent or wrong.
  const Node* object(const Node& parent, std::string_view name, const std::string& base) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return nullptr;
    return context_.expect(*node, Node::Kind::mapping, base + "/" + std::string(name)) ? node
                                                                                       : nullptr;
  }

  void string_into(const Node& parent, std::string_view name, const std::string& base,
                   std::string& target) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return;
    if (auto text = context_.text(*node, base + "/" + std::string(name))) target = *std::move(text);
  }

  std::vector<std::string> strings(const Node& parent, std::string_view name,
                                   const std::string& base) {
    std::vector<std::string> list;
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return list;
    const std::string where = base + "/" + std::string(name);
    if (!context_.expect(*node, Node::Kind::sequence, where)) return list;
    for (std::size_t i = 0; i < node->items.size(); ++i)
      if (auto text = context_.text(node->items[i], fmt::format("{}/{}", where, i)))
        list.push_back(*std::move(text));
    return list;
  }

  void metadata(const Node& node) {
    const std::string base = base_ + "/metadata";
    context_.unknown_fields(node, metadata_fields, base);
    string_into(node, "name", base, pod_.name);
    if (!pod_.name.empty() && !dns_name(pod_.name, 253, true))
      context_.error(*node.find("name"), base + "/name",
                     fmt::format("\"{}\" is not a DNS name of a-z, 0-9, - and .", pod_.name));
    string_into(node, "namespace", base, pod_.namespace_name);
    if (pod_.namespace_name.empty()) pod_.namespace_name = "default";
    if (!dns_name(pod_.namespace_name, 63, false))
      context_.error(*node.find("namespace"), base + "/namespace",
                     fmt::format("\"{}\" is not a DNS label", pod_.namespace_name));
    string_into(node, "uid", base, pod_.uid);
    if (!pod_.uid.empty() && !safe_uid(pod_.uid))
      context_.error(*node.find("uid"), base + "/uid",
                     fmt::format("\"{}\" is not made of letters, digits and dashes", pod_.uid));
    if (const Node* labels = object(node, "labels", base))
      for (const Node::Field& field : labels->fields)
        if (auto text = context_.text(field.value, base + "/labels/" + pointer_token(field.name)))
          pod_.labels[field.name] = *std::move(text);
    if (const Node* annotations_node = object(node, "annotations", base))
      annotations(*annotations_node, base + "/annotations");
  }

  void annotations(const Node& node, const std::string& base) {
    for (const Node::Field& field : node.fields) {
      const std::string where = base + "/" + pointer_token(field.name);
      const auto text = context_.text(field.value, where);
      if (!text) continue;
      pod_.annotations[field.name] = *text;
      if (field.name != ingress_bandwidth && field.name != egress_bandwidth) continue;
      const auto rate = parse_bandwidth(*text);
      if (!rate) context_.error(field.value, where, to_string(rate.error()));
    }
  }

  void spec(const Node& node) {
    const std::string base = base_ + "/spec";
    context_.unknown_fields(node, spec_fields, base);
    pod_.init_containers = containers(node, "initContainers", true);
    pod_.containers = containers(node, "containers", false);
    const Node* list = node.find("containers");
    if (list == nullptr || (list->kind == Node::Kind::sequence && list->items.empty()))
      context_.error(list == nullptr ? node : *list, base + "/containers",
                     "a pod needs at least one container");
    if (const Node* resources = node.find("resources");
        resources != nullptr && resources->kind != Node::Kind::null)
      pod_.resources = read_resources(context_, *resources, Stanza::pod_level, base + "/resources");
    if (const Node* overhead = node.find("overhead"))
      pod_.overhead = read_resource_list(context_, *overhead, base + "/overhead");
    string_into(node, "priorityClassName", base, pod_.priority_class_name);
    priority(node, base + "/priority");
    volumes(node, base + "/volumes");
    if (!has_errors(context_.findings)) check_pod_resources(context_, pod_, node, base);
  }

  void priority(const Node& spec_node, const std::string& where) {
    const Node* node = spec_node.find("priority");
    if (node == nullptr || node->kind == Node::Kind::null) return;
    const auto value = context_.integer(*node, where);
    if (!value) return;
    if (*value < std::numeric_limits<std::int32_t>::min() ||
        *value > std::numeric_limits<std::int32_t>::max())
      context_.error(*node, where, fmt::format("{} does not fit in 32 bits", *value));
    else
      pod_.priority = static_cast<std::int32_t>(*value);
  }

  void volumes(const Node& spec_node, const std::string& base) {
    const Node* list = spec_node.find("volumes");
    if (list == nullptr || list->kind == Node::Kind::null) return;
    if (!context_.expect(*list, Node::Kind::sequence, base)) return;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      const std::string where = fmt::format("{}/{}", base, i);
      if (!context_.expect(list->items[i], Node::Kind::mapping, where)) continue;
      const Node* empty_dir = object(list->items[i], "emptyDir", where);
      if (empty_dir == nullptr) continue;
      std::string medium;
      string_into(*empty_dir, "medium", where + "/emptyDir", medium);
      if (medium != "Memory") continue;
      MemoryVolume volume;
      string_into(list->items[i], "name", where, volume.name);
      const Node* limit = empty_dir->find("sizeLimit");
      if (limit != nullptr && limit->kind != Node::Kind::null)
        volume.size_limit = context_.quantity(*limit, where + "/emptyDir/sizeLimit");
      pod_.memory_volumes.push_back(std::move(volume));
    }
  }

  std::vector<Container> containers(const Node& spec_node, std::string_view name, bool init) {
    std::vector<Container> result;
    const std::string base = base_ + "/spec/" + std::string(name);
    const Node* list = spec_node.find(name);
    if (list == nullptr || list->kind == Node::Kind::null) return result;
    if (!context_.expect(*list, Node::Kind::sequence, base)) return result;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      const std::string where = fmt::format("{}/{}", base, i);
      if (context_.expect(list->items[i], Node::Kind::mapping, where))
        result.push_back(container(list->items[i], init, where));
    }
    return result;
  }

  Container container(const Node& node, bool init, const std::string& base) {
    Container result;
    result.pointer = base;
    context_.unknown_fields(node, container_fields, base);
    const Node* name = node.find("name");
    string_into(node, "name", base, result.name);
    if (name == nullptr)
      context_.error(node, base + "/name", "is missing");
    else if (name->kind == Node::Kind::string && !dns_name(result.name, 63, false))
      context_.error(*name, base + "/name",
                     fmt::format("\"{}\" is not a DNS label of a-z, 0-9 and -", result.name));
    else if (!result.name.empty() && !names_.insert(result.name).second)
      context_.error(*name, base + "/name",
                     fmt::format("another container is named \"{}\"", result.name));
    string_into(node, "image", base, result.image);
    string_into(node, "workingDir", base, result.working_dir);
    result.command = strings(node, "command", base);
    result.args = strings(node, "args", base);
    environment(node, base, result);
    restart_policy(node, init, base, result);
    resize_policy(node, base, result);
    if (const Node* resources = node.find("resources"))
      result.resources =
          read_resources(context_, *resources, Stanza::container, base + "/resources");
    return result;
  }

  void environment(const Node& node, const std::string& base, Container& result) {
    const Node* list = node.find("env");
    if (list == nullptr || list->kind == Node::Kind::null) return;
    if (!context_.expect(*list, Node::Kind::sequence, base + "/env")) return;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      const std::string where = fmt::format("{}/env/{}", base, i);
      const Node& item = list->items[i];
      if (!context_.expect(item, Node::Kind::mapping, where)) continue;
      EnvVar variable;
      string_into(item, "name", where, variable.name);
      string_into(item, "value", where, variable.value);
      if (variable.name.empty() || variable.name.find('=') != std::string::npos)
        context_.error(item, where + "/name", "has to be the name of a variable, without =");
      if (item.find("valueFrom") == nullptr) result.env.push_back(std::move(variable));
    }
  }

  void restart_policy(const Node& node, bool init, const std::string& base, Container& result) {
    const Node* policy = node.find("restartPolicy");
    if (policy == nullptr || policy->kind == Node::Kind::null) return;
    const auto text = context_.text(*policy, base + "/restartPolicy");
    if (!text) return;
    if (*text != "Always" && *text != "OnFailure" && *text != "Never")
      context_.error(*policy, base + "/restartPolicy",
                     fmt::format("\"{}\" is not Always, OnFailure or Never", *text));
    result.sidecar = init && *text == "Always";
  }

  void resize_policy(const Node& node, const std::string& base, Container& result) {
    const Node* list = node.find("resizePolicy");
    if (list == nullptr || list->kind == Node::Kind::null) return;
    if (!context_.expect(*list, Node::Kind::sequence, base + "/resizePolicy")) return;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      const std::string where = fmt::format("{}/resizePolicy/{}", base, i);
      const Node& item = list->items[i];
      if (!context_.expect(item, Node::Kind::mapping, where)) continue;
      std::string resource;
      std::string policy;
      string_into(item, "resourceName", where, resource);
      string_into(item, "restartPolicy", where, policy);
      if (resource != "cpu" && resource != "memory")
        context_.error(item, where + "/resourceName", "has to be cpu or memory");
      if (policy == "RestartContainer")
        result.restart_on_resize.push_back(resource);
      else if (policy != "NotRequired")
        context_.error(item, where + "/restartPolicy", "has to be NotRequired or RestartContainer");
    }
  }

  ReaderContext& context_;
  std::string base_;
  PodManifest pod_;
  std::set<std::string> names_;
};

}  // namespace

PodManifest read_pod(ReaderContext& context, const Node& document, const std::string& base) {
  return PodReader(context).read(document, base);
}

}  // namespace minirun::kubernetes
