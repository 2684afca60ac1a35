"""explain, and Pods that run: the files of the kernel are those that explain prints. Limits need the VM."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

from harness import MINIRUN, REPOSITORY, cgroup_mount, check, equal, needs, read, test, wait_until
from integration.network import own_network

VECTORS = json.loads(read(REPOSITORY / "tests/data/kubernetes-vectors.json"))


def explain(t, target, *options):
    return t.minirun("explain", *options, target)


def pod(name, containers, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **spec.pop("metadata", {})},
            "spec": {"restartPolicy": "Never", **spec, "containers": containers}}


def container(name, script, limits=None, requests=None, **more):
    resources = {key: value for key, value in (("limits", limits), ("requests", requests)) if value}
    return {"name": name, "command": ["sh", "-c", script], "resources": resources, **more}


@test(limit=120)
def explain_prints_the_vectors(t):
    """`explain --format json` over every golden vector: the values under every key of `expect` are equal."""
    bad = []
    for row in VECTORS["pods"]:
        node = json.loads(json.dumps(VECTORS["meta"]["defaults"]))
        for group, changes in row.get("env", {}).items():
            node[group].update(changes)
        command = [MINIRUN, "explain", "--format", "json", "--node", t.write("node.json", node),
                   t.write("pod.json", row["pod"])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        equal(done.returncode, 0, f"{row['id']}: {done.stderr}")
        mine = json.loads(done.stdout)
        bad += [f"{row['id']}.{key}" for key, value in row["expect"].items() if mine[key] != value]
        equal(sorted(mine["containers"]), sorted(row["expect"]["containers"]), row["id"])
    equal(bad, [], "differences")
    check(len(VECTORS["pods"]) >= 45, "vectors are missing")


@test(limit=60)
def explain_is_readable(t):
    """At most 100 columns, no escape sequence without a terminal; formula, OCI name, v1 name, writer, effect, traps."""
    path = t.write("pod.yaml", json.dumps(pod("p", [container("a", "x", {"cpu": "5m", "memory": "400m"}),
                                                    container("b", "x")])))
    text = explain(t, path).good().out
    check("\x1b" not in text, "an escape sequence")
    equal([line for line in text.splitlines() if len(line) > 100], [], "lines of more than 100 columns")
    for words in ("quota = max(1000, 5 * 100000 / 1000) = 1000 us", "linux.resources.cpu.quota = 1000",
                  "v1 cpu.cfs_quota_us", "runtime, asked by the kubelet", "stands", "QoS Burstable",
                  "oom_score_adj", "no cpu limit on b", "400m is a fraction of a byte",
                  "cpu: at most 0.01, by cpu.max of the container"):
        check(words in text, f"{words!r} is missing")
    table = explain(t, path, "--format", "markdown").good().out
    check("| `cpu.max = 1000 100000` |" in table, "no table row for cpu.max")
    linear = explain(t, path, "--formula", "linear", "--driver", "systemd").good().out
    check("(linear)" in linear and "kubepods-burstable-pod" in linear, "--formula and --driver")
    spec = t.write("spec.json", {"command": ["true"], "resources": {"limits": {"cpu": "500m"}}})
    check("cpu.max = 50000 100000" in explain(t, spec).good().out, "the short form")


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8))
BAD = [
    ("kind", "apiVersion: v1\nkind: Service\nspec: {}\n", [":2:7: /kind:", "\"Service\" is not a Pod", "has no Pod"]),
    ("template", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {}}\n",
     ["/spec/template/spec: is missing"]),
    ("version", "apiVersion: v1beta1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: "
     "[{name: a}]}}}\n", [":1:13: /apiVersion:", "apps/v1"]),
    ("secret", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: '!!'}\n---\napiVersion: v1\nkind: Pod\n"
     "spec:\n  containers:\n  - {name: a}\n", [":4:11: /data/a: is not base64"]),
    ("types", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: a, command: run}\n"
     "  - {name: b, resources: [1]}\n  - name: 5\n",
     [":6:", "/spec/containers/0/command", ":7:", "/spec/containers/1/resources", ":8:", "/spec/containers/2/name"]),
    ("units", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n    resources:\n"
     "      limits: {cpu: 1cores, memory: 64mb}\n", [":8:21:", ":8:37:", "64mb"]),
    ("negative", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: a, resources: {limits: {cpu: -1}}}\n",
     ["/spec/containers/0/resources/limits/cpu"]),
    ("overflow", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
     "  - {name: a, resources: {limits: {memory: 12E}}}\n", ["/spec/containers/0/resources/limits/memory"]),
    ("above", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
     "  - {name: a, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}\n", ["/requests/cpu"]),
    ("twice", "apiVersion: v1\nkind: Pod\nkind: Pod\nspec: {}\n", [":3:1:"]),
    ("tabs", "apiVersion: v1\nkind: Pod\nspec:\n\tcontainers: []\n", [":4:"]),
    ("laughs", "apiVersion: v1\nkind: Pod\n" + LAUGHS, ["laughs.yaml:"]),
    ("nameless-laughs", LAUGHS, ["nameless-laughs.yaml:", "aliases expanded"]),
    ("no-kind", "x: 1\n", [":1:1: /kind: is missing"]),
    ("probe", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
     "  - {name: a, livenessProbe: {httpGet: {port: http}}}\n", ["/spec/containers/0/livenessProbe/httpGet/port"]),
]


@test(limit=120)
def bad_manifests(t):
    """Wrong kinds, types, units, duplicates, tabs, bombs and 50 MB: path, line and column of all findings, 125, at once."""
    for command in ("explain", "run"):
        for name, text, words in BAD:
            path = t.write(f"{name}.yaml", text)
            result = t.minirun(command, path, timeout=10)
            equal([result.status, result.out], [125, ""], f"{command} {name}")
            for word in words:
                check(word in result.err, f"{command} {name}: {word!r} is not in {result.err!r}")
            check(all(line.startswith("minirun: ") for line in result.err.splitlines()), result.err)
    types = t.minirun("explain", t.dir / "types.yaml")
    equal(sum("error" in line for line in types.err.splitlines()), 3, "findings at once")
    big = t.dir / "big.yaml"
    with open(big, "w") as file:
        file.write("apiVersion: v1\nkind: Pod\n" + "# x\n" * (50 << 18))
    start = time.monotonic()
    result = t.minirun("explain", big)
    equal(result.status, 125, "50 MB")
    check(time.monotonic() - start < 5 and "MiB" in result.err, result.err)
    many = t.write("many.json", {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"args": ["x"] * 600000}]}})
    result = t.minirun("explain", many)
    equal(result.status, 125, "600000 values")
    check("many.json: more than 500000 values" in result.err, result.err)


@test(limit=60)
def unsupported_is_named(t):
    """What `run` does not do is named with its line; what changes a program's view is an error."""
    path = t.write("pod.json", pod("p", [container("a", "true", lifecycle={"stopSignal": "SIGQUIT"})],
                                   hostPID=True, nodeSelector={"a": "b"},
                                   volumes=[{"name": "s", "secret": {"secretName": "x"}},
                                            {"name": "n", "nfs": {"server": "x", "path": "/"}}]))
    result = t.minirun("run", path)
    equal(result.status, 125, "status")
    for word in ("/spec/hostPID: is not supported", "/spec/nodeSelector: has no effect here",
                 "/spec/containers/0/lifecycle/stopSignal: is not supported", "a volume of nfs is not supported",
                 "the Secret \"x\" is not in this file"):
        check(word in result.err, f"{word!r} is not in {result.err!r}")


CLUSTER = """apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  volumeClaimTemplates: [{metadata: {name: data}}]
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: a
        resources: {limits: {cpu: 200m, memory: 64Mi}}
        volumeMounts: [{name: data, mountPath: /data}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: b, image: x}]}}}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: live
  uid: 0f1e2d3c-0000-4000-8000-000000000001
  creationTimestamp: "2026-01-01T00:00:00Z"
  resourceVersion: "12"
  managedFields: [{manager: kubectl, operation: Update, fieldsV1: {"f:metadata": {}}}]
spec:
  nodeName: n1
  serviceAccountName: default
  tolerations: [{key: a, operator: Exists}]
  containers:
  - name: c
    image: x
    command: ["true"]
    terminationMessagePath: /dev/termination-log
    resources: {}
    volumeMounts: [{name: kube-api-access-x, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]
  volumes:
  - name: kube-api-access-x
    projected: {defaultMode: 420, sources: [{serviceAccountToken: {path: token}}]}
status: {phase: Running, qosClass: BestEffort, conditions: []}
"""


@test(limit=60)
def what_people_have(t):
    """Files from a cluster: of controllers the Pod of their template, what is no Pod named, `kubectl get pod -o yaml`."""
    path = t.write("all.yaml", CLUSTER)
    result = explain(t, path, "--format", "json").good()
    pods = {one["name"]: one["qosClass"] for one in json.loads(result.out)}
    equal(pods, {"db-0": "Guaranteed", "nightly": "BestEffort", "live": "BestEffort"}, "pods")
    for words in (':2:7: /kind: "Service" is not a Pod', "of a StatefulSet one Pod is used, that of /spec/template",
                  "of a CronJob one Pod is used, that of /spec/jobTemplate/spec/template"):
        check(words in result.err, f"{words!r} is not in {result.err!r}")
    check("/managedFields" not in result.err and "status" not in result.err, result.err)
    refused = t.minirun("run", path)
    equal(refused.status, 125, "run of it")
    check("is of volumeClaimTemplates, which are not supported" in refused.err, refused.err)
    check("is empty here: there is no API server" in refused.err, refused.err)
    listed = explain(t, t.write("list.json", {"apiVersion": "v1", "kind": "List", "items": [
        pod("one", [container("a", "x")]), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}]}))
    check("/items/1/kind" in listed.good().err and "pod one" in listed.out, listed.err)


def on_terminal(t, columns, rows, *words):
    """What a program writes to a terminal of that size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(t.command(*words), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    out = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: nobody has the other end any more
            break
        if not part:
            break
        out += part
    os.close(master)
    equal(process.wait(timeout=20), 0, f"{words[0]} on a terminal")
    return out.decode()


def visible(text):
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).splitlines()


@test(limit=60)
def explain_on_a_terminal(t):
    """A terminal of 80 columns: colour, no line is longer, and first of all what it comes to."""
    text = on_terminal(t, 80, 24, "explain", REPOSITORY / "examples/kubernetes/08-sidecar-uncaps.yaml")
    check("\x1b[36m" in text and "\x1b[1m" in text, "no colour")
    lines = visible(text)
    equal([line for line in lines if len(line) > 80], [], "lines of more than 80 columns")
    glance = next(i for i, line in enumerate(lines) if "at a glance" in line)
    check(glance < 8, f"the summary begins in line {glance}")
    rows = "\n".join(lines[glance:glance + 4])
    check(re.search(r"app +0\.2 +the container", rows) and re.search(r"proxy +no cap", rows), rows)
    check(re.search(r"! \d+ traps, at the end", "\n".join(lines[glance:glance + 6])), rows)


@test(limit=60)
def stats_on_a_terminal(t):
    """stats and top at 80 columns and at 160, with more containers than lines: nothing wraps, and the rest is told."""
    ids = [f"a-rather-long-pod-name-{t.marker}-{n}" for n in range(6)]
    spec = t.write("spec.json", {"command": ["sleep", "60"]})
    for name in ids:
        t.minirun("run", "-d", "--id", name, spec).good()
    try:
        for columns in (80, 160):
            lines = visible(on_terminal(t, columns, 24, "stats", "--interval", "50ms"))
            equal([line for line in lines if len(line) >= columns], [], f"lines at {columns} columns")
            equal([len(lines), "IO r/w" in lines[0], "PSI" in lines[0]], [7, columns == 160, columns == 160], lines)
            check(all(line.split()[0].endswith(f"-{n}") for n, line in enumerate(lines[1:])), lines)
        text = on_terminal(t, 80, 8, "top", "--interval", "50ms", "--count", "2")
        last = visible(text.split("\x1b[H")[-1])
        check("6 running" in last[0] and last[2].startswith("CONTAINER"), last)
        equal(last[-1], "... and 3 more that use less CPU", "the last line")
        check(len(last) <= 7, last)
    finally:
        for name in ids:
            t.minirun("delete", "-f", name)


# ---------------------------------------------------------------- Pods that run

SLEEP = "trap 'exit 0' TERM; echo up; sleep 600 & wait"
QOS = [
    pod("best", [container("a", SLEEP)]),
    pod("guaranteed", [container("a", SLEEP, {"cpu": "100m", "memory": "32Mi"})]),
    pod("guaranteed-two", [container("a", SLEEP, {"cpu": "333m", "memory": "32M"}),
                           container("b", SLEEP, {"cpu": "1", "memory": "64Mi"})]),
    pod("burst-request", [container("a", SLEEP, None, {"cpu": "250m", "memory": "16Mi"})]),
    pod("burst-limit", [container("a", SLEEP, {"cpu": "500m", "memory": "40000001"}, {"cpu": "100m"})]),
    pod("burst-one-unlimited", [container("a", SLEEP, {"cpu": "500m", "memory": "64Mi"}), container("b", SLEEP)]),
    pod("burst-sidecar", [container("a", SLEEP, {"cpu": "500m", "memory": "64Mi"})], initContainers=[
        {**container("side", SLEEP, {"cpu": "50m", "memory": "32Mi"}), "restartPolicy": "Always"}]),
    pod("pod-level", [container("a", SLEEP), container("b", SLEEP, {"cpu": "200m"})],
        resources={"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "500m"}}),
    pod("tiny-cpu", [container("a", SLEEP, {"cpu": "5m"}, {"cpu": "1m"})]),
]


def kernel_value(directory, file):
    return read(directory / file).strip()


def kept(file, value):
    """What the kernel makes of a written value: it keeps memory in pages."""
    return str(int(value) // 4096 * 4096) if file.startswith("memory.") and value.isdigit() and int(value) > 1 else value


@test(limit=180, vm=True)
def files_are_what_explain_prints(t):
    """Nine Pods of all QoS classes run at once: pod and container files and oom_score_adj equal `explain --format json`."""
    uids = {}
    for number, document in enumerate(QOS):
        uids[document["metadata"]["name"]] = f"0000000{number}-{t.marker}"
        document["metadata"]["uid"] = uids[document["metadata"]["name"]]
    path = t.write("pods.json", {"apiVersion": "v1", "kind": "List", "items": QOS})
    expected = json.loads(explain(t, path, "--format", "json", "--node", "host").good().out)
    total = sum(len(e["containers"]) for e in expected)
    process = subprocess.Popen(t.command("run", path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    for _ in range(total):
        process.stdout.readline()
    compared = 0
    for one in expected:
        top = cgroup_mount() / ("minirun" + one["cgroup"]["cgroupfs"]["pod"])
        for file, value in one["podCgroup"]["v2"].items():
            equal(kernel_value(top, file), kept(file, value), f"{one['name']}: {file}")
            compared += 1
        for file in ("cpu.max", "memory.max"):
            if file not in one["podCgroup"]["v2"]:
                check(kernel_value(top, file).startswith("max"), f"{one['name']}: {file} is set")
        for name, plan in one["containers"].items():
            directory = top / f"{one['name']}-{name}"
            for file, value in plan["cgroup2"].items():
                value = value["quadratic"] if file == "cpu.weight" else value
                equal(kernel_value(directory, file), kept(file, value), f"{one['name']}/{name}: {file}")
                compared += 1
            pid = read(directory / "cgroup.procs").split()[0]
            equal(read(f"/proc/{pid}/oom_score_adj").strip(), str(plan["oomScoreAdj"]), f"{one['name']}/{name}")
    tiers = {name: int(kernel_value(cgroup_mount() / "minirun/kubepods" / name, "cpu.weight"))
             for name in ("burstable", "besteffort")}
    requests = sum(e["effective"]["requests"].get("cpu", {}).get("milli", 0) for e in expected
                   if e["qosClass"] == "Burstable")
    equal(tiers, {"burstable": 1 + (requests * 1024 // 1000 - 2) * 9999 // 262142, "besteffort": 1}, "tiers")
    classes = sorted({one["qosClass"] for one in expected})
    equal(classes, ["BestEffort", "Burstable", "Guaranteed"], "QoS classes")
    print(f"# {compared} values of {len(expected)} pods and {total} containers")
    # One of them again, as a running container; then with a value that somebody changed.
    drift = explain(t, "burst-limit-a").good().out
    check("DRIFT" not in drift and "cpu when all are busy" in drift, drift)
    directory = cgroup_mount() / f"minirun/kubepods/burstable/pod{uids['burst-limit']}/burst-limit-a"
    (directory / "cpu.max").write_text("20000 100000")
    drift = explain(t, "burst-limit-a").good().out
    check("DRIFT: the kernel has 20000 100000" in drift, drift)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    equal(process.returncode, 128 + signal.SIGTERM, "status after SIGTERM")


@test(limit=120, vm=True)
def pod_life(t):
    """Init containers in order, a sidecar beside, volumes, env, identity, network, prefixes, report, exit code."""
    document = pod("web", [
        {**container("app", "cat /data/x /conf/greeting; echo $(WHO) $HOSTNAME $(id -u):$(id -g); "
                     "grep -c . /etc/hosts; touch /mem/x && df -P /mem | tail -n 1 | tr -s ' '; "
                     "touch /conf/y 2>&1; ls /sys/class/net; sleep 0.5; exit 3", {"cpu": "1", "memory": "64Mi"}),
         "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
         "securityContext": {"runAsUser": 1000, "runAsGroup": 1001},
         "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "mem", "mountPath": "/mem"},
                          {"name": "conf", "mountPath": "/conf"}]}],
        initContainers=[
            {**container("first", "echo one > /data/x"), "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            {**container("side", "trap 'echo side ends; exit 0' TERM; echo side; sleep 600 & wait"),
             "restartPolicy": "Always"},
            {**container("second", "echo two >> /data/x"), "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        volumes=[{"name": "data", "emptyDir": {}},
                 {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
                 {"name": "conf", "configMap": {"name": "conf"}}])
    maps = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"greeting": "hello\n"}}
    path = t.write("pod.json", {"apiVersion": "v1", "kind": "List", "items": [maps, document]})
    report = t.dir / "report.json"
    result = t.minirun("run", "--report", report, path, timeout=60)
    equal(result.status, 3, "the container's exit code")
    lines = [line.split(" | ", 1) for line in result.out.splitlines()]
    app = [text for name, text in lines if name.strip() == "app"]
    equal(app[:5], ["one", "two", "hello", "web web 1000:1001", "2"], "output of app")
    check(app[5].startswith("tmpfs 4096 "), app[5])
    check("Read-only file system" in app[6] or "Permission denied" in app[6], app[6])
    equal(app[7:], ["lo"], "interfaces")
    equal([text for name, text in lines if name.strip() == "side"], ["side", "side ends"], "the sidecar")
    check("pod web (Burstable) ended 3" in result.err, result.err)
    one = json.loads(read(report))["pods"][0]
    equal([(c["name"], c["role"], c["last"]["exitCode"]) for c in one["containers"]],
          [("first", "init", 0), ("side", "sidecar", 0), ("second", "init", 0), ("app", "container", 3)], "report")


@test(limit=120, vm=True)
def pod_environment_and_hooks(t):
    """Secrets, labels, resourceFieldRef, subPath; postStart holds up the next container, preStop comes before SIGTERM."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"token": "aGVsbG8="},
              "stringData": {"plain": "text"}}
    conf = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a.conf": "one\n", "b": "two"}}
    def ref(kind, **more):
        return {"valueFrom": {kind: more}}
    env = [{"name": "TOKEN", **ref("secretKeyRef", name="s", key="token")},
           {"name": "LABEL", **ref("fieldRef", fieldPath="metadata.labels['app']")},
           {"name": "CPU", **ref("resourceFieldRef", resource="limits.cpu")},
           {"name": "MILLI", **ref("resourceFieldRef", resource="limits.cpu", divisor="1m")},
           {"name": "MIB", **ref("resourceFieldRef", resource="limits.memory", divisor="1Mi")},
           {"name": "IP", **ref("fieldRef", fieldPath="status.podIP")}]
    first = {**container("first", "echo $TOKEN $LABEL $CPU $MILLI $MIB $IP; cat /etc/app.conf /s/plain; echo; "
                         "df -P /s | tail -n 1 | cut -d' ' -f1; touch /s/x 2>/dev/null || echo read-only; "
                         "trap 'cat /d/log; echo term; exit 0' TERM; echo ready; sleep 600 & wait",
                         {"cpu": "1500m", "memory": "64Mi"}),
             "env": env, "lifecycle": {
                 "postStart": {"exec": {"command": ["sh", "-c", "sleep 1; echo hook >> /d/log"]}},
                 "preStop": {"exec": {"command": ["sh", "-c", "echo stop >> /d/log"]}}},
             "volumeMounts": [{"name": "c", "mountPath": "/etc/app.conf", "subPath": "a.conf"},
                              {"name": "s", "mountPath": "/s"}, {"name": "d", "mountPath": "/d"}]}
    second = {**container("second", "cat /d/log; echo second"), "volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    document = pod("env", [first, second], metadata={"labels": {"app": "web"}}, volumes=[
        {"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "s"}},
        {"name": "d", "emptyDir": {}}])
    path = t.write("pod.json", {"apiVersion": "v1", "kind": "List", "items": [secret, conf, document]})
    process = subprocess.Popen(t.command("run", path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    lines = []
    while not lines or not lines[-1].endswith("| second\n"):
        lines.append(process.stdout.readline())
        check(lines[-1], f"it ended: {lines}")
    process.terminate()
    lines += process.communicate(timeout=60)[0].splitlines(keepends=True)
    said = {name: [line.split(" | ", 1)[1].strip() for line in lines if line.startswith(name)]
            for name in ("first", "second")}
    equal(said["first"], ["hello web 2 1500 64 127.0.0.1", "one", "text", "tmpfs", "read-only", "ready",
                          "hook", "stop", "term"], "first")
    equal(said["second"], ["hook", "second"], "the second container begins after the postStart hook of the first")
    equal(process.returncode, 143, "status")
    failing = pod("fails", [{**container("a", "trap 'echo term; exit 4' TERM; sleep 600 & wait"),
                             "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "sleep 1; false"]}}}}])
    result = t.minirun("run", t.write("fails.json", failing), timeout=60).good(4)
    check("its postStart hook failed" in result.err, result.err)


@test(limit=180, vm=True)
def pod_network(t):
    """Pods on a bridge: names, podIP, hostPort (TCP and UDP), bandwidth both ways, probes at the pod's address; a killed run
    is collected."""
    own_network()
    server = ("import http.server as h, os, socket, threading\n"
              "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind((os.environ['IP'], 5353))\n"
              "def echo():\n while True:\n  data, sender = udp.recvfrom(99); udp.sendto(data * 2, sender)\n"
              "threading.Thread(target=echo, daemon=True).start()\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n"
              "  s.send_response(200); s.end_headers(); s.wfile.write(b'from ' + os.environ['IP'].encode())\n"
              " def log_message(s, *a): pass\n"
              "print('up', flush=True); h.HTTPServer((os.environ['IP'], 8080), H).serve_forever()")
    web = pod("web", [{"name": "s", "command": ["python3", "-c", server],
                       "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                       "ports": [{"containerPort": 8080, "hostPort": 18080},
                                 {"containerPort": 5353, "hostPort": 15353, "protocol": "UDP"}],
                       "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10}}],
              metadata={"annotations": {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "5M"}},
              terminationGracePeriodSeconds=1)
    client = pod("client", [container("c", "for i in $(seq 60); do python3 -c 'import urllib.request as u; "
                                      "print(u.urlopen(\"http://web:8080\").read().decode())' 2>/dev/null && exit; "
                                      "sleep 1; done; exit 9")])
    unused = t.minirun("run", "--dry-run", t.write("web.json", web)).good()
    equal(unused.err.count("has no effect without --network bridge"), 4, unused.err)
    path = t.write("pods.json", {"apiVersion": "v1", "kind": "List", "items": [web, client]})
    dry = t.minirun("run", "--network", "bridge", "--dry-run", path).good()
    check("dev" in dry.out and "tbf" in dry.out and "18080" in dry.out, dry.out)
    with open(t.dir / "pods.err", "w") as err:
        process = subprocess.Popen(t.command("run", "--network", "bridge", path), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=err, text=True)
    try:
        lines = [process.stdout.readline()]
        while lines[-1] and "from" not in lines[-1]:
            lines.append(process.stdout.readline())
        address = re.search(r"client/c +\| from (10\.\S+)", lines[-1])
        check(address, lines)
        answer = subprocess.run([sys.executable, "-c", "import urllib.request as u; "
                                 "print(u.urlopen('http://127.0.0.1:18080', timeout=20).read().decode())"],
                                capture_output=True, text=True, timeout=40, check=False)
        equal(answer.stdout, f"from {address[1]}\n", f"hostPort: {answer.stderr}")
        shaped = subprocess.run(["tc", "qdisc"], capture_output=True, text=True, check=True).stdout
        check(re.search(r"tbf .*rate 10Mbit", shaped) and re.search(r"tbf .*rate 5Mbit", shaped), shaped)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(20)
            udp.sendto(b"ab", ("127.0.0.1", 15353))
            equal(udp.recv(99), b"abab", "UDP hostPort")
        again = t.minirun("run", "--network", "bridge", t.write("again.json", pod("web", [container("x", "true")])))
        equal([again.status, "runs already" in again.err], [125, True], again.err)
        wait_until(lambda: "s: ready" in read(t.dir / "pods.err"), "the probe at the pod's address succeeds", 60)
    finally:
        process.kill()
        process.communicate(timeout=30)
    wait_until(lambda: not [d for d in os.listdir("/proc") if d.isdigit() and "serve_forever" in cmdline(d)], "they die")
    t.minirun("gc").good()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    check(not re.search(r"mr[0-9a-f]{12}", links), links)
    t.minirun("network", "rm", "minirun0").good()


@test(limit=120, vm=True)
def pod_policies(t):
    """OnFailure restarts until it succeeds; a failed init container ends a pod of Never; probes kill and gate."""
    failing = pod("again", [{**container("a", "echo try; test -e /d/x || { touch /d/x; exit 1; }"),
                             "volumeMounts": [{"name": "d", "mountPath": "/d"}]}],
                  restartPolicy="OnFailure", volumes=[{"name": "d", "emptyDir": {}}])
    result = t.minirun("run", t.write("a.json", failing), timeout=40).good()
    equal(result.out, "a | try\na | try\n", "output")
    check("a: exited 1, restart 1 at once" in result.err and "[1 restart]" in result.err, result.err)
    broken = pod("broken", [container("a", "echo never")], initContainers=[container("i", "exit 7")])
    result = t.minirun("run", t.write("b.json", broken), timeout=40).good(7)
    check("init container i failed" in result.err and "a did not run" in result.err, result.err)
    missing = pod("missing", [{"name": "a", "command": ["/nosuch"]}])
    result = t.minirun("run", t.write("c.json", missing), timeout=40).good(127)
    probed = pod("probed", [{**container("a", "trap 'echo term; exit 5' TERM; sleep 600 & wait"),
                             "livenessProbe": {"exec": {"command": ["test", "-e", "/nosuch"]}, "periodSeconds": 1,
                                               "timeoutSeconds": 10, "failureThreshold": 1}}])
    result = t.minirun("run", t.write("d.json", probed), timeout=60).good(5)
    check("liveness probe failed" in result.err and "a | term" in result.out, result.err)
    server = ("import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n"
              "  s.send_response(200 if s.path == '/ok' else 500); s.end_headers()\n"
              "h.HTTPServer(('127.0.0.1', 8080), H).serve_forever()")
    http = pod("http", [container("a", "echo begun")], initContainers=[
        {"name": "web", "command": ["python3", "-c", server], "restartPolicy": "Always",
         "ports": [{"name": "http", "containerPort": 8080}],
         "startupProbe": {"httpGet": {"path": "/ok", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5,
                          "failureThreshold": 60}}], terminationGracePeriodSeconds=1)
    result = t.minirun("run", t.write("e.json", http), timeout=60).good()
    equal(result.out, "a   | begun\n", "after the startup probe of the sidecar")


@test(limit=120, vm=True)
def pod_end(t):
    """SIGTERM reaches the containers, their grace is kept, three of them insist; a killed minirun leaves no process."""
    quick = pod("quick", [container("a", "trap 'echo bye; exit 0' TERM; echo up; sleep 600 & wait")])
    path = t.write("quick.json", quick)
    process = subprocess.Popen(t.command("run", path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    equal(process.stdout.readline(), "a | up\n", "first line")
    process.terminate()
    out, _ = process.communicate(timeout=30)
    equal([out, process.returncode], ["a | bye\n", 143], "after SIGTERM")
    deaf = pod("deaf", [container("a", "trap '' TERM; echo up; sleep 600 & wait")],
               terminationGracePeriodSeconds=1)
    process = subprocess.Popen(t.command("run", t.write("deaf.json", deaf)), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)
    equal(process.returncode, 143, "after its grace")
    process = subprocess.Popen(t.command("run", path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.kill()
    process.communicate(timeout=30)
    wait_until(lambda: not [d for d in os.listdir("/proc") if d.isdigit() and "sleep 600" in cmdline(d)], "they die")
    result = t.minirun("run", "--timeout", "1s", path, timeout=30)
    equal(result.status, 137, "at its timeout; and the id was free again")
    t.minirun("gc").good()


def cmdline(pid):
    try:
        return read(f"/proc/{pid}/cmdline")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@test(limit=60)
def pod_dry_run(t):
    """--dry-run prints the pod's cgroup and each container's plan and leaves nothing, or says what the machine lacks."""
    path = t.write("pod.json", QOS[1])
    result = t.minirun("run", "--dry-run", path)
    if result.status == 0:
        for words in ("kubepods/pod", "cpu.max = 10000 100000", "namespaces of the pod: network, ipc, uts"):
            check(words in result.out, f"{words!r} is not in the plan")
    else:
        check(re.search("bound to cgroup v1|no cgroup2", result.err), result.err)
    result = t.minirun("run", "--image", "x=/nosuch", path)
    equal([result.status, "is no directory" in result.err], [125, True], "--image")
