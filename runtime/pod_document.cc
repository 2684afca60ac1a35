#include "runtime/pod_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/capabilities.h"
#include "spec/default_seccomp.h"
#include "spec/defaults.h"
#include "spec/kubernetes/plan_json.h"
#include "spec/load.h"

namespace minirun {
namespace {

using namespace kubernetes;  // NOLINT: this file is about nothing else
using json = nlohmann::ordered_json;

constexpr const char* default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

json seccomp_json(const Seccomp& profile) {
  json out = {{"defaultAction", profile.default_action}};
  if (profile.default_errno_ret) out["defaultErrnoRet"] = *profile.default_errno_ret;
  out["architectures"] = profile.architectures;
  if (profile.flags) out["flags"] = *profile.flags;
  out["syscalls"] = json::array();
  for (const SeccompSyscall& row : profile.syscalls) {
    json one = {{"names", row.names}, {"action", row.action}};
    if (row.errno_ret) one["errnoRet"] = *row.errno_ret;
    for (const SeccompArg& arg : row.args)
      one["args"].push_back({{"index", arg.index},
                             {"value", arg.value},
                             {"valueTwo", arg.value_two},
                             {"op", arg.op}});
    out["syscalls"].push_back(std::move(one));
  }
  return out;
}

std::uint64_t capability_bits(const SecurityContext& security) {
  std::uint64_t bits = default_capabilities;
  constexpr std::uint64_t all = (std::uint64_t{1} << capability_names.size()) - 1;
  const auto has_all = [](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), "ALL") != names.end();
  };
  if (has_all(security.drop)) bits = 0;
  for (const std::string& name : security.drop)
    if (const auto number = capability_from_name(name)) bits &= ~capability_bit(*number);
  if (has_all(security.add) || security.privileged.value_or(false)) bits = all;
  for (const std::string& name : security.add)
    if (const auto number = capability_from_name(name)) bits |= capability_bit(*number);
  return bits;
}

json capability_list(std::uint64_t bits) {
  json list = json::array();
  for (unsigned i = 0; i < capability_names.size(); ++i)
    if ((bits & capability_bit(i)) != 0) list.push_back(capability_name(i));
  return list;
}

class Writer {
 public:
  Writer(const PodPlan& plan, const PodRun& run, const Container& container,
         const ContainerRun& how, const ContainerPlan& limits, const PodPlaces& places,
         const std::string& id)
      : plan_(plan),
        run_(run),
        container_(container),
        how_(how),
        limits_(limits),
        places_(places),
        id_(id) {}

  Result<json> make() {
    document_ = json::parse(default_oci_config({}));
    document_.erase("hostname");  // the pod's UTS namespace has its name already
    TRY(process());
    document_["root"] = {{"path", "/"}, {"readonly", how_.security.read_only_root.value_or(false)}};
    mounts();
    linux_part();
    document_["annotations"] = {{"io.kubernetes.cri.container-name", container_.name},
                                {"io.kubernetes.cri.sandbox-name", plan_.pod.name},
                                {"io.kubernetes.cri.sandbox-namespace", plan_.pod.namespace_name},
                                {"io.kubernetes.cri.sandbox-uid", places_.uid}};
    return std::move(document_);
  }

 private:
  /// What the kubelet writes is nobody else's to write.
  [[nodiscard]] static bool is_data(const Volume& volume) {
    return volume.kind == Volume::Kind::config_map || volume.kind == Volume::Kind::secret;
  }
  [[nodiscard]] bool privileged() const { return how_.security.privileged.value_or(false); }

  Status process() {
    json& process = document_["process"];
    process["terminal"] = false;
    std::map<std::string, std::string> variables = {{"PATH", default_path},
                                                    {"HOSTNAME", places_.hostname}};
    for (const EnvRun& one : how_.env)
      variables[one.name] = one.pod_ip ? places_.address : expand_variables(one.value, variables);
    process["env"] = json::array();
    for (const auto& [name, value] : variables) process["env"].push_back(name + "=" + value);
    if (container_.command.empty())
      return plain_error(container_.pointer + "/command",
                         "is needed: a directory as image has no entrypoint of its own");
    process["args"] = json::array();
    for (const auto* words : {&container_.command, &container_.args})
      for (const std::string& word : *words)
        process["args"].push_back(expand_variables(word, variables));
    process["cwd"] = container_.working_dir.empty() ? "/" : container_.working_dir;
    TRY(identity(process));
    for (const char* set : {"bounding", "effective", "permitted"})
      process["capabilities"][set] = capability_list(capability_bits(how_.security));
    process["noNewPrivileges"] = !how_.security.allow_escalation.value_or(true);
    process["oomScoreAdj"] = limits_.cri.oom_score_adj;
    process.erase("rlimits");
    return {};
  }

  Status identity(json& process) {
    const SecurityContext& own = how_.security;
    const SecurityContext& pod = run_.security;
    const std::uint32_t uid = own.run_as_user.value_or(pod.run_as_user.value_or(0));
    process["user"] = {{"uid", uid},
                       {"gid", own.run_as_group.value_or(pod.run_as_group.value_or(0))}};
    json groups = json::array();
    for (const std::uint32_t group : pod.supplemental_groups) groups.push_back(group);
    if (pod.fs_group) groups.push_back(*pod.fs_group);
    if (!groups.empty()) process["user"]["additionalGids"] = groups;
    const bool must_not_be_root = own.run_as_non_root.value_or(pod.run_as_non_root.value_or(false));
    if (must_not_be_root && uid == 0)
      return plain_error(container_.pointer + "/securityContext",
                         "runAsNonRoot, but the container would run as root; set runAsUser");
    return {};
  }

  void bind(const std::string& source, const std::string& destination, bool read_only) {
    json options = {"rbind", "rprivate"};
    if (read_only) options.push_back("ro");
    document_["mounts"].push_back(
        {{"destination", destination}, {"type", "bind"}, {"source", source}, {"options", options}});
  }

  void mounts() {
    json& list = document_["mounts"];
    // All containers of a pod share it, as they share the sandbox's in Kubernetes.
    for (json& mount : list)
      if (mount["destination"] == "/dev/shm")
        mount = {{"destination", "/dev/shm"},
                 {"type", "bind"},
                 {"source", places_.directory + "/shm"},
                 {"options", {"bind", "nosuid", "noexec", "nodev"}}};
    if (privileged())
      for (json& mount : list) {
        json& options = mount["options"];
        if (mount["destination"] == "/sys" || mount["destination"] == "/sys/fs/cgroup")
          options.erase(std::remove(options.begin(), options.end(), "ro"), options.end());
      }
    if (!places_.network_files.empty())
      for (const char* name : {"hosts", "hostname", "resolv.conf"})
        bind(fmt::format("{}/{}", places_.network_files, name), fmt::format("/etc/{}", name), true);
    else if (!places_.directory.empty())
      bind(places_.directory + "/hosts", "/etc/hosts", false);
    for (const VolumeMount& mount : how_.mounts)
      for (const Volume& volume : run_.volumes) {
        if (volume.name != mount.volume) continue;
        std::string source = volume.kind == Volume::Kind::host_path
                                 ? volume.path
                                 : places_.directory + "/volumes/" + volume.name;
        if (!mount.sub_path.empty()) source += "/" + mount.sub_path;
        bind(source, mount.path, mount.read_only || is_data(volume));
      }
  }

  void linux_part() {
    json& part = document_["linux"];
    json resources = json::parse(oci_resources_json(limits_.oci));
    if (resources["hugepageLimits"].empty()) resources.erase("hugepageLimits");
    if (resources["memory"].empty()) resources.erase("memory");
    resources["devices"] = json::array({{{"allow", privileged()}, {"access", "rwm"}}});
    part["resources"] = std::move(resources);
    part["cgroupsPath"] = places_.cgroup + "/" + id_;
    part["namespaces"] =
        json::array({{{"type", "pid"}}, {{"type", "mount"}}, {{"type", "cgroup"}}});
    for (const auto& [type, path] :
         {std::pair{"network", &places_.network}, std::pair{"ipc", &places_.ipc},
          std::pair{"uts", &places_.uts}})
      if (!path->empty()) part["namespaces"].push_back({{"type", type}, {"path", *path}});
    if (privileged()) {
      part.erase("maskedPaths");
      part.erase("readonlyPaths");
      return;
    }
    const std::string& own = how_.security.seccomp;
    if ((own.empty() ? run_.security.seccomp : own) != "Unconfined")
      part["seccomp"] = seccomp_json(default_seccomp(capability_bits(how_.security)));
  }

  const PodPlan& plan_;
  const PodRun& run_;
  const Container& container_;
  const ContainerRun& how_;
  const ContainerPlan& limits_;
  const PodPlaces& places_;
  const std::string& id_;
  json document_;
};

void set_origins(const Container& container, const ContainerPlan& limits, ContainerSpec& spec) {
  const std::string base = container.pointer.empty() ? "" : container.pointer + "/resources/";
  struct Row {
    const char* oci;
    const char* field;
    const char* list;
    const char* name;
  };
  for (const Row& row : {Row{"cpu.shares", "requests/cpu", "requests", "cpu"},
                         Row{"cpu.quota", "limits/cpu", "limits", "cpu"},
                         Row{"memory.limit", "limits/memory", "limits", "memory"}}) {
    const auto formula = limits.formulas.find(row.oci);
    const ResourceList& list = std::string_view(row.list) == "limits"
                                   ? container.resources.limits
                                   : container.resources.requests;
    const Quantity* written = find(list, row.name);
    spec.origins[row.oci] = {base + row.field, written == nullptr ? "" : written->canonical(),
                             formula == limits.formulas.end() ? "" : formula->second};
  }
}

}  // namespace

std::string expand_variables(std::string_view text,
                             const std::map<std::string, std::string>& variables) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const std::size_t end = text[i + 1] == '(' ? text.find(')', i) : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += '$';
      continue;
    }
    const auto it = variables.find(std::string(text.substr(i + 2, end - i - 2)));
    if (it == variables.end())
      out += text.substr(i, end + 1 - i);
    else
      out += it->second;
    i = end;
  }
  return out;
}

std::string image_directory(const PodManifest& pod, const Container& container,
                            const std::map<std::string, std::string>& images) {
  for (const std::string& key : {"minirun/rootfs." + container.name, std::string("minirun/rootfs")})
    if (const auto it = pod.annotations.find(key); it != pod.annotations.end()) return it->second;
  for (const std::string& key : {container.image, container.name})
    if (const auto it = images.find(key); it != images.end()) return it->second;
  return "";
}

Result<PodContainerSpec> pod_container_spec(const PodPlan& plan, const PodRun& run,
                                            const Container& container, const ContainerRun& how,
                                            const ContainerPlan& limits, const PodPlaces& places,
                                            const std::string& id) {
  PodContainerSpec result;
  const std::string image = image_directory(plan.pod, container, places.images);
  json document = TRY(Writer(plan, run, container, how, limits, places, id).make());
  result.document = document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  LoadedSpec loaded = parse_spec(result.document, "/");
  result.findings = std::move(loaded.findings);
  result.spec = std::move(loaded.spec);
  result.spec.name = container.name;
  // OCI has no word for a layer that is thrown away: an image is never written to.
  result.spec.root.kind = Root::Kind::overlay;
  result.spec.root.path.clear();
  result.spec.root.lower = {image.empty() ? "/" : image};
  if (image.empty() && !how.security.privileged.value_or(false))
    for (const char* secret : {"/etc/shadow", "/etc/gshadow"})
      result.spec.masked_paths.emplace_back(secret);
  set_origins(container, limits, result.spec);
  return result;
}

}  // namespace minirun
