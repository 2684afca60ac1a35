#include "spec/kubernetes/pod_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "spec/kubernetes/document.h"

namespace minirun::kubernetes {
namespace {

/// "3:12 error /spec/x: message", one per line.
std::string texts(const PodFile& file) {
  std::string all;
  for (const Finding& finding : file.findings)
    all += fmt::format("{}:{} {} {}: {}\n", finding.line, finding.column,
                       finding.level == Finding::Level::error ? "error" : "warning",
                       finding.pointer, finding.message);
  return all;
}

/// A pod with one container and the given lines below its `resources:`.
std::string with_resources(const std::string& lines) {
  return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n"
         "    resources:\n" +
         lines;
}

std::string resource_findings(const std::string& lines) {
  return texts(read_pods(with_resources(lines)));
}

TEST(PodReader, ReadsWhatTheModelHas) {
  const PodFile file = read_pods(R"(# a comment
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  uid: 0f1e2d3c-4b5a
  annotations:
    kubernetes.io/ingress-bandwidth: 10M
spec:
  priorityClassName: system-node-critical
  priority: 2000001000
  overhead: {cpu: 250m}
  resources:
    limits: {cpu: 2}
  initContainers:
  - name: proxy
    restartPolicy: Always
  - {name: prepare, image: busybox}
  containers:
  - name: app
    image: "nginx:1.27"
    command: ["/bin/sh", -c]
    args: [sleep 1]
    workingDir: /srv
    env:
    - {name: MODE, value: "1"}
    resources:
      requests: {cpu: .5, memory: " 64Mi "}
      limits:
        memory: 128Mi
        hugepages-2Mi: 64Mi
        vendor.example/gpu: 1
    resizePolicy:
    - {resourceName: memory, restartPolicy: RestartContainer}
    - {resourceName: cpu, restartPolicy: NotRequired}
  volumes:
  - name: scratch
    emptyDir: {medium: Memory, sizeLimit: 1Gi}
  - name: plain
    emptyDir: {}
)");
  EXPECT_EQ(texts(file), "");
  ASSERT_EQ(file.pods.size(), 1U);
  const PodManifest& pod = file.pods[0];
  EXPECT_EQ(pod.name, "web");
  EXPECT_EQ(pod.namespace_name, "shop");
  EXPECT_EQ(pod.uid, "0f1e2d3c-4b5a");
  EXPECT_EQ(pod.annotations.at("kubernetes.io/ingress-bandwidth"), "10M");
  EXPECT_EQ(pod.priority, 2000001000);
  EXPECT_EQ(pod.priority_class_name, "system-node-critical");
  EXPECT_EQ(pod.overhead.at("cpu").canonical(), "250m");
  ASSERT_TRUE(pod.resources.has_value());
  EXPECT_EQ(pod.resources->limits.at("cpu"), Quantity::from_value(2));
  ASSERT_EQ(pod.init_containers.size(), 2U);
  EXPECT_TRUE(pod.init_containers[0].sidecar);
  EXPECT_FALSE(pod.init_containers[1].sidecar);
  const Container& app = pod.containers.at(0);
  EXPECT_EQ(app.image, "nginx:1.27");
  EXPECT_EQ(app.command, (std::vector<std::string>{"/bin/sh", "-c"}));
  EXPECT_EQ(app.args, (std::vector<std::string>{"sleep 1"}));
  EXPECT_EQ(app.working_dir, "/srv");
  EXPECT_EQ(app.env, (std::vector<EnvVar>{{"MODE", "1"}}));
  EXPECT_EQ(app.resources.requests.at("cpu").canonical(), "500m");
  EXPECT_EQ(app.resources.requests.at("memory").canonical(), "64Mi");
  EXPECT_EQ(app.resources.limits.size(), 3U);
  EXPECT_EQ(app.restart_on_resize, (std::vector<std::string>{"memory"}));
  EXPECT_EQ(pod.memory_volumes,
            (std::vector<MemoryVolume>{{"scratch", parse_quantity("1Gi").value()}}));
}

TEST(PodReader, AllFindingsAtOnceWithTheirPlaces) {
  const PodFile file = read_pods(R"(apiVersion: v1
kind: Pod
metadata:
  name: Web_1
  lables: {a: b}
  uid: ../../etc
  annotations:
    kubernetes.io/egress-bandwidth: "999"
    version: 1.10
spec:
  priority: 3000000000
  containers:
  - name: a
    image: yes
    resources:
      limits: {cpu: 64mb, memory: -1Gi}
      requests: {memory: true, cpu: [1]}
  - name: a
    env: {A: b}
    restartPolicy: Sometimes
)");
  EXPECT_EQ(texts(file),
            R"(4:9 error /metadata/name: "Web_1" is not a DNS name of a-z, 0-9, - and .
5:3 warning /metadata/lables: unknown property, ignored; did you mean "labels"?
6:8 error /metadata/uid: "../../etc" is not made of letters, digits and dashes
8:37 error /metadata/annotations/kubernetes.io~1egress-bandwidth: "999": unreasonably small (< 1kbit)
9:14 error /metadata/annotations/version: has to be a string; 1.10 without quotes is a number
11:13 error /spec/priority: 3000000000 does not fit in 32 bits
14:12 error /spec/containers/0/image: has to be a string; yes without quotes is a boolean
16:21 error /spec/containers/0/resources/limits/cpu: "64mb": unknown suffix "mb"; use 64M (10^6) or 64Mi (2^20)
16:35 error /spec/containers/0/resources/limits/memory: -1Gi is negative
17:26 error /spec/containers/0/resources/requests/memory: has to be a quantity such as 500m or 64Mi, not a boolean (true)
17:37 error /spec/containers/0/resources/requests/cpu: has to be a quantity such as 500m or 64Mi, not a list
18:11 error /spec/containers/1/name: another container is named "a"
19:10 error /spec/containers/1/env: has to be a list, not an object
20:20 error /spec/containers/1/restartPolicy: "Sometimes" is not Always, OnFailure or Never
)");
}

TEST(PodReader, JsonHasPlacesToo) {
  const PodFile file = read_pods(
      "{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n \"spec\": {\"containers\": [\n"
      "\t{\"name\": \"a\\u00e9\", \"resources\": {\"limits\": {\"cpu\": 1e3, \"memory\": "
      "\"1K\"}}}]}}");
  EXPECT_EQ(
      texts(file),
      "3:11 error /spec/containers/0/name: \"a\xC3\xA9\" is not a DNS label of a-z, 0-9 and -\n"
      "3:69 error /spec/containers/0/resources/limits/memory: \"1K\": unknown suffix \"K\"; use "
      "1k (10^3) or 1Ki (2^10)\n");
  EXPECT_EQ(texts(read_pods("{\"kind\": \"Pod\",\n \"kind\": \"Pod\", \"apiVersion\": \"v1\"}")),
            "2:2 error : the key \"kind\" stands twice in this object\n");
}

TEST(PodReader, ResourceRules) {
  EXPECT_EQ(resource_findings("      limits: {cpu: 1, memory: 1Gi}\n"
                              "      requests: {cpu: 1001m, memory: 2Gi}\n"),
            "9:23 error /spec/containers/0/resources/requests/cpu: the request 1001m is above the "
            "limit 1\n"
            "9:38 error /spec/containers/0/resources/requests/memory: the request 2Gi is above the "
            "limit 1Gi\n");
  EXPECT_EQ(
      resource_findings(
          "      limits: {hugepages-2Mi: 3Mi, hugepages-x: 1, a.b/c: 500m, gpu: 1}\n"),
      "8:31 error /spec/containers/0/resources/limits/hugepages-2Mi: 3Mi is not a multiple of "
      "the page size 2097152\n"
      "8:49 error /spec/containers/0/resources/limits/hugepages-x: \"hugepages-x\" names no page "
      "size\n"
      "8:59 error /spec/containers/0/resources/limits/a.b~1c: 500m of \"a.b/c\" has to be an "
      "integer\n"
      "8:70 error /spec/containers/0/resources/limits/gpu: unknown resource \"gpu\"; cpu, memory, "
      "ephemeral-storage, hugepages-<size> or a name with a domain\n");
  EXPECT_EQ(
      resource_findings("      requests: {hugepages-2Mi: 2Mi}\n"),
      "8:33 error /spec/containers/0/resources/requests/hugepages-2Mi: \"hugepages-2Mi\" needs a "
      "limit, which is its request\n");
  EXPECT_EQ(
      resource_findings("      limit: {cpu: 1}\n"),
      "8:7 warning /spec/containers/0/resources/limit: unknown property, ignored; did you mean "
      "\"limits\"?\n");
}

TEST(PodReader, WhatKubernetesWrapsSilentlyIsRejected) {
  EXPECT_EQ(
      resource_findings("      limits: {cpu: 10P, memory: 12E}\n"),
      "8:21 error /spec/containers/0/resources/limits/cpu: \"10P\": the value in thousandths does "
      "not fit in 64 bits (Kubernetes would silently wrap)\n"
      "8:34 error /spec/containers/0/resources/limits/memory: \"12E\": the value does not fit in "
      "64 bits (Kubernetes would silently wrap)\n");
  // One amount fits, the sum of the pod does not.
  const std::string sum = with_resources("      limits: {memory: 9E}\n") +
                          "  - name: b\n    resources: {limits: {memory: 9E}}\n";
  EXPECT_EQ(texts(read_pods(sum)),
            "5:3 error /spec: memory: \"18E\": the value does not fit in 64 bits (Kubernetes would "
            "silently wrap)\n");
  EXPECT_EQ(resource_findings("      limits: {cpu: 1e12}\n"),
            "5:3 error /spec: cpu limit: 1000000000000000m is a quota of 100000000000000000 us per "
            "100000 us, the kernel takes at most 17592186044415\n");
}

TEST(PodReader, NumberFormsOfYaml11AreNamed) {
  const PodFile file =
      read_pods(with_resources("      requests:\n"
                               "        cpu: 010\n"
                               "        memory: 1_000_000\n"
                               "      limits:\n"
                               "        cpu: 0x10\n"
                               "        memory: 1e9\n"));
  EXPECT_EQ(
      texts(file),
      "9:14 warning /spec/containers/0/resources/requests/cpu: 010 is octal in YAML 1.1, that is "
      "8; write it in decimal or in quotes\n"
      "10:17 warning /spec/containers/0/resources/requests/memory: 1_000_000 is the number "
      "1000000 in YAML 1.1; write it without _\n"
      "12:14 warning /spec/containers/0/resources/limits/cpu: 0x10 is hexadecimal in YAML 1.1, "
      "that is 16; write it in decimal or in quotes\n");
  EXPECT_EQ(file.pods.at(0).containers.at(0).resources.requests.at("cpu"), Quantity::from_value(8));
  EXPECT_EQ(file.pods.at(0).containers.at(0).resources.limits.at("cpu"), Quantity::from_value(16));
  // In quotes the same texts are quantities.
  EXPECT_EQ(resource_findings("      requests: {cpu: \"010\"}\n"), "");
  EXPECT_EQ(resource_findings("      requests: {cpu: \"0x10\"}\n"),
            "8:23 error /spec/containers/0/resources/requests/cpu: \"0x10\": hexadecimal is not "
            "allowed; write a decimal number\n");
  EXPECT_EQ(
      resource_findings("      requests: {cpu: .inf}\n"),
      "8:23 error /spec/containers/0/resources/requests/cpu: .inf is not a number that counts\n");
  EXPECT_EQ(
      resource_findings("      requests: {cpu: }\n"),
      "8:23 warning /spec/containers/0/resources/requests/cpu: is empty, which Kubernetes reads "
      "as 0\n");
}

TEST(PodReader, SeveralDocumentsAndLists) {
  const std::string pod =
      "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
      "spec: {containers: [{name: a}]}\n";
  EXPECT_EQ(read_pods("---\n" + pod + "---\n---\n" + pod).pods.size(), 2U);
  EXPECT_EQ(
      texts(read_pods(pod + "---\napiVersion: apps/v1\nkind: Deployment\n"
                            "spec: {template: {}}\n")),
      "7:7 warning /kind: of a Deployment one Pod is used, that of /spec/template; nothing else "
      "of it has an effect here\n8:18 error /spec/template/spec: is missing\n");
  const PodFile list = read_pods(
      "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec: {containers: "
      "[]}\n");
  EXPECT_EQ(texts(list),
            "6:22 error /items/0/spec/containers: a pod needs at least one container\n");
  EXPECT_EQ(texts(read_pods("")), "0:0 error : the file has no Pod\n");
  EXPECT_EQ(texts(read_pods("- 1\n")), "1:1 error : has to be an object, not a list\n");
  EXPECT_EQ(texts(read_pods("kind: Pod\n")), "1:1 error /apiVersion: is missing, has to be v1\n");
}

TEST(PodReader, AnchorsAliasesAndMerges) {
  const PodFile file = read_pods(R"(apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - &base
    name: a
    resources: &small {limits: {cpu: 100m}}
  - <<: *base
    name: b
  - name: c
    resources: *small
)");
  EXPECT_EQ(texts(file), "");
  ASSERT_EQ(file.pods.at(0).containers.size(), 3U);
  for (const Container& container : file.pods[0].containers)
    EXPECT_EQ(container.resources.limits.at("cpu").canonical(), "100m") << container.name;
}

// ---------------------------------------------------------------- what a run needs

/// A pod with one container "a" and the given lines at the level of its fields.
PodFile with_container(const std::string& lines, const std::string& more = "") {
  return read_pods("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {x: y}}\nspec:\n" +
                   more + "  containers:\n  - name: a\n" + lines);
}

TEST(PodReader, BooleansInEverySpelling) {
  for (const char* word : {"true", "True", "TRUE", "yes", "Yes", "on", "On", "ON"}) {
    const PodFile file = with_container(
        fmt::format("    securityContext: {{runAsNonRoot: {0}, readOnlyRootFilesystem: {0}}}\n",
                    word),
        fmt::format("  hostNetwork: {}\n", word));
    ASSERT_EQ(texts(file), "") << word;
    EXPECT_TRUE(file.runs[0].host_network) << word;
    const SecurityContext& security = file.runs[0].containers[0].security;
    EXPECT_TRUE(security.run_as_non_root.value_or(false)) << word;
    EXPECT_TRUE(security.read_only_root.value_or(false)) << word;
  }
  for (const char* word : {"false", "False", "no", "off", "OFF"}) {
    const PodFile file =
        with_container("", fmt::format("  hostNetwork: {}\n  hostUsers: {}\n", word, word));
    EXPECT_FALSE(file.runs[0].host_network) << word;
    EXPECT_EQ(file.runs[0].unsupported.size(), 1U) << word;  // hostUsers: false
  }
}

TEST(PodReader, ResourceFieldsAreRoundedUp) {
  const PodFile file = with_container(
      "    resources: {limits: {cpu: 1500m, memory: 65Mi}, requests: {cpu: 10m}}\n"
      "    env:\n"
      "    - {name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}\n"
      "    - {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}\n"
      "    - {name: C, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 64Mi}}}\n"
      "    - {name: D, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: \"0\"}}}\n"
      "    - {name: E, valueFrom: {resourceFieldRef: {resource: requests.hugepages-2Mi}}}\n"
      "    - {name: F, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['x']\"}}}\n"
      "    - {name: G, valueFrom: {fieldRef: {fieldPath: status.podIP}}}\n");
  ASSERT_EQ(texts(file), "");
  EXPECT_EQ(file.runs[0].containers[0].env, (std::vector<EnvRun>{{"A", "2"},
                                                                 {"B", "1500"},
                                                                 {"C", "2"},
                                                                 {"D", "1"},
                                                                 {"E", "0"},
                                                                 {"F", "y"},
                                                                 {"G", "", true}}));
  EXPECT_EQ(texts(with_container("    env:\n    - {name: A, valueFrom: {resourceFieldRef: "
                                 "{containerName: z, resource: limits.cpu}}}\n")),
            "8:47 error /spec/containers/0/env/0/valueFrom/resourceFieldRef: no container is named "
            "\"z\"\n");
}

TEST(PodReader, SecretsAndFilesOfVolumes) {
  const PodFile file = read_pods(R"(apiVersion: v1
kind: Pod
spec:
  containers:
  - name: a
    envFrom: [{secretRef: {name: s}, prefix: S_}]
    volumeMounts: [{name: v, mountPath: /x, subPath: k}]
  volumes: [{name: v, secret: {secretName: s, defaultMode: 0400}}]
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {k: aGk=, twice: eA==}
stringData: {twice: z}
)");
  EXPECT_EQ(texts(file),
            "8:60 warning /spec/volumes/0/secret/defaultMode: 0400 is octal in YAML "
            "1.1, that is 256; write it in decimal or in quotes\n");
  ASSERT_EQ(file.runs.size(), 1U);
  EXPECT_EQ(file.runs[0].unsupported.size(), 0U);
  EXPECT_EQ(file.runs[0].containers[0].env, (std::vector<EnvRun>{{"S_k", "hi"}, {"S_twice", "z"}}));
  const Volume& volume = file.runs[0].volumes.at(0);
  EXPECT_EQ(volume.kind, Volume::Kind::secret);
  EXPECT_EQ(volume.mode, 0400U);
  EXPECT_EQ(volume.files.at("k"), "hi");
  for (const char* bad : {"a", "a=b=", "aGk", "aGl=x", "====", "aGl!"}) {
    const PodFile wrong = read_pods(fmt::format(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{k: \"{}\"}}\n", bad));
    EXPECT_NE(texts(wrong).find("/data/k: is not base64"), std::string::npos) << bad;
  }
}

TEST(PodReader, SubPathNeedsAVolumeThatNobodyWrites) {
  const PodFile file =
      with_container("    volumeMounts: [{name: d, mountPath: /x, subPath: ../y}]\n",
                     "  volumes: [{name: d, emptyDir: {}}]\n");
  ASSERT_EQ(file.runs[0].unsupported.size(), 1U);
  EXPECT_EQ(file.runs[0].unsupported[0].pointer, "/spec/containers/0/volumeMounts/0/subPath");
}

TEST(PodReader, PortsHooksAndHosts) {
  const PodFile file = with_container(
      "    ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 53, hostPort: 53, "
      "protocol: UDP,"
      " hostIP: 127.0.0.1}, {containerPort: 9}]\n"
      "    lifecycle: {postStart: {sleep: {seconds: 2}}, preStop: {httpGet: {port: 80, path: "
      "/x}}}\n",
      "  hostAliases: [{ip: 10.0.0.1, hostnames: [db]}]\n");
  ASSERT_EQ(texts(file), "");
  const ContainerRun& run = file.runs[0].containers[0];
  ASSERT_EQ(run.host_ports.size(), 2U);
  EXPECT_EQ(run.host_ports[0].host, 8080);
  EXPECT_EQ(run.host_ports[1].host_ip, "127.0.0.1");
  EXPECT_TRUE(run.host_ports[1].udp);
  EXPECT_EQ(run.post_start->sleep_seconds, 2);
  EXPECT_EQ(run.pre_stop->action->path, "/x");
  EXPECT_EQ(texts(with_container("    ports: [{containerPort: 0}]\n    lifecycle: {preStop: {}}\n",
                                 "  hostAliases: [{ip: x, hostnames: [\"a b\"]}]\n")),
            "5:17 error /spec/hostAliases/0/ip: \"x\" is not an IP address\n"
            "5:37 error /spec/hostAliases/0/hostnames: \"a b\" is not the name of a host\n"
            "8:29 error /spec/containers/0/ports/0/containerPort: 0 is not within 1 to 65535\n"
            "9:26 error /spec/containers/0/lifecycle/preStop: has to have one of exec, httpGet and "
            "sleep\n");
}

TEST(PodReader, ControllersHaveATemplate) {
  for (const auto& [kind, version, before] :
       {std::tuple{"Deployment", "apps/v1", "spec: {template: "},
        std::tuple{"DaemonSet", "apps/v1", "spec: {template: "},
        std::tuple{"Job", "batch/v1", "spec: {template: "},
        std::tuple{"ReplicationController", "v1", "spec: {template: "}}) {
    const PodFile file =
        read_pods(fmt::format("apiVersion: {}\nkind: {}\nmetadata: {{name: w}}\n"
                              "{}{{spec: {{containers: [{{name: a}}]}}}}}}\n",
                              version, kind, before));
    ASSERT_FALSE(has_errors(file.findings)) << texts(file);
    ASSERT_EQ(file.pods.size(), 1U);
    EXPECT_EQ(file.pods[0].name, "w");
    EXPECT_EQ(file.pods[0].containers[0].pointer, "/spec/template/spec/containers/0");
  }
}

// ---------------------------------------------------------------- hostile files

TEST(PodReader, ExplodingAliasesStopAtALimit) {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    laughs += fmt::format("a{}: &a{} [", i, i);
    for (int k = 0; k < 10; ++k) laughs += fmt::format("{}*a{}", k == 0 ? "" : ", ", i - 1);
    laughs += "]\n";
  }
  const PodFile file = read_pods(laughs);
  ASSERT_EQ(file.findings.size(), 1U);
  EXPECT_TRUE(file.findings[0].message.find("nodes") != std::string::npos) << texts(file);
  EXPECT_EQ(texts(read_pods("a: &a [*a]\n")),
            "1:8 error : this alias stands for a key, or for a node that it is inside of\n");
}

TEST(PodReader, DepthAndSizeHaveLimits) {
  const std::string deep = std::string(200, '[') + std::string(200, ']');
  EXPECT_EQ(texts(read_pods("a: " + deep)), "1:103 error : nested deeper than 100 levels\n");
  EXPECT_EQ(texts(read_pods(deep)), "1:101 error : nested deeper than 100 levels\n");
  EXPECT_EQ(texts(read_pods(std::string(100'000, '['))),
            "1:101 error : nested deeper than 100 levels\n");
  EXPECT_EQ(texts(read_pods(std::string(50U << 20U, ' '))),
            "0:0 error : the file has 52428800 bytes, a manifest at most 4194304\n");
  std::string many = "a: [";
  for (int i = 0; i < 100'001; ++i) many += "1,";
  const PodFile file = read_pods(many + "1]\n");
  ASSERT_EQ(file.findings.size(), 1U);
  EXPECT_EQ(file.findings[0].message, "more than 100000 nodes, aliases expanded");
}

TEST(PodReader, BrokenTexts) {
  EXPECT_EQ(texts(read_pods("kind: Pod\nspec:\n\tcontainers: []\n")),
            "3:1 error : a tab indents this line; YAML takes only blanks for that\n");
  EXPECT_EQ(texts(read_pods("kind: Pod\nkind: Pod\napiVersion: v1\n")),
            "2:1 error : the key \"kind\" stands twice in this object\n");
  EXPECT_EQ(texts(read_pods("? [a]\n: b\n")), "1:3 error : a key has to be text\n");
  for (const char* text : {"{\"kind\": ", "{\"kind\" \"Pod\"}", "a: b: c\n", "\"open\n", "@x\n",
                           "*a\n", "{\"a\": 1e999}", "\xff\xfe", "a: !x 1\n", "%FOO\n", "[",
                           "{\"a\":\"\xff\"}", "&a *a\n", "- - ?\n  - :\n", "!!binary x: 1\n"}) {
    const PodFile file = read_pods(text);
    EXPECT_TRUE(has_errors(file.findings)) << text;
  }
}

}  // namespace
}  // namespace minirun::kubernetes
