// Owns: `minirun explain`.
#include "runtime/explain.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "cli/command.h"
#include "cli/explain_text.h"
#include "cli/load.h"
#include "cli/run_pod.h"
#include "spec/kubernetes/node_reader.h"
#include "spec/kubernetes/plan_json.h"
#include "spec/kubernetes/pod_file.h"

namespace minirun::cli {
namespace {

/// Of a pod whose manifest has none.
constexpr const char* example_uid = "00000000-0000-0000-0000-000000000000";

class Explain : public Command {
 public:
  void declare(App app) override {
    app.add_option("TARGET", target_,
                   "Pod manifest, OCI config.json or bundle, short form, - for standard input, or "
                   "the id of a container")
        .required();
    app.add_option("--format", format_, "text, json or markdown")
        .one_of({"text", "json", "markdown"});
    app.add_option("--formula", formula_, "of a container's cpu.weight: quadratic or linear")
        .one_of({"linear", "quadratic"});
    app.add_option("--driver", driver_, "the kubelet's cgroup driver: cgroupfs or systemd")
        .one_of({"cgroupfs", "systemd"});
    app.add_option("--node", node_file_,
                   "what the node is like: JSON or YAML, or `host` for this machine");
  }

  int run(const GlobalOptions& options, Output& output) override {
    struct stat info{};
    if (target_ != "-" && ::stat(target_.c_str(), &info) != 0) {
      if (target_.find('/') == std::string::npos) return container(options, output);
      return fail(output, os_error(target_).error());
    }
    Result<LoadedSpec> loaded = load_spec(target_, caller_options());
    if (!loaded) return fail(output, loaded.error());
    if (loaded->format == Format::pod) return pods(loaded->text, output);
    if (output.findings(loaded->findings, true, loaded->name)) return run_failed;
    return spec(*loaded, output);
  }

 private:
  static int fail(Output& output, const Error& error) {
    output.error(error);
    return run_failed;
  }

  [[nodiscard]] WeightFormula weight() const {
    return formula_ == "linear" ? WeightFormula::linear : WeightFormula::quadratic;
  }

  /// nullopt: reported.
  std::optional<kubernetes::NodeFile> node(Output& output) {
    kubernetes::NodeFile node;
    if (!node_file_.empty()) {
      auto loaded = load_node(node_file_, output);
      if (!loaded) return std::nullopt;
      node = std::move(*loaded);
    }
    if (!formula_.empty()) node.facts.container_weight = weight();
    if (driver_ == "systemd") node.facts.driver = kubernetes::CgroupDriver::systemd;
    if (driver_ == "cgroupfs") node.facts.driver = kubernetes::CgroupDriver::cgroupfs;
    return node;
  }

  int pods(const std::string& text, Output& output) {
    const auto node_facts = node(output);
    if (!node_facts) return run_failed;
    kubernetes::PodFile file = kubernetes::read_pods(text);
    if (output.positioned(target_, file.findings, true)) return run_failed;
    std::vector<kubernetes::PodPlan> plans;
    for (kubernetes::PodManifest& pod : file.pods) {
      if (pod.uid.empty())
        pod.uid = node_facts->pod_uid.empty() ? example_uid : node_facts->pod_uid;
      auto plan = kubernetes::plan_pod(pod, node_facts->facts);
      if (!plan) return fail(output, std::move(plan).error().in(target_));
      plans.push_back(std::move(*plan));
    }
    if (format_ == "json") return print(kubernetes::plans_json(plans)) ? 0 : run_failed;
    return show(explain_pods(plans, file.pods, *node_facts));
  }

  int show(const std::vector<Explanation>& explanations) const {
    std::string text;
    for (const Explanation& explanation : explanations) {
      if (!text.empty()) text += "\n";
      text += format_ == "markdown" ? explanation_markdown(explanation)
                                    : explanation_text(explanation, style_for(STDOUT_FILENO));
    }
    return print(text) ? 0 : run_failed;
  }

  /// Without --formula runs and plans use the quadratic one.
  int spec(const LoadedSpec& loaded, Output& output) {
    const Result<HostFacts> facts = discover_host();
    if (!facts) return fail(output, facts.error());
    const std::string name = loaded.spec.name.empty() ? "container" : loaded.spec.name;
    CgroupPlanResult planned = plan_cgroup(loaded.spec, *facts, name, {.formula = weight()});
    // What this machine lacks does not change what the values mean.
    int lacking = 0;
    std::string first;
    for (const Finding& finding : planned.findings)
      if (finding.level == Finding::Level::error && lacking++ == 0)
        first = finding.pointer + ": " + finding.message;
      else if (finding.level == Finding::Level::warning)
        output.warning(finding.pointer + ": " + finding.message);
    if (lacking > 0)
      output.warning(fmt::format("on this machine it could not run: {}{}", first,
                                 lacking > 1 ? fmt::format(" (and {} more)", lacking - 1) : ""));
    const Explanation explanation = explain_spec(
        loaded.spec, planned.plan,
        fmt::format("{} ({})", name, loaded.format == Format::oci ? "OCI spec" : "short form"));
    if (format_ == "json")
      return print(explanation_json(explanation, loaded.spec, name)) ? 0 : run_failed;
    return show({explanation});
  }

  int container(const GlobalOptions& options, Output& output) {
    if (!validate_id(target_)) {
      output.error(fmt::format("{}: is neither a file nor the id of a container", target_));
      return run_failed;
    }
    const Result<HostFacts> facts = discover_host();
    if (!facts) return fail(output, facts.error());
    const auto missing = [&](const Error& error) {
      if (error.errnum != ENOENT) return fail(output, error);
      output.error(fmt::format("{}: there is no such file, and no container of that id", target_));
      return run_failed;
    };
    const Result<StateRoot> root = StateRoot::open(options.root, false);
    if (!root) return missing(root.error());
    const Result<ContainerDir> dir = ContainerDir::open(*root, target_, Lock::none);
    if (!dir) return missing(dir.error());
    const ContainerView view = view_container(*dir, *facts);
    if (!view.record) {
      output.error(fmt::format("{}: its record cannot be read, see minirun gc", target_));
      return run_failed;
    }
    const Result<ContainerSpec> stored = stored_spec(*dir, *view.record);
    if (!stored) return fail(output, stored.error());
    CgroupPlanResult planned = plan_cgroup(*stored, *facts, target_, {.formula = weight()});
    Explanation explanation = explain_spec(
        *stored, planned.plan, fmt::format("container {} ({})", target_, name(view.status)));
    explanation.groups.front().path = view.cgroup_path();
    if (view.status == ContainerStatus::running || view.status == ContainerStatus::paused ||
        view.status == ContainerStatus::created) {
      if (const Status read = read_back(explanation, *facts, view.cgroup_path()); !read)
        return fail(output, read.error());
    } else {
      output.warning(fmt::format("{} is {}: nothing to read back", target_, name(view.status)));
    }
    if (format_ == "json")
      return print(explanation_json(explanation, *stored, target_)) ? 0 : run_failed;
    return show({explanation});
  }

  std::string target_, format_ = "text", formula_, driver_, node_file_;
};

}  // namespace

std::unique_ptr<Command> make_explain() {
  return std::make_unique<Explain>();
}

}  // namespace minirun::cli
