// Owns: volumes, mounts, environment, identity and policies of a Pod; and the list of what is not
// done. probe_reader.cc has the probes.
#include "spec/kubernetes/run_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/capabilities.h"
#include "spec/address.h"
#include "spec/kubernetes/env_reader.h"
#include "spec/kubernetes/probe_reader.h"
#include "spec/network_text.h"

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
  if (node->kind == Node::Kind::boolean) return ReaderContext::truth(*node);
  return !(node->kind == Node::Kind::sequence && node->items.empty());
}

class RunReader {
 public:
  RunReader(ReaderContext& context, const PodManifest& pod, const DataMaps& maps,
            const std::vector<std::string>& claims)
      : context_(context), pod_(pod), maps_(maps), claims_(claims) {}

  PodRun read(const Node& document, const std::string& base) {
    const Node* spec = document.find("spec");
    if (spec == nullptr || spec->kind != Node::Kind::mapping) return std::move(run_);
    const std::string at = base + "/spec";
    policies(*spec, at);
    if (const Node* security = context_.object(*spec, "securityContext", at))
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
    if (const Node* users = spec->find("hostUsers");
        users != nullptr && users->kind == Node::Kind::boolean && !is_set(users))
      unsupported(Level::error, *users, at + "/hostUsers",
                  "is not supported: pods run without a user namespace");
    return std::move(run_);
  }

 private:
  void unsupported(Level level, const Node& node, const std::string& where, std::string message) {
    run_.unsupported.push_back({level, where, std::move(message), node.at.line, node.at.column});
  }

  void policies(const Node& spec, const std::string& at) {
    const std::string policy = context_.word(spec, "restartPolicy", at);
    if (policy == "Never")
      run_.restart = PodRun::Restart::never;
    else if (policy == "OnFailure")
      run_.restart = PodRun::Restart::on_failure;
    else if (!policy.empty() && policy != "Always")
      context_.error(*spec.find("restartPolicy"), at + "/restartPolicy",
                     fmt::format("\"{}\" is not Always, OnFailure or Never", policy));
    if (const auto grace = context_.number(spec, "terminationGracePeriodSeconds", at, 0, 1 << 20))
      run_.grace_seconds = static_cast<int>(*grace);
    if (const auto limit = context_.number(spec, "activeDeadlineSeconds", at, 1, INT32_MAX))
      run_.deadline_seconds = static_cast<int>(*limit);
    run_.host_network = context_.boolean(spec, "hostNetwork", at).value_or(false);
    run_.hostname = context_.word(spec, "hostname", at);
    const Node* aliases = context_.list(spec, "hostAliases", at);
    for (std::size_t i = 0; aliases != nullptr && i < aliases->items.size(); ++i) {
      const std::string where = fmt::format("{}/hostAliases/{}", at, i);
      const Node& alias = aliases->items[i];
      if (!context_.expect(alias, Node::Kind::mapping, where)) continue;
      std::vector<std::string> names;
      if (const Node* hostnames = context_.list(alias, "hostnames", where))
        for (const Node& name : hostnames->items)
          if (auto word = context_.text(name, where + "/hostnames")) {
            if (!is_host_name(*word))
              context_.error(name, where + "/hostnames",
                             fmt::format("\"{}\" is not the name of a host", *word));
            names.push_back(*word);
          }
      const std::string ip = context_.word(alias, "ip", where);
      if (!Address::parse(ip))
        context_.error(alias, where + "/ip", fmt::format("\"{}\" is not an IP address", ip));
      run_.host_aliases.emplace_back(ip, std::move(names));
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
    if (const auto id = context_.number(node, "runAsUser", at, 0, highest))
      out.run_as_user = static_cast<std::uint32_t>(*id);
    if (const auto id = context_.number(node, "runAsGroup", at, 0, highest))
      out.run_as_group = static_cast<std::uint32_t>(*id);
    if (const auto id = context_.number(node, "fsGroup", at, 0, highest))
      out.fs_group = static_cast<std::uint32_t>(*id);
    out.run_as_non_root = context_.boolean(node, "runAsNonRoot", at);
    out.read_only_root = context_.boolean(node, "readOnlyRootFilesystem", at);
    out.allow_escalation = context_.boolean(node, "allowPrivilegeEscalation", at);
    out.privileged = context_.boolean(node, "privileged", at);
    const Node* groups = context_.list(node, "supplementalGroups", at);
    for (std::size_t i = 0; groups != nullptr && i < groups->items.size(); ++i) {
      const std::string where = fmt::format("{}/supplementalGroups/{}", at, i);
      const auto id = context_.integer(groups->items[i], where);
      if (id && (*id < 0 || *id > highest))
        context_.error(groups->items[i], where, fmt::format("{} is no group id", *id));
      else if (id)
        out.supplemental_groups.push_back(static_cast<std::uint32_t>(*id));
    }
    if (const Node* capabilities = context_.object(node, "capabilities", at)) {
      out.add = capability_names_of(*capabilities, "add", at + "/capabilities");
      out.drop = capability_names_of(*capabilities, "drop", at + "/capabilities");
    }
    if (const Node* profile = context_.object(node, "seccompProfile", at)) {
      out.seccomp = context_.word(*profile, "type", at + "/seccompProfile");
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
    const Node* words = context_.list(node, name, at);
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
    out.name = context_.word(node, "name", at);
    // A directory of this name is made for it.
    if (out.name.empty() || out.name.size() > 63 ||
        out.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos)
      context_.error(node, at + "/name",
                     fmt::format("\"{}\" is not a DNS label of a-z, 0-9 and -", out.name));
    if (!volume_names_.insert(out.name).second)
      context_.error(node, at + "/name", fmt::format("another volume is named \"{}\"", out.name));
    if (const Node* empty = node.find("emptyDir")) {
      if (empty->kind == Node::Kind::mapping) {
        const std::string medium = context_.word(*empty, "medium", at + "/emptyDir");
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
    } else if (const Node* host = context_.object(node, "hostPath", at)) {
      out.kind = Volume::Kind::host_path;
      out.path = context_.word(*host, "path", at + "/hostPath");
      out.type = context_.word(*host, "type", at + "/hostPath");
      if (!out.path.starts_with('/'))
        context_.error(*host, at + "/hostPath/path",
                       fmt::format("\"{}\" is not an absolute path", out.path));
    } else if (const Node* map = context_.object(node, "configMap", at)) {
      out.kind = Volume::Kind::config_map;
      data_files(*map, DataMaps::Kind::config_map, "name", at + "/configMap", out);
    } else if (const Node* secret = context_.object(node, "secret", at)) {
      out.kind = Volume::Kind::secret;
      data_files(*secret, DataMaps::Kind::secret, "secretName", at + "/secret", out);
    } else if (out.name.starts_with("kube-api-access-") && node.find("projected") != nullptr) {
      // What the API server puts into every pod: `kubectl get -o yaml` has it.
      unsupported(Level::warning, node, at, "is empty here: there is no API server to talk to");
    } else {
      const std::string kind = node.fields.size() > 1 ? node.fields.back().name : "(none)";
      unsupported(Level::error, node, at,
                  fmt::format("a volume of {} is not supported, only emptyDir, hostPath, "
                              "configMap and secret",
                              kind));
    }
    run_.volumes.push_back(std::move(out));
  }

  void data_files(const Node& node, DataMaps::Kind kind, const char* name_field,
                  const std::string& at, Volume& out) {
    const std::string name = context_.word(node, name_field, at);
    if (const auto mode = context_.number(node, "defaultMode", at, 0, 0777))
      out.mode = static_cast<std::uint32_t>(*mode);
    const DataMaps::Data* map = maps_.find(kind, name);
    if (map == nullptr) {
      if (!context_.boolean(node, "optional", at).value_or(false))
        unsupported(Level::error, node, fmt::format("{}/{}", at, name_field),
                    fmt::format("the {} \"{}\" is not in this file", DataMaps::name(kind), name));
      return;
    }
    const Node* items = context_.list(node, "items", at);
    if (items == nullptr) {
      for (const auto& [key, content] : *map) put_file(node, at, key, content, out);
      return;
    }
    for (std::size_t i = 0; i < items->items.size(); ++i) {
      const std::string where = fmt::format("{}/items/{}", at, i);
      if (!context_.expect(items->items[i], Node::Kind::mapping, where)) continue;
      const std::string key = context_.word(items->items[i], "key", where);
      if (const auto found = map->find(key); found == map->end())
        context_.error(items->items[i], where + "/key",
                       fmt::format("the {} \"{}\" has no \"{}\"", DataMaps::name(kind), name, key));
      else
        put_file(items->items[i], where, context_.word(items->items[i], "path", where),
                 found->second, out);
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
    out.env = EnvReader(context_, run_.unsupported, pod_, maps_).read(node, at);
    host_ports(node, at, out);
    const Node* mounts = context_.list(node, "volumeMounts", at);
    for (std::size_t i = 0; mounts != nullptr && i < mounts->items.size(); ++i)
      if (context_.expect(mounts->items[i], Node::Kind::mapping, at + "/volumeMounts"))
        mount(mounts->items[i], fmt::format("{}/volumeMounts/{}", at, i), out);
    if (const Node* security = context_.object(node, "securityContext", at))
      out.security = security_context(*security, at + "/securityContext", false);
    ProbeReader probes{context_, run_.unsupported, node};
    out.liveness = probes.read("livenessProbe", at);
    out.readiness = probes.read("readinessProbe", at);
    out.startup = probes.read("startupProbe", at);
    if (const Node* lifecycle = context_.object(node, "lifecycle", at)) {
      out.post_start = probes.hook(*lifecycle, "postStart", at + "/lifecycle");
      out.pre_stop = probes.hook(*lifecycle, "preStop", at + "/lifecycle");
      if (const Node* signal = lifecycle->find("stopSignal"); is_set(signal))
        unsupported(Level::error, *signal, at + "/lifecycle/stopSignal", "is not supported");
    }
    for (const char* name : {"volumeDevices", "restartPolicyRules"})
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

  /// Only in volumes that no container can write to: in others a link could lead out of them
  /// (CVE-2017-1002101).
  void sub_path(const Node& node, const std::string& at, VolumeMount& mount) {
    mount.sub_path = context_.text(node, at + "/subPath").value_or("");
    for (const Volume& volume : run_.volumes) {
      if (volume.name != mount.volume) continue;
      const bool files =
          volume.kind == Volume::Kind::config_map || volume.kind == Volume::Kind::secret;
      if (!files)
        unsupported(Level::error, node, at + "/subPath",
                    "is supported for volumes of a ConfigMap or a Secret only");
      else if (!volume.files.contains(mount.sub_path))
        context_.error(
            node, at + "/subPath",
            fmt::format("the volume \"{}\" has no file \"{}\"", volume.name, mount.sub_path));
    }
  }

  void host_ports(const Node& node, const std::string& at, ContainerRun& out) {
    const Node* ports = context_.list(node, "ports", at);
    for (std::size_t i = 0; ports != nullptr && i < ports->items.size(); ++i) {
      const Node& item = ports->items[i];
      const std::string where = fmt::format("{}/ports/{}", at, i);
      if (!context_.expect(item, Node::Kind::mapping, where)) continue;
      const auto inside = context_.number(item, "containerPort", where, 1, 65535);
      const auto outside = context_.number(item, "hostPort", where, 1, 65535);
      const std::string protocol = context_.word(item, "protocol", where);
      if (!protocol.empty() && protocol != "TCP" && protocol != "UDP" && protocol != "SCTP")
        context_.error(item, where + "/protocol",
                       fmt::format("\"{}\" is not TCP, UDP or SCTP", protocol));
      if (!inside || !outside) continue;
      if (protocol == "SCTP") {
        unsupported(Level::error, item, where + "/hostPort", "is not supported for SCTP");
        continue;
      }
      out.host_ports.push_back({context_.word(item, "hostIP", where),
                                static_cast<std::uint16_t>(*outside),
                                static_cast<std::uint16_t>(*inside), protocol == "UDP",
                                where + "/hostPort", item.at.line, item.at.column});
    }
  }

  void mount(const Node& node, const std::string& at, ContainerRun& out) {
    VolumeMount mount;
    mount.volume = context_.word(node, "name", at);
    mount.path = context_.word(node, "mountPath", at);
    mount.read_only = context_.boolean(node, "readOnly", at).value_or(false);
    if (std::ranges::find(claims_, mount.volume) != claims_.end())
      unsupported(Level::error, node, at + "/name",
                  fmt::format("the volume \"{}\" is of volumeClaimTemplates, which are not "
                              "supported",
                              mount.volume));
    else if (!volume_names_.contains(mount.volume))
      context_.error(node, at + "/name", fmt::format("no volume is named \"{}\"", mount.volume));
    if (!mount.path.starts_with('/'))
      context_.error(node, at + "/mountPath",
                     fmt::format("\"{}\" is not an absolute path", mount.path));
    if (const Node* path = node.find("subPath"); is_set(path)) sub_path(*path, at, mount);
    for (const char* name : {"subPathExpr", "mountPropagation", "recursiveReadOnly"})
      if (const Node* field = node.find(name); is_set(field))
        unsupported(Level::error, *field, at + "/" + name, "is not supported");
    out.mounts.push_back(std::move(mount));
  }

  ReaderContext& context_;
  const PodManifest& pod_;
  const DataMaps& maps_;
  const std::vector<std::string>& claims_;
  PodRun run_;
  std::set<std::string> volume_names_;
};

}  // namespace

PodRun read_pod_run(ReaderContext& context, const Node& document, const std::string& base,
                    const PodManifest& pod, const DataMaps& maps,
                    const std::vector<std::string>& claims) {
  return RunReader(context, pod, maps, claims).read(document, base);
}

}  // namespace minirun::kubernetes
