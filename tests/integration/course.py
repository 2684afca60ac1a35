"""The experiments of docs/kubernetes-limits.md: each manifest of examples/kubernetes with its expected counters.

They need controllers, so they run in the VM. Its emulated processor is slow: CPU time, counters and ratios count here.
"""

import json
import os
import re
import subprocess
import time

from harness import REPOSITORY, cgroup_mount, check, equal, flat, needs, read, test, within

EXAMPLES = REPOSITORY / "examples/kubernetes"
MIB = 1 << 20


def run(t, name, *options, status=0):
    """Runs the manifest; the report of its one pod, and what it printed."""
    report = t.dir / f"report-{t.id()}.json"
    result = t.minirun("run", "--report", report, *options, EXAMPLES / name, timeout=60)
    equal(result.status, status, f"status of {name} ({result.err[-300:]!r})")
    one = json.loads(read(report))["pods"][0]
    return one, {c["name"]: c["last"] for c in one["containers"]}, result


@test(limit=60, vm=True)
def course_01_throttled(t):
    """4 % of a CPU under a limit of 20 %: still throttled, because 40 ms do not fit into the 20 ms of a period."""
    _, last, result = run(t, "01-throttled.yaml")
    took = json.loads(re.search(r"\[.*\]", result.out)[0])
    check(took[2] >= 70, f"the median is {took[2]} ms")
    cpu = last["app"]["cpu"]
    check(cpu["nrThrottled"] >= 5, cpu)
    within(cpu["nrThrottled"] / cpu["nrPeriods"], 0.02, 1, "throttled periods")


@test(limit=60, vm=True)
def course_02_burst(t):
    """The same with cpu.max.burst = 20 ms: what was saved up pays for the bursts."""
    result = t.report(EXAMPLES / "02-burst.json")
    took = json.loads(re.search(r"\[.*\]", result.out)[0])
    check(took[0] < 70, f"no burst was fast: {took}")
    check(result.report["cpu"]["nrBursts"] >= 3, result.report["cpu"])


@test(limit=60, vm=True)
def course_03_threads(t):
    """Four busy processes under half a CPU: nearly every period is throttled."""
    _, last, _ = run(t, "03-threads.yaml")
    cpu = last["app"]["cpu"]
    within(cpu["nrThrottled"] / cpu["nrPeriods"], 0.8, 1, "throttled periods")


@test(limit=60, vm=True)
def course_04_floor(t):
    """A limit of 5m gives 10m."""
    one, _, _ = run(t, "04-floor.yaml", status=137)
    check("activeDeadlineSeconds" in one["reason"], one["reason"])
    within(one["cpu"]["usageUsec"] / one["seconds"] / 1000, 8, 16, "ms of CPU per second")


@test(limit=90, vm=True)
def course_05_page_cache(t):
    """96 MiB of file through 32 MiB: memory.events max rises, oom_kill stays 0, the working set is small."""
    # emptyDir has to be on a disk: in the VM /var is memory.
    os.makedirs("/var/lib/minirun", exist_ok=True)
    os.makedirs(f"/mnt/disk/{t.marker}")
    subprocess.run(["mount", "--bind", f"/mnt/disk/{t.marker}", "/var/lib/minirun"], check=True)
    try:
        one, last, result = run(t, "05-page-cache.yaml")
    finally:
        subprocess.run(["umount", "/var/lib/minirun"], check=True)
    # The pod's limit is as large and its cgroup holds a few pages more: it is hit before the container's.
    events = one["memory"]["events"]
    check(events["max"] > 0 and events["oom_kill"] == 0, events)
    equal(last["app"]["memory"]["events"]["oom_kill"], 0, "oom_kill of the container")
    check(f"{96 * MIB}" in result.out, result.out)
    values = flat("\n".join(line.split(" | ")[1] for line in result.out.splitlines() if re.search(r"\| \w+ \d+$", line)))
    within(values["current"], 20 * MIB, 32 * MIB, "memory.current")


@test(limit=60, vm=True)
def course_06_memory_volume(t):
    """The same amount into a volume in memory: killed."""
    one, last, _ = run(t, "06-memory-volume.yaml", status=137)
    check(last["app"]["memory"]["events"]["oom_kill"] >= 1, last["app"]["memory"])
    equal([last["app"]["oom"]["cause"], last["app"]["oom"]["cgroup"], last["app"]["oom"]["limitBytes"]],
          ["ancestor", one["cgroup"], 32 * MIB], "who killed")


@test(limit=60, vm=True)
def course_07_shares(t):
    """100m beside 1 CPU gets 14.5 % by the quadratic weights 17:100, not the 9.1 % of the requests."""
    _, _, result = run(t, "07-shares.yaml")
    used = dict(re.findall(r"^(\w+) +\| used (\d+) ms", result.out, re.M))
    small, large = int(used["small"]), int(used["large"])
    within(small / (small + large), 0.11, 0.19, "share of the small one")


@test(limit=60, vm=True)
def course_08_sidecar(t):
    """A sidecar without a limit: the pod has no cpu.max and uses more than the app's limit."""
    text = t.minirun("explain", EXAMPLES / "08-sidecar-uncaps.yaml").good().out
    check("the pod gets no cpu.max: no cpu limit on proxy" in text, text)
    one, _, _ = run(t, "08-sidecar-uncaps.yaml")
    within(one["cpu"]["usageUsec"] / one["seconds"] / 1e6, 0.4, 2, "CPUs of the pod whose app is limited to 0.2")


@test(limit=90, vm=True)
def course_09_shrink(t):
    """Growing is done in place and in order; shrinking below the use is refused, and with --force it kills."""
    needs("memory")
    process = subprocess.Popen(t.command("run", "--report", t.dir / "r.json", EXAMPLES / "09-shrink.yaml"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    equal(process.stdout.readline(), "app | ready\n", "its word")
    usage = t.minirun("stats", "--format", "json", "--interval", "100ms").good()
    usage = json.loads(usage.out)
    equal([usage["id"], usage["memory"]["limitBytes"]], ["shrink-app", 64 * MIB], "stats")
    within(usage["memory"]["bytes"], 40 * MIB, 64 * MIB, "memory of stats")
    larger = t.minirun("resize", EXAMPLES / "09-shrink-larger.yaml").good().out
    steps = re.findall(r"^  (\w.*)", larger, re.M)
    equal(steps, ["pod memory.max=134217728", "UpdateContainerResources app", "pod cpu.max=150000 100000",
                  "pod cpu.weight=59", "UpdateContainerResources app"], "order")
    leaf = next(cgroup_mount().glob("minirun/kubepods/pod*/shrink-app"))
    equal([read(leaf / "memory.max"), read(leaf / "cpu.max"), read(leaf.parent / "memory.max")],
          [f"{128 * MIB}\n", "150000 100000\n", f"{128 * MIB}\n"], "after growing")
    after = t.minirun("explain", "shrink-app").good().out
    check("DRIFT" not in after and "cpu.max = 150000 100000" in after, f"a resize is no drift: {after}")
    refused = t.minirun("resize", EXAMPLES / "09-shrink-smaller.yaml")
    equal(refused.status, 1, "status of the refusal")
    check("more than the new memory.max of 32 MiB" in refused.err, refused.err)
    equal(read(leaf / "memory.max"), f"{128 * MIB}\n", "after the refusal")
    t.minirun("resize", "--force", EXAMPLES / "09-shrink-smaller.yaml")
    process.communicate(timeout=30)
    equal(process.returncode, 137, "after --force")
    events = json.loads(read(t.dir / "r.json"))["pods"][0]["memory"]["events"]
    check(events["oom_kill"] >= 1, events)


@test(limit=60, vm=True)
def course_10_all_die(t):
    """memory.oom.group: one process too large kills both; with singleProcessOOMKill the parent lives."""
    _, last, result = run(t, "10-all-die.yaml", status=137)
    check("lives" not in result.out and last["app"]["oom"]["group"], result.out)


@test(limit=60, vm=True)
def course_10_one_dies(t):
    """The kubelet's singleProcessOOMKill: only the large one dies."""
    start = time.monotonic()
    document = read(EXAMPLES / "10-all-die.yaml").replace("sleep 20", "sleep 4")
    report = t.dir / "report.json"
    result = t.minirun("run", "--report", report, "--node", EXAMPLES / "10-one-dies.node.yaml",
                       t.write("one.yaml", document), timeout=60).good()
    check("the child ended with 137" in result.out and "the parent lives" in result.out, result.out)
    check(time.monotonic() - start < 40, "too slow")


@test(limit=60, vm=True)
def course_11_pids(t):
    """podPidsLimit is the pod's: the container's file says max, and fork fails all the same."""
    node = t.write("node.json", {"kubelet": {"podPidsLimit": 12}})
    equal(read(EXAMPLES / "11-pids.node.yaml").split()[1:], ["{podPidsLimit:", "12}"], "the node file")
    _, _, result = run(t, "11-pids.yaml", "--node", node)
    check("fork 12 fails: Resource temporarily unavailable" in result.out, result.out)
    check("pids.max of the container: max" in result.out, result.out)


@test(limit=30)
def course_12_traps(t):
    """`explain` names every trap of a manifest that only looks harmless."""
    text = " ".join(t.minirun("explain", EXAMPLES / "12-traps.yaml").good().out.split())
    for words in ("400m is a fraction of a byte", "5m acts as 10m", "the quantity has no digits",
                  "an explicit request of 0 gives 2 shares", "128M is decimal", "the pod gets no memory.max"):
        check(words in text, f"{words!r} is missing")


@test(limit=60, vm=True)
def course_web(t):
    """The example with a bit of everything."""
    _, last, result = run(t, "web.yaml")
    check("copy   | copied index.html" in result.out and "client | <h1>hello from a ConfigMap</h1>" in result.out,
          result.out)
    equal(last["client"]["exitCode"], 0, "client")
