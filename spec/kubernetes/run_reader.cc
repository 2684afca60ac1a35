// Owns: volumes, mounts, environment, identity and policies of a Pod; and the list of what is not
// done. probe_reader.cc has the probes.
#include "spec/kubernetes/run_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/capabilities.h"
#include "spec/kubernetes/probe_reader.h"

namespace minirun::kubernetes {
namespace {

using Level = Finding::Level;

/// Properties that change nothing that a program of this pod could see here.
constexpr std::array without_effect = {
    "nodeSelector",       "affinity",         "tolerations",
    "schedulerName",      "imagePullSecrets", "topologySpreadConstraints",
    "schedulingGates",    "readinessGates",   "preemptionPolicy",
    "runtimeClassName",   "nodeName",         "enableServiceLinks",
    "serviceAccountName", "serviceAccount",   "dnsPolicy",
    "dnsConfig",          "resourceClaims",   "workloadRef",
    "subdomain",          "setHostnameAsFQDN"};
/// Properties without which the pod would be another one.
constexpr std::array refused = {"hostPID", "hostIPC", "shareProcessNamespace",
                                "ephemeralContainers"};

bool is_set(const Node* node) {
  if (node == nullptr || node->kind == Node::Kind::null) return false;
  if (node->kind == Node::Kind::boolean) return node->text == "true" || node->text == "yes";
  return !(node->kind == Node::Kind::sequence && node->items.empty());
}

class RunReader {
 public:
  RunReader(ReaderContext& context, const PodManifest& pod, const ConfigMaps& maps)
      : context_(context), pod_(pod), maps_(maps) {}

  PodRun read(const Node& document, const std::string& base) {
    const Node* spec = document.find("spec");
    if (spec == nullptr || spec->kind != Node::Kind::mapping) return std::move(run_);
    const std::string at = base + "/spec";
    policies(*spec, at);
    if (const Node* security = object(*spec, "securityContext", at))
      run_.security = security_context(*security, at + "/securityContext", true);
    volumes(*spec, at + "/volumes");
    run_.init_containers = containers(*spec, at, "initContainers");
    run_.containers = containers(*spec, at, "containers");
    for (const char* name : without_effect)
      if (const Node* node = spec->find(name); is_set(node))
        unsupported(Level::warning, *node, at + "/" + name, "has no effect here");
    for (const char* name : refused)
      if (const Node* node = spec->find(name); is_set(node))
        unsupported(Level::error, *node, at + "/" + name, "is not supported");
    if (const Node* users = spec->find("hostUsers"); users != nullptr && users->text == "false")
      unsupported(Level::error, *users, at + "/hostUsers",
                  "is not supported: pods run without a user namespace");
    return std::move(run_);
  }

 private:
  void unsupported(Level level, const Node& node, const std::string& where, std::string message) {
    run_.unsupported.push_back({level, where, std::move(message), node.at.line, node.at.column});
  }

  const Node* object(const Node& parent, std::string_view name, const std::string& base) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return nullptr;
    const bool fits = context_.expect(*node, Node::Kind::mapping, base + "/" + std::string(name));
    return fits ? node : nullptr;
  }
  const Node* list(const Node& parent, std::string_view name, const std::string& base) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return nullptr;
    const bool fits = context_.expect(*node, Node::Kind::sequence, base + "/" + std::string(name));
    return fits ? node : nullptr;
  }
  std::string text(const Node& parent, std::string_view name, const std::string& base) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return "";
    return context_.text(*node, base + "/" + std::string(name)).value_or("");
  }
  std::optional<bool> boolean(const Node& parent, std::string_view name, const std::string& base) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return std::nullopt;
    if (!context_.expect(*node, Node::Kind::boolean, base + "/" + std::string(name)))
      return std::nullopt;
    return is_set(node);
  }
  std::optional<std::int64_t> number(const Node& parent, std::string_view name,
                                     const std::string& base, std::int64_t low, std::int64_t high) {
    const Node* node = parent.find(name);
    if (node == nullptr || node->kind == Node::Kind::null) return std::nullopt;
    const std::string where = base + "/" + std::string(name);
    const auto value = context_.integer(*node, where);
    if (!value) return std::nullopt;
    if (*value >= low && *value <= high) return value;
    context_.error(*node, where, fmt::format("{} is not within {} to {}", *value, low, high));
    return std::nullopt;
  }

  void policies(const Node& spec, const std::string& at) {
    const std::string policy = text(spec, "restartPolicy", at);
    if (policy == "Never")
      run_.restart = PodRun::Restart::never;
    else if (policy == "OnFailure")
      run_.restart = PodRun::Restart::on_failure;
    else if (!policy.empty() && policy != "Always")
      context_.error(*spec.find("restartPolicy"), at + "/restartPolicy",
                     fmt::format("\"{}\" is not Always, OnFailure or Never", policy));
    if (const auto grace = number(spec, "terminationGracePeriodSeconds", at, 0, 1 << 20))
      run_.grace_seconds = static_cast<int>(*grace);
    if (const auto limit = number(spec, "activeDeadlineSeconds", at, 1, INT32_MAX))
      run_.deadline_seconds = static_cast<int>(*limit);
    run_.host_network = boolean(spec, "hostNetwork", at).value_or(false);
    run_.hostname = text(spec, "hostname", at);
    const Node* aliases = list(spec, "hostAliases", at);
    for (std::size_t i = 0; aliases != nullptr && i < aliases->items.size(); ++i) {
      const std::string where = fmt::format("{}/hostAliases/{}", at, i);
      if (!context_.expect(aliases->items[i], Node::Kind::mapping, where)) continue;
      std::vector<std::string> names;
      if (const Node* hostnames = list(aliases->items[i], "hostnames", where))
        for (const Node& name : hostnames->items)
          if (auto word = context_.text(name, where + "/hostnames")) names.push_back(*word);
      run_.host_aliases.emplace_back(text(aliases->items[i], "ip", where), std::move(names));
    }
  }

  SecurityContext security_context(const Node& node, const std::string& at, bool of_pod) {
    static constexpr std::array<std::string_view, 8> pod_names = {
        "runAsUser", "runAsGroup",     "runAsNonRoot",       "fsGroup",
        "sysctls",   "seccompProfile", "supplementalGroups", "fsGroupChangePolicy"};
    static constexpr std::array<std::string_view, 8> names = {"runAsUser",
                                                              "runAsGroup",
                                                              "runAsNonRoot",
                                                              "readOnlyRootFilesystem",
                                                              "capabilities",
                                                              "privileged",
                                                              "allowPrivilegeEscalation",
                                                              "seccompProfile"};
    SecurityContext out;
    constexpr std::int64_t highest = UINT32_MAX - 1;
    if (const auto id = number(node, "runAsUser", at, 0, highest))
      out.run_as_user = static_cast<std::uint32_t>(*id);
    if (const auto id = number(node, "runAsGroup", at, 0, highest))
      out.run_as_group = static_cast<std::uint32_t>(*id);
    if (const auto id = number(node, "fsGroup", at, 0, highest))
      out.fs_group = static_cast<std::uint32_t>(*id);
    out.run_as_non_root = boolean(node, "runAsNonRoot", at);
    out.read_only_root = boolean(node, "readOnlyRootFilesystem", at);
    out.allow_escalation = boolean(node, "allowPrivilegeEscalation", at);
    out.privileged = boolean(node, "privileged", at);
    if (const Node* groups = list(node, "supplementalGroups", at))
      for (const Node& group : groups->items)
        if (const auto id = context_.integer(group, at + "/supplementalGroups"))
          out.supplemental_groups.push_back(static_cast<std::uint32_t>(*id));
    if (const Node* capabilities = object(node, "capabilities", at)) {
      out.add = capability_names_of(*capabilities, "add", at + "/capabilities");
      out.drop = capability_names_of(*capabilities, "drop", at + "/capabilities");
    }
    if (const Node* profile = object(node, "seccompProfile", at)) {
      out.seccomp = text(*profile, "type", at + "/seccompProfile");
      if (out.seccomp != "RuntimeDefault" && out.seccomp != "Unconfined")
        unsupported(Level::error, *profile, at + "/seccompProfile/type",
                    fmt::format("\"{}\" is not supported, only RuntimeDefault and Unconfined",
                                out.seccomp));
    }
    const auto known = of_pod ? std::span(pod_names) : std::span(names);
    for (const Node::Field& field : node.fields)
      if (std::find(known.begin(), known.end(), field.name) == known.end() ||
          field.name == "sysctls" || field.name == "fsGroupChangePolicy")
        unsupported(Level::error, field.value, at + "/" + pointer_token(field.name),
                    "is not supported");
    return out;
  }

  std::vector<std::string> capability_names_of(const Node& node, const char* name,
                                               const std::string& at) {
    std::vector<std::string> out;
    const Node* words = list(node, name, at);
    for (std::size_t i = 0; words != nullptr && i < words->items.size(); ++i) {
      const std::string where = fmt::format("{}/{}/{}", at, name, i);
      const auto word = context_.text(words->items[i], where);
      if (!word) continue;
      if (*word != "ALL" && !capability_from_name(*word))
        context_.error(words->items[i], where, fmt::format("\"{}\" is no capability", *word));
      out.push_back(*word);
    }
    return out;
  }

  // ---- volumes

  void volumes(const Node& spec, const std::string& base) {
    const Node* node = spec.find("volumes");
    if (node == nullptr || node->kind != Node::Kind::sequence) return;
    for (std::size_t i = 0; i < node->items.size(); ++i)
      if (node->items[i].kind == Node::Kind::mapping)
        volume(node->items[i], fmt::format("{}/{}", base, i));
  }

  void volume(const Node& node, const std::string& at) {
    Volume out;
    out.name = text(node, "name", at);
    // A directory of this name is made for it.
    if (out.name.empty() || out.name.size() > 63 ||
        out.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos)
      context_.error(node, at + "/name",
                     fmt::format("\"{}\" is not a DNS label of a-z, 0-9 and -", out.name));
    if (!volume_names_.insert(out.name).second)
      context_.error(node, at + "/name", fmt::format("another volume is named \"{}\"", out.name));
    if (const Node* empty = node.find("emptyDir")) {
      if (empty->kind == Node::Kind::mapping) {
        const std::string medium = text(*empty, "medium", at + "/emptyDir");
        if (medium == "Memory")
          out.kind = Volume::Kind::memory;
        else if (!medium.empty())
          unsupported(Level::error, *empty, at + "/emptyDir/medium",
                      fmt::format("\"{}\" is not supported, only Memory", medium));
        if (const Node* size = empty->find("sizeLimit");
            size != nullptr && size->kind != Node::Kind::null) {
          out.size_limit = context_.quantity(*size, at + "/emptyDir/sizeLimit");
          if (out.kind == Volume::Kind::empty_dir)
            unsupported(Level::warning, *size, at + "/emptyDir/sizeLimit",
                        "has no effect without medium Memory: the kubelet measures and evicts");
        }
      }
    } else if (const Node* host = object(node, "hostPath", at)) {
      out.kind = Volume::Kind::host_path;
      out.path = text(*host, "path", at + "/hostPath");
      out.type = text(*host, "type", at + "/hostPath");
      if (!out.path.starts_with('/'))
        context_.error(*host, at + "/hostPath/path",
                       fmt::format("\"{}\" is not an absolute path", out.path));
    } else if (const Node* map = object(node, "configMap", at)) {
      out.kind = Volume::Kind::config_map;
      config_map(*map, at + "/configMap", out);
    } else {
      const std::string kind = node.fields.size() > 1 ? node.fields.back().name : "(none)";
      unsupported(Level::error, node, at,
                  fmt::format("a volume of {} is not supported, only emptyDir, hostPath and "
                              "configMap",
                              kind));
    }
    run_.volumes.push_back(std::move(out));
  }

  void config_map(const Node& node, const std::string& at, Volume& out) {
    const std::string name = text(node, "name", at);
    if (const auto mode = number(node, "defaultMode", at, 0, 0777))
      out.mode = static_cast<std::uint32_t>(*mode);
    const auto map = maps_.find(name);
    if (map == maps_.end()) {
      if (!boolean(node, "optional", at).value_or(false))
        unsupported(Level::error, node, at + "/name",
                    fmt::format("the ConfigMap \"{}\" is not in this file", name));
      return;
    }
    const Node* items = list(node, "items", at);
    if (items == nullptr) {
      for (const auto& [key, content] : map->second) put_file(node, at, key, content, out);
      return;
    }
    for (std::size_t i = 0; i < items->items.size(); ++i) {
      const std::string where = fmt::format("{}/items/{}", at, i);
      if (!context_.expect(items->items[i], Node::Kind::mapping, where)) continue;
      const std::string key = text(items->items[i], "key", where);
      if (const auto found = map->second.find(key); found == map->second.end())
        context_.error(items->items[i], where + "/key",
                       fmt::format("the ConfigMap \"{}\" has no \"{}\"", name, key));
      else
        put_file(items->items[i], where, text(items->items[i], "path", where), found->second, out);
    }
  }

  void put_file(const Node& node, const std::string& at, const std::string& path,
                const std::string& content, Volume& out) {
    if (path.empty() || path.size() > 253 || path == "." || path == ".." ||
        path.find('/') != std::string::npos)
      context_.error(node, at + "/path", fmt::format("\"{}\" is not a file name", path));
    else
      out.files[path] = content;
  }

  // ---- containers

  std::vector<ContainerRun> containers(const Node& spec, const std::string& base,
                                       const char* name) {
    std::vector<ContainerRun> out;
    const Node* node = spec.find(name);
    if (node == nullptr || node->kind != Node::Kind::sequence) return out;
    for (std::size_t i = 0; i < node->items.size(); ++i)
      if (node->items[i].kind == Node::Kind::mapping)
        out.push_back(container(node->items[i], fmt::format("{}/{}/{}", base, name, i)));
    return out;
  }

  ContainerRun container(const Node& node, const std::string& at) {
    ContainerRun out;
    if (const Node* name = node.find("name")) out.name = name->text;
    environment(node, at, out);
    const Node* mounts = list(node, "volumeMounts", at);
    for (std::size_t i = 0; mounts != nullptr && i < mounts->items.size(); ++i)
      if (context_.expect(mounts->items[i], Node::Kind::mapping, at + "/volumeMounts"))
        mount(mounts->items[i], fmt::format("{}/volumeMounts/{}", at, i), out);
    if (const Node* security = object(node, "securityContext", at))
      out.security = security_context(*security, at + "/securityContext", false);
    ProbeReader probes{context_, run_.unsupported, node};
    out.liveness = probes.read("livenessProbe", at);
    out.readiness = probes.read("readinessProbe", at);
    out.startup = probes.read("startupProbe", at);
    for (const char* name : {"lifecycle", "volumeDevices", "restartPolicyRules"})
      if (const Node* field = node.find(name); is_set(field))
        unsupported(Level::error, *field, at + "/" + name, "is not supported");
    for (const char* name : {"tty", "stdin", "stdinOnce"})
      if (const Node* field = node.find(name); is_set(field))
        unsupported(Level::warning, *field, at + "/" + name,
                    "has no effect: the containers of a pod have no standard input");
    for (const char* name : {"terminationMessagePath", "terminationMessagePolicy"})
      if (const Node* field = node.find(name); is_set(field))
        unsupported(Level::warning, *field, at + "/" + name, "has no effect here");
    return out;
  }

  void mount(const Node& node, const std::string& at, ContainerRun& out) {
    VolumeMount mount;
    mount.volume = text(node, "name", at);
    mount.path = text(node, "mountPath", at);
    mount.read_only = boolean(node, "readOnly", at).value_or(false);
    if (!volume_names_.contains(mount.volume))
      context_.error(node, at + "/name", fmt::format("no volume is named \"{}\"", mount.volume));
    if (!mount.path.starts_with('/'))
      context_.error(node, at + "/mountPath",
                     fmt::format("\"{}\" is not an absolute path", mount.path));
    for (const char* name : {"subPath", "subPathExpr", "mountPropagation", "recursiveReadOnly"})
      if (const Node* field = node.find(name); is_set(field))
        unsupported(Level::error, *field, at + "/" + name, "is not supported");
    out.mounts.push_back(std::move(mount));
  }

  void environment(const Node& node, const std::string& at, ContainerRun& out) {
    const Node* from = node.find("envFrom");
    if (from != nullptr && from->kind == Node::Kind::sequence)
      for (std::size_t i = 0; i < from->items.size(); ++i)
        env_from(from->items[i], fmt::format("{}/envFrom/{}", at, i), out);
    const Node* env = node.find("env");
    if (env == nullptr || env->kind != Node::Kind::sequence) return;
    for (std::size_t i = 0; i < env->items.size(); ++i) {
      const Node& item = env->items[i];
      const std::string where = fmt::format("{}/env/{}", at, i);
      if (item.kind != Node::Kind::mapping) continue;
      const Node* name = item.find("name");
      const Node* value = item.find("value");
      if (name == nullptr) continue;
      if (const Node* source = item.find("valueFrom")) {
        if (auto text = value_from(*source, where + "/valueFrom"))
          out.env.emplace_back(name->text, *text);
      } else {
        out.env.emplace_back(name->text, value == nullptr ? "" : value->text);
      }
    }
  }

  void env_from(const Node& node, const std::string& at, ContainerRun& out) {
    const Node* reference = node.kind == Node::Kind::mapping ? node.find("configMapRef") : nullptr;
    const auto map = reference == nullptr || reference->kind != Node::Kind::mapping
                         ? maps_.end()
                         : maps_.find(text(*reference, "name", at + "/configMapRef"));
    if (map == maps_.end()) {
      unsupported(Level::error, node, at, "names no ConfigMap of this file");
      return;
    }
    for (const auto& [key, content] : map->second)
      out.env.emplace_back(text(node, "prefix", at) + key, content);
  }

  std::optional<std::string> value_from(const Node& node, const std::string& at) {
    if (node.kind != Node::Kind::mapping) return std::nullopt;
    if (const Node* key = node.find("configMapKeyRef"); key != nullptr) {
      const auto map = maps_.find(text(*key, "name", at + "/configMapKeyRef"));
      if (map != maps_.end())
        if (const auto it = map->second.find(text(*key, "key", at + "/configMapKeyRef"));
            it != map->second.end())
          return it->second;
      unsupported(Level::error, *key, at + "/configMapKeyRef", "is not in this file");
      return std::nullopt;
    }
    if (const Node* field = node.find("fieldRef"); field != nullptr) {
      const std::string path = text(*field, "fieldPath", at + "/fieldRef");
      if (path == "metadata.name") return pod_.name;
      if (path == "metadata.namespace") return pod_.namespace_name;
      if (path == "metadata.uid" && !pod_.uid.empty()) return pod_.uid;
      if (path == "status.podIP") return "127.0.0.1";
      unsupported(Level::error, *field, at + "/fieldRef/fieldPath",
                  fmt::format("\"{}\" is not supported, only metadata.name, .namespace and .uid "
                              "and status.podIP",
                              path));
      return std::nullopt;
    }
    unsupported(Level::error, node, at, "is not supported, only configMapKeyRef and fieldRef");
    return std::nullopt;
  }

  ReaderContext& context_;
  const PodManifest& pod_;
  const ConfigMaps& maps_;
  PodRun run_;
  std::set<std::string> volume_names_;
};

}  // namespace

PodRun read_pod_run(ReaderContext& context, const Node& document, const std::string& base,
                    const PodManifest& pod, const ConfigMaps& maps) {
  return RunReader(context, pod, maps).read(document, base);
}

}  // namespace minirun::kubernetes
