#include "cli/run_pod.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <set>

#include "base/file.h"
#include "cli/command.h"
#include "cli/plan_text.h"
#include "runtime/node_facts.h"
#include "runtime/pod_run.h"
#include "spec/duration.h"
#include "spec/kubernetes/bandwidth.h"
#include "spec/kubernetes/pod_file.h"

namespace minirun::cli {
namespace {

class PodCommand {
 public:
  PodCommand(const std::string& path, const PodArguments& arguments, const NetworkFlags& network,
             const GlobalOptions& options, Output& output)
      : path_(path), arguments_(arguments), network_(network), options_(options), output_(output) {}

  int run(const LoadedSpec& loaded) {
    const auto node = load_node(arguments_.node.empty() ? "host" : arguments_.node, output_);
    if (!node) return run_failed;
    if (node->facts.driver == kubernetes::CgroupDriver::systemd) {
      output_.error("--node: pods run with the cgroupfs driver; explain shows the systemd one");
      return run_failed;
    }
    if (!read(loaded.text, *node)) return run_failed;
    if (const Status prepared = prepare(node->facts.container_weight); !prepared)
      return fail(prepared.error());
    const Result<HostFacts> facts = discover_host();
    if (!facts) return fail(facts.error());
    // The state directory is made late: a dry run leaves nothing.
    const Result<StateRoot> root = StateRoot::open(options_.root, !arguments_.dry_run);
    if (!root && !arguments_.dry_run) return fail(root.error());
    if (const Status planned = plan_networks(root ? &*root : nullptr); !planned)
      return fail(planned.error());
    return arguments_.dry_run ? dry_run(*facts) : really(*facts, *root);
  }

 private:
  int fail(const Error& error) {
    output_.error(error);
    return run_failed;
  }

  bool read(const std::string& text, const kubernetes::NodeFile& node) {
    kubernetes::PodFile file = kubernetes::read_pods(text);
    for (const kubernetes::PodRun& run : file.runs)
      file.findings.insert(file.findings.end(), run.unsupported.begin(), run.unsupported.end());
    if (output_.positioned(path_, file.findings, true)) return false;
    std::set<std::string> names;
    for (std::size_t i = 0; i < file.pods.size(); ++i) {
      kubernetes::PodManifest& pod = file.pods[i];
      if (pod.name.empty()) pod.name = "pod";
      if (!names.insert(pod.name).second) {
        output_.error(fmt::format("{}: two pods are named \"{}\"", path_, pod.name));
        return false;
      }
      if (pod.uid.empty()) pod.uid = random_uid();
      auto plan = kubernetes::plan_pod(pod, node.facts);
      if (!plan) {
        output_.error(std::move(plan).error().in(path_));
        return false;
      }
      pods_.push_back(
          {std::move(*plan), std::move(file.runs[i]), std::move(pod), text, node.facts});
    }
    return true;
  }

  Status prepare(WeightFormula formula) {
    pod_options_.formula = arguments_.linear ? WeightFormula::linear : formula;
    pod_options_.color = ::isatty(STDOUT_FILENO) == 1;
    pod_options_.cgroup_root = arguments_.cgroup_root;
    if (!pod_options_.cgroup_root.starts_with('/'))
      return plain_error("--cgroup-root",
                         fmt::format("\"{}\" does not begin with /", pod_options_.cgroup_root));
    for (const std::string& image : arguments_.images) {
      const std::size_t equals = image.rfind('=');
      struct stat info{};
      if (equals == std::string::npos || equals == 0)
        return plain_error("--image", fmt::format("\"{}\" is not NAME=DIR", image));
      const std::string directory = image.substr(equals + 1);
      char* full = ::realpath(directory.c_str(), nullptr);
      if (full == nullptr || ::stat(full, &info) != 0 || !S_ISDIR(info.st_mode)) {
        ::free(full);  // NOLINT: from realpath(3)
        return plain_error("--image", fmt::format("\"{}\" is no directory", directory));
      }
      pod_options_.images[image.substr(0, equals)] = full;
      ::free(full);  // NOLINT: from realpath(3)
    }
    if (!arguments_.restart_delay.empty())
      pod_options_.backoff = TRY(milliseconds("--restart-delay", arguments_.restart_delay));
    if (!arguments_.timeout.empty())
      pod_options_.timeout = TRY(milliseconds("--timeout", arguments_.timeout));
    return {};
  }

  /// What a pod asks for and nobody gives without a network.
  void name_unused(const PlannedPod& pod) {
    const char* hint = "has no effect without --network bridge";
    Findings findings;
    for (const auto* list : {&pod.run.init_containers, &pod.run.containers})
      for (const kubernetes::ContainerRun& container : *list)
        for (const kubernetes::HostPort& port : container.host_ports)
          findings.push_back({Finding::Level::warning, port.pointer, hint, port.line, port.column});
    for (const auto name : {kubernetes::ingress_bandwidth, kubernetes::egress_bandwidth})
      if (pod.written.annotations.contains(std::string(name)))
        findings.push_back(
            {Finding::Level::warning, fmt::format("/metadata/annotations ({})", name), hint, 0, 0});
    (void)output_.positioned(path_, findings, true);
  }

  Status plan_networks(const StateRoot* root) {
    if (network_.publishes() && pods_.size() > 1)
      return plain_error("--publish", fmt::format("{} has {} pods: use hostPort in the manifest",
                                                  path_, pods_.size()));
    for (PlannedPod& pod : pods_) {
      // As in Kubernetes: its ports are the host's, whatever network the others have.
      if (pod.run.host_network && !network_.publishes()) continue;
      TRY(plan_network_of(pod, root));
      if (!pod.network && !pod.run.host_network) name_unused(pod);
    }
    return {};
  }

  /// By the same planner and with the same flags as a container's; it only sees a spec with the
  /// pod's name.
  Status plan_network_of(PlannedPod& pod, const StateRoot* root) {
    ContainerSpec spec;
    spec.name = pod.plan.pod.name;
    spec.hostname = pod.run.hostname.empty() ? pod.plan.pod.name.substr(0, 63) : pod.run.hostname;
    spec.annotations = pod.written.annotations;
    spec.network.mode = Network::Mode::none;
    const std::string id = pod_network_id(pod.plan.pod.name);
    LaunchOptions launch;
    TRY(network_.adapt(spec, id, root, options_.root, launch));
    Network& network = spec.network;
    if (network.mode == Network::Mode::host) pod.run.host_network = true;
    if (network.mode == Network::Mode::none || network.mode == Network::Mode::host) return {};
    if (network.mode != Network::Mode::bridge && network.mode != Network::Mode::cni)
      return plain_error("--network", "a Pod can have none, host, bridge, bridge:NAME or --cni");
    for (const auto* list : {&pod.run.init_containers, &pod.run.containers})
      for (const kubernetes::ContainerRun& container : *list)
        for (const kubernetes::HostPort& port : container.host_ports)
          network.ports.push_back({port.host_ip == "0.0.0.0" ? "" : port.host_ip, port.host,
                                   port.container, port.udp, port.pointer});
    for (const auto& [address, names] : pod.run.host_aliases)
      for (const std::string& name : names) network.hosts[name] = address;
    LaunchPlan plan;
    plan.clone_flags = CLONE_NEWNET;
    TRY(NetworkFlags::plan(spec, id, root, options_.root, arguments_.dry_run, plan, output_));
    for (const Finding& finding : plan.findings)
      if (finding.level == Finding::Level::error)
        return plain_error(finding.pointer, finding.message);
    pod.network = std::move(plan.network);
    pod.network_commands = std::move(plan.network_commands);
    return {};
  }

  static Result<std::chrono::milliseconds> milliseconds(const char* option,
                                                        const std::string& text) {
    const auto duration = parse_duration(text);
    if (!duration)
      return plain_error(option, fmt::format("\"{}\" is not a duration like 30s", text));
    return std::chrono::ceil<std::chrono::milliseconds>(*duration);
  }

  int dry_run(const HostFacts& facts) {
    for (const PlannedPod& pod : pods_) {
      const Result<PodDryRun> plan = plan_pod_run(pod, pod_options_, facts);
      if (!plan) return fail(plan.error());
      std::string text = fmt::format("pod {}\n\ncgroup {}{}\n  controllers {}\n", pod.plan.pod.name,
                                     facts.cgroup.mount_point, plan->pod.path,
                                     fmt::join(plan->pod.controllers, " "));
      for (const CgroupWrite& write : plan->pod.writes)
        text += fmt::format("  {} = {}   {}\n", write.file, write.value, write.formula);
      text += fmt::format(
          "\nnamespaces of the pod: {}\n",
          pod.run.host_network ? "ipc (network and uts are the host's)" : "network, ipc, uts");
      if (!pod.network_commands.empty())
        text += fmt::format("network of the pod\n  {}\n", fmt::join(pod.network_commands, "\n  "));
      for (const kubernetes::Volume& volume : pod.run.volumes)
        text += fmt::format("volume {}\n", volume.name);
      for (const LaunchPlan& container : plan->containers)
        text += "\n" + plan_text(container, facts);
      if (!print(text)) return run_failed;
    }
    return 0;
  }

  int really(const HostFacts& facts, const StateRoot& root) {
    const PodLog log = [](const std::string& line) {
      print_error(fmt::format("minirun: {}\n", line));
    };
    bool broken = false;
    const PodOutput write = [&broken](int stream, const std::string& line) {
      // A reader that went away does not end the pod; its containers would get SIGPIPE themselves.
      if (stream == 2)
        print_error(line);
      else if (!broken)
        broken = !print(line);
    };
    const auto results = run_pods(pods_, pod_options_, facts, root, log, write);
    if (!results) return fail(results.error());
    if (arguments_.summary) print_error(pods_summary(*results, ::isatty(STDERR_FILENO) == 1));
    if (!arguments_.report.empty())
      if (const Status written =
              replace_file(AT_FDCWD, arguments_.report, pods_report_json(*results), 0644);
          !written) {
        return fail(Error(written.error()).in("--report"));
      }
    for (const PodResult& result : *results)
      if (result.status != 0) return result.status;
    return 0;
  }

  const std::string& path_;
  const PodArguments& arguments_;
  const NetworkFlags& network_;
  const GlobalOptions& options_;
  Output& output_;
  std::vector<PlannedPod> pods_;
  PodOptions pod_options_;
};

}  // namespace

int run_pod_file(const LoadedSpec& loaded, const std::string& path, const PodArguments& arguments,
                 const NetworkFlags& network, const GlobalOptions& options, Output& output) {
  return PodCommand(path, arguments, network, options, output).run(loaded);
}

std::optional<kubernetes::NodeFile> load_node(const std::string& file, Output& output) {
  kubernetes::NodeFile node;
  if (file == "host") {
    const Result<HostFacts> facts = discover_host();
    if (!facts) {
      output.error(facts.error());
      return std::nullopt;
    }
    node.facts = read_node_facts(*facts);
    return node;
  }
  const auto text = read_file(AT_FDCWD, file);
  if (!text) {
    output.error(Error(text.error()).in("--node"));
    return std::nullopt;
  }
  node = kubernetes::read_node(*text);
  if (output.positioned(file, node.findings, true)) return std::nullopt;
  return node;
}

std::string random_uid() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return "0";
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
  return text;
}

}  // namespace minirun::cli
