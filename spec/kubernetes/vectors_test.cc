// Every kind of kubernetes-vectors.json except quantity, cpuShares and cpuQuota, which stand in
// quantity_test.cc and cpu_test.cc. Each expected object is compared whole: a key too many fails.
#include "spec/kubernetes/vectors_test.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "spec/kubernetes/bandwidth.h"
#include "spec/kubernetes/node_reader.h"
#include "spec/kubernetes/oci_files.h"
#include "spec/kubernetes/plan.h"
#include "spec/kubernetes/plan_json.h"
#include "spec/kubernetes/pod_file.h"
#include "spec/kubernetes/resize.h"

namespace minirun::kubernetes {
namespace {

using nlohmann::json;

TEST(KubernetesVectors, NoKindIsForgotten) {
  std::set<std::string> kinds;
  for (const auto& [kind, rows] : vectors().items()) kinds.insert(kind);
  EXPECT_EQ(kinds, (std::set<std::string>{"meta", "quantity", "cpuShares", "cpuQuota", "pods",
                                          "oci", "bandwidth", "resize", "qosTiers"}));
}

// ---------------------------------------------------------------- from the vectors to the model

ResourceList to_list(const json& object) {
  ResourceList list;
  for (const auto& [name, value] : object.items())
    list.emplace(
        name, parse_quantity(value.is_string() ? value.get<std::string>() : value.dump()).value());
  return list;
}

ResourceRequirements to_requirements(const json& object) {
  return {to_list(object.value("requests", json::object())),
          to_list(object.value("limits", json::object()))};
}

std::vector<Container> to_containers(const json& array) {
  std::vector<Container> list;
  for (const json& item : array) {
    Container container;
    container.name = item.at("name").get<std::string>();
    container.resources = to_requirements(item.value("resources", json::object()));
    container.sidecar = item.value("restartPolicy", "") == "Always";
    list.push_back(container);
  }
  return list;
}

PodManifest to_pod(const json& document) {
  const json& spec = document.at("spec");
  for (const auto& [key, value] : spec.items())
    EXPECT_TRUE(
        (std::set<std::string>{"containers", "initContainers", "overhead", "resources", "priority"})
            .contains(key))
        << "the test does not know spec." << key;
  PodManifest pod;
  pod.uid = vectors().at("meta").at("defaults").at("podUID").get<std::string>();
  pod.containers = to_containers(spec.at("containers"));
  pod.init_containers = to_containers(spec.value("initContainers", json::array()));
  pod.overhead = to_list(spec.value("overhead", json::object()));
  if (spec.contains("resources")) pod.resources = to_requirements(spec.at("resources"));
  if (spec.contains("priority")) pod.priority = spec.at("priority").get<std::int32_t>();
  return pod;
}

/// Through the reader of node files.
NodeFacts to_node(const json& env) {
  json all = vectors().at("meta").at("defaults");
  // Not merge_patch: there null means "remove", here it is a value.
  for (const char* group : {"node", "kubelet", "runtime"}) {
    const json changes = env.value(group, json::object());
    for (const auto& [key, value] : changes.items()) all[group][key] = value;
  }
  const NodeFile file = read_node(all.dump());
  EXPECT_TRUE(file.findings.empty()) << file.findings.front().message;
  EXPECT_EQ(file.pod_uid, all.at("podUID"));
  return file.facts;
}

TEST(KubernetesVectors, Pods) {
  ASSERT_GE(vectors().at("pods").size(), 45U);
  for (const json& row : vectors().at("pods")) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    const NodeFacts node = to_node(row.value("env", json::object()));
    const auto plan = plan_pod(to_pod(row.at("pod")), node);
    ASSERT_TRUE(plan.has_value()) << to_string(plan.error());
    json mine = json::parse(plans_json({*plan}));
    // What explain says beyond the vectors.
    for (const char* more : {"name", "uid", "roles", "reasons", "traps"})
      EXPECT_EQ(mine.erase(more), 1U);
    EXPECT_EQ(mine, row.at("expect")) << json::diff(row.at("expect"), mine).dump(1);
    // What is written has a reason.
    for (const ContainerPlan& container : plan->containers)
      for (const auto& [name, file] : container.cgroup2)
        EXPECT_FALSE(file.formula.empty() || file.writer.empty()) << name;
    for (const auto& [name, file] : plan->pod_cgroup2)
      EXPECT_FALSE(file.formula.empty() || file.writer.empty()) << name;
  }
}

TEST(KubernetesVectors, TheReaderSeesTheSamePods) {
  for (const json& row : vectors().at("pods")) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    // As JSON, as YAML in flow style (a leading comment), and indented.
    const json& document = row.at("pod");
    for (const std::string& text :
         {document.dump(), "# yaml\n" + document.dump(), document.dump(1, '\t')}) {
      const PodFile file = read_pods(text);
      ASSERT_FALSE(has_errors(file.findings)) << file.findings.front().message;
      EXPECT_TRUE(file.findings.empty()) << file.findings.front().message;
      ASSERT_EQ(file.pods.size(), 1U);
      PodManifest expected = to_pod(document);
      PodManifest mine = file.pods.front();
      EXPECT_EQ(mine.name, "v");
      EXPECT_EQ(mine.containers.front().pointer, "/spec/containers/0");
      mine.uid = expected.uid;
      mine.name = expected.name;
      for (auto* list : {&mine.containers, &mine.init_containers})
        for (Container& container : *list) container.pointer.clear();
      EXPECT_EQ(mine, expected);
    }
  }
}

// ---------------------------------------------------------------- OCI

Resources to_resources(const json& in, LegacyResources& legacy) {
  Resources oci;
  std::set<std::string> unknown;
  auto number = [](const json& value, auto& target) {
    target = value.get<typename std::remove_reference_t<decltype(target)>::value_type>();
  };
  auto devices = [](const json& array) {
    std::vector<ThrottleDevice> list;
    for (const json& item : array)
      list.push_back({item.at("major").get<std::uint32_t>(), item.at("minor").get<std::uint32_t>(),
                      item.at("rate").get<std::uint64_t>()});
    return list;
  };
  for (const auto& [group, fields] : in.items()) {
    if (group == "hugepageLimits") {
      for (const json& page : fields)
        oci.hugepage_limits.push_back(
            {page.at("pageSize").get<std::string>(), page.at("limit").get<std::uint64_t>()});
      continue;
    }
    for (const auto& [key, value] : fields.items()) {
      const std::string field = group + "." + key;
      if (group == "unified")
        oci.unified[key] = value.get<std::string>();
      else if (field == "memory.limit")
        number(value, oci.memory.limit_bytes);
      else if (field == "memory.swap")
        number(value, oci.memory.swap_bytes);
      else if (field == "memory.kernel")
        number(value, legacy.kernel_memory_bytes);
      else if (field == "memory.disableOOMKiller")
        number(value, legacy.disable_oom_killer);
      else if (field == "cpu.shares")
        number(value, oci.cpu.shares);
      else if (field == "cpu.quota")
        number(value, oci.cpu.quota_us);
      else if (field == "cpu.period")
        number(value, oci.cpu.period_us);
      else if (field == "cpu.idle")
        number(value, oci.cpu.idle);
      else if (field == "cpu.realtimeRuntime")
        number(value, legacy.realtime_runtime_us);
      else if (field == "blockIO.weight")
        number(value, oci.block_io.weight);
      else if (field == "blockIO.leafWeight")
        number(value, legacy.leaf_weight);
      else if (field == "blockIO.throttleReadBpsDevice")
        oci.block_io.read_bps = devices(value);
      else if (field == "blockIO.throttleWriteIOPSDevice")
        oci.block_io.write_iops = devices(value);
      else if (field == "pids.limit")
        number(value, oci.pids_limit);
      else if (field == "network.classID")
        number(value, legacy.network_class_id);
      else
        unknown.insert(field);
    }
  }
  EXPECT_TRUE(unknown.empty()) << *unknown.begin();
  return oci;
}

json conversion_json(const OciConversion& conversion) {
  if (!conversion.errors.empty()) return {{"error", true}};
  json object = json::object();
  if (!conversion.ignored.empty()) object["ignored"] = true;
  if (!conversion.warnings.empty()) object["ignoredWithWarning"] = true;
  for (const OciFile& file : conversion.files) {
    if (file.name == "io.max")
      object[file.name] = file.lines;
    else
      object[file.name] = file.lines.front();
  }
  return object;
}

TEST(KubernetesVectors, OciResources) {
  ASSERT_GE(vectors().at("oci").size(), 19U);
  for (const json& row : vectors().at("oci")) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    LegacyResources legacy;
    const Resources oci = to_resources(row.at("in"), legacy);
    auto convert = [&](FileOptions options) {
      return conversion_json(to_cgroup2_files(oci, legacy, options));
    };
    FileOptions options;
    for (const auto& [key, expected] : row.items()) {
      options = {};
      if (key == "id" || key == "in" || key == "note" || key == "source") continue;
      if (key == "crunSystemdIOWeight") {
        EXPECT_EQ(std::to_string(block_weight_to_systemd_io_weight(oci.block_io.weight.value())),
                  expected.get<std::string>());
        continue;
      }
      if (key == "crun")
        options.runtime = OciRuntime::crun;
      else if (key == "linear")
        options.weight = WeightFormula::linear;
      else if (key == "ifBfqFile")
        options.bfq_file = true;
      else
        ASSERT_TRUE(key == "runc" || key == "quadratic" || key == "otherwise") << key;
      EXPECT_EQ(convert(options), expected) << key;
    }
  }
}

// ---------------------------------------------------------------- bandwidth, resize, tiers

void check_bucket(const json& row, std::uint64_t rate) {
  const std::map<std::string, Cri> names = {{"containerd", Cri::containerd},
                                            {"cri-o", Cri::cri_o},
                                            {"dockershim (historic)", Cri::dockershim}};
  const std::uint64_t burst = cri_burst_bits(names.at(row.at("cri").get<std::string>()));
  EXPECT_EQ(burst, row.at("burstBits").get<std::uint64_t>());
  const TokenBucket bucket = token_bucket(rate, burst).value();
  json mine = {{"rateBytesPerSec", bucket.rate_bytes_per_sec},
               {"burstBytes", bucket.burst_bytes},
               {"burstUsec", bucket.burst_usec},
               {"latencyUsec", bucket.latency_usec},
               {"limitBytes", bucket.limit_bytes},
               {"bufferTicks", nullptr}};
  if (bucket.buffer_ticks) mine["bufferTicks"] = *bucket.buffer_ticks;
  EXPECT_EQ(mine, row.at("tbf"));
}

TEST(KubernetesVectors, Bandwidth) {
  ASSERT_GE(vectors().at("bandwidth").size(), 8U);
  for (const json& row : vectors().at("bandwidth")) {
    SCOPED_TRACE(row.dump());
    if (row.contains("in")) {
      const auto bucket = token_bucket(row.at("in").at("rate").get<std::uint64_t>(),
                                       row.at("in").at("burst").get<std::uint64_t>());
      ASSERT_FALSE(bucket.has_value());
      EXPECT_EQ(bucket.error().detail, row.at("error").get<std::string>());
      continue;
    }
    const auto rate = parse_bandwidth(row.at("annotation").get<std::string>());
    ASSERT_EQ(rate.has_value(), !row.contains("error"));
    if (!rate) {
      EXPECT_EQ(rate.error().detail, row.at("error").get<std::string>());
      continue;
    }
    EXPECT_EQ(*rate, row.at("rateBits").get<std::uint64_t>());
    check_bucket(row, *rate);
  }
}

PodManifest pod_with_memory_limits(const json& limits) {
  PodManifest pod;
  for (const auto& [name, limit] : limits.items()) {
    Container container;
    container.name = name;
    container.resources.limits["memory"] = parse_quantity(limit.get<std::string>()).value();
    pod.containers.push_back(container);
  }
  return pod;
}

std::vector<std::string> step_texts(const std::vector<ResizeStep>& steps) {
  std::vector<std::string> texts;
  for (const ResizeStep& step : steps) texts.push_back(to_string(step));
  return texts;
}

TEST(KubernetesVectors, Resize) {
  ASSERT_GE(vectors().at("resize").size(), 3U);
  for (const json& row : vectors().at("resize")) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    if (row.at("resource") == "memory limit") {
      const auto steps = plan_resize(pod_with_memory_limits(row.at("from")),
                                     pod_with_memory_limits(row.at("to")), {});
      ASSERT_TRUE(steps.has_value()) << to_string(steps.error());
      EXPECT_EQ(step_texts(*steps), row.at("order").get<std::vector<std::string>>());
      continue;
    }
    ASSERT_EQ(row.at("resource"), "memory and cpu together");
    ASSERT_EQ(row.at("order"), (json{"all memory steps", "all cpu steps"}));
    PodManifest before = pod_with_memory_limits({{"a", "256Mi"}});
    PodManifest after = pod_with_memory_limits({{"a", "512Mi"}});
    before.containers[0].resources.limits["cpu"] = Quantity::from_milli(1000);
    after.containers[0].resources.limits["cpu"] = Quantity::from_milli(500);
    const auto steps = plan_resize(before, after, {});
    ASSERT_TRUE(steps.has_value()) << to_string(steps.error());
    EXPECT_EQ(step_texts(*steps),
              (std::vector<std::string>{"pod memory.max=536870912", "UpdateContainerResources a",
                                        "UpdateContainerResources a", "pod cpu.weight=20",
                                        "pod cpu.max=50000 100000"}));
    std::vector<std::string> resources;
    for (const ResizeStep& step : *steps) resources.push_back(step.resource);
    EXPECT_TRUE(std::is_sorted(resources.rbegin(), resources.rend())) << "cpu before memory";
  }
}

TEST(KubernetesVectors, QosTiers) {
  ASSERT_GE(vectors().at("qosTiers").size(), 4U);
  const std::map<std::string, QosClass> classes = {{"Guaranteed", QosClass::guaranteed},
                                                   {"Burstable", QosClass::burstable},
                                                   {"BestEffort", QosClass::best_effort}};
  for (const json& row : vectors().at("qosTiers")) {
    SCOPED_TRACE(row.dump());
    if (row.contains("nodeAllocatableMilliCPU")) {
      const KubepodsPlan plan =
          plan_kubepods({row.at("nodeAllocatableMilliCPU").get<std::int64_t>(), {}, {}});
      EXPECT_EQ(
          (json{{"cpuShares", plan.cpu_shares}, {"cpu.weight", plan.files.at("cpu.weight").value}}),
          row.at("kubepods"));
      continue;
    }
    std::vector<TierPod> pods;
    for (const json& pod : row.at("pods"))
      pods.push_back({classes.at(pod.at("qos").get<std::string>()),
                      pod.at("cpuRequestMilli").get<std::int64_t>(), 0});
    const QosTiers tiers = plan_qos_tiers(pods, {}).value();
    EXPECT_EQ((json{{"cpuShares", tiers.burstable_shares},
                    {"cpu.weight", tiers.burstable.at("cpu.weight").value}}),
              row.at("burstable"));
    EXPECT_EQ((json{{"cpuShares", tiers.best_effort_shares},
                    {"cpu.weight", tiers.best_effort.at("cpu.weight").value}}),
              row.at("besteffort"));
  }
}

}  // namespace
}  // namespace minirun::kubernetes
