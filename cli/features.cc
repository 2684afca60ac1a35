// Owns: `minirun features`: the features structure of the OCI specification 1.3 (features.md).
// Must not: claim anything from memory: lists come from the tables that the readers use, and
// whether a field can be used is asked of the planner.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/capabilities.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/version.h"
#include "runtime/plan.h"
#include "security/seccomp.h"
#include "spec/mount_options.h"
#include "spec/words.h"

namespace minirun::cli {
namespace {

using json = nlohmann::ordered_json;

template <class Rows, class Project>
json names_of(const Rows& rows, Project project) {
  json names = json::array();
  for (const auto& row : rows) names.push_back(std::invoke(project, row));
  return names;
}

/// Whether the planner takes `spec`, as far as this version's abilities go.
bool supported(const ContainerSpec& spec, const SeccompProgram* program) {
  HostFacts facts;
  facts.kernel_major = 6;
  facts.kernel_minor = 18;
  LaunchOptions options;
  options.id = "features";
  const LaunchPlan plan = plan_launch(spec, facts, options, program);
  return std::ranges::none_of(plan.findings, [](const Finding& finding) {
    return finding.message.find("not supported by this version") != std::string::npos;
  });
}

ContainerSpec plain_spec() {
  ContainerSpec spec;
  spec.process.emplace().args = {"true"};
  spec.root.path = "/rootfs";
  spec.namespaces = {{NamespaceType::mount, ""}};
  return spec;
}

bool supports(void (*ask)(ContainerSpec&)) {
  ContainerSpec spec = plain_spec();
  ask(spec);
  return supported(spec, nullptr);
}

bool supports_idmap() {
  return supports([](ContainerSpec& spec) {
    Mount mount;
    mount.destination = "/mnt";
    mount.source = "/mnt";
    mount.type = "bind";
    mount.options.bind = mount.options.idmap = true;
    mount.uid_mappings = mount.gid_mappings = {{0, 1000, 1}};
    spec.mounts.push_back(mount);
  });
}

bool supports_notify() {
  SeccompProgram program;
  program.notify = true;
  program.filter = {0};
  ContainerSpec spec = plain_spec();
  spec.seccomp.emplace().listener_path = "/run/agent.sock";
  return supported(spec, &program);
}

json seccomp() {
  json actions = json::array();
  const bool notify = supports_notify();
  for (const std::string_view action : seccomp_actions)
    if (action != "SCMP_ACT_NOTIFY" || notify) actions.push_back(action);
  return {{"enabled", true},
          {"actions", actions},
          {"operators", seccomp_operators},
          {"archs", seccomp_architectures},
          {"knownFlags", seccomp_flags},
          {"supportedFlags", seccomp_flags}};
}

json linux() {
  const bool rdt = supports([](ContainerSpec& spec) { spec.intel_rdt.emplace().clos_id = "x"; });
  const bool policy = supports([](ContainerSpec& spec) { spec.memory_policy.emplace(); });
  const bool apparmor = supports([](ContainerSpec& spec) { spec.process->apparmor_profile = "x"; });
  const bool selinux = supports([](ContainerSpec& spec) { spec.process->selinux_label = "x"; });
  const bool devices = supports([](ContainerSpec& spec) { spec.net_devices["a"] = "b"; });
  json object = {
      {"namespaces", names_of(namespace_words, &Word<NamespaceType>::name)},
      {"capabilities", capability_names},
      {"cgroup",
       {{"v1", false}, {"v2", true}, {"systemd", true}, {"systemdUser", true}, {"rdma", true}}},
      {"seccomp", seccomp()},
      {"apparmor", {{"enabled", apparmor}}},
      {"selinux", {{"enabled", selinux}}},
      {"intelRdt", {{"enabled", rdt}, {"schemata", rdt}, {"monitoring", rdt}}},
      {"memoryPolicy", {{"modes", json::array()}, {"flags", json::array()}}},
      {"mountExtensions", {{"idmap", {{"enabled", supports_idmap()}}}}},
      {"netDevices", {{"enabled", devices}}}};
  if (policy)
    object["memoryPolicy"] = {{"modes", names_of(memory_policy_words, &Word<int>::name)},
                              {"flags", names_of(memory_policy_flag_words, &Word<unsigned>::name)}};
  return object;
}

json features() {
  const bool hooks = supports([](ContainerSpec& spec) {
    spec.hooks.create_runtime.push_back(
        {.path = "/bin/true", .args = {}, .env = {}, .timeout = {}});
  });
  json names = json::array();
  if (hooks)
    names = {"prestart",       "createRuntime", "createContainer",
             "startContainer", "poststart",     "poststop"};
  return {{"ociVersionMin", "1.0.0"},
          {"ociVersionMax", "1.3.0"},
          {"hooks", names},
          {"mountOptions", names_of(mount_option_table, &MountOptionRow::name)},
          {"linux", linux()},
          {"annotations",
           {{"minirun.version", MINIRUN_VERSION},
            {"minirun.commit", commit()},
            {"org.opencontainers.runc.checkpoint.enabled", "false"},
            {"io.github.seccomp.libseccomp.version", libseccomp_version()}}},
          {"potentiallyUnsafeConfigAnnotations", {"run.oci.keep_original_groups"}}};
}

class Features : public Command {
 public:
  void declare(App /*app*/) override {}

  int run(const GlobalOptions& /*options*/, Output& /*output*/) override {
    return print(dump(features())) ? 0 : 1;
  }
};

}  // namespace

std::unique_ptr<Command> make_features() {
  return std::make_unique<Features>();
}

}  // namespace minirun::cli
