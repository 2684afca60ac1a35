"""Limits are real, and the summary and the report say what they did. They need controllers: this machine's or the VM's.

The emulated processor is ten to twenty times slower than a real one, so what is measured are shares, rates and the
kernel's own counters.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

from harness import (REPOSITORY, Skip, cgroup_mount, check, equal, flat, needs, read, test, wait_until, within)
from integration.bundles import busybox_root

MIB = 1 << 20

# Burns for five seconds of the clock, then says what its cgroup counted in that time.
BURN = """
import time
def usage():
    with open('/sys/fs/cgroup/cpu.stat') as file:
        return int(file.readline().split()[1])
time.sleep(0.3)
before, start = usage(), time.monotonic()
while time.monotonic() < start + 5: pass
print(usage() - before, time.monotonic() - start, flush=True)
time.sleep(2)
"""


@test(limit=120)
def cpu_limit(t):
    """A CPU-bound program under `cpu: 500m` gets 0.50 +- 0.03 of a core over 5 s; the summary equals cpu.stat."""
    needs("cpu")
    name, report = t.id(), t.dir / "report.json"
    spec = t.write("spec.json", {"name": "burn", "command": ["python3", "-c", BURN],
                                 "resources": {"limits": {"cpu": "500m"}}})
    process = subprocess.Popen(t.command("run", "--summary", "--id", name, "--report", report, spec),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    used, seconds = map(float, process.stdout.readline().split())
    # minirun is stopped until the program has ended: so we can look before the cgroup is removed.
    cgroup = cgroup_mount() / "minirun" / name
    pid = read(cgroup / "cgroup.procs").split()[0]
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: " Z " in read(f"/proc/{pid}/stat"), "the program ends")
    stat = flat(read(cgroup / "cpu.stat"))
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    print(err, stat)
    equal(process.returncode, 0, "status")
    within(used / 1e6 / seconds, 0.47, 0.53, "cores over 5 s")
    cpu = json.loads(read(report))["cpu"]
    equal([cpu["nrThrottled"], cpu["throttledUsec"]], [stat["nr_throttled"], stat["throttled_usec"]],
          "throttling in the report and in cpu.stat")
    # A zombie still has to leave the processor, and the timer of the periods runs once more.
    within(cpu["nrPeriods"] - stat["nr_periods"], 0, 1, "periods, report - cpu.stat")
    for ours, theirs in (("usageUsec", "usage_usec"), ("userUsec", "user_usec"), ("systemUsec", "system_usec")):
        within(cpu[ours] - stat[theirs], -5000, 5000, f"{ours} of the report - {theirs} of cpu.stat")
    check(stat["nr_throttled"] >= 30, f"throttled in {stat['nr_throttled']} periods only")
    equal(cpu["limitCores"], 0.5, "limit in the report")
    found = re.search(r"cpu +(\d\.\d\d) of 0\.50 cores +throttled in (\d+) of (\d+) periods, (\S+) s stalled", err)
    check(found, f"the summary says {err!r}")
    equal([int(found[2]), int(found[3])], [cpu["nrThrottled"], cpu["nrPeriods"]], "periods in the summary")
    within(float(found[4]) - stat["throttled_usec"] / 1e6, -0.006, 0.006, "stalled time, summary - cpu.stat")
    within(float(found[1]) - cpu["cores"], -0.006, 0.006, "cores, summary - report")


@test(limit=120)
def memory_limit(t):
    """A program that allocates past 64Mi is OOM-killed, and the report names the limit and the field."""
    needs("memory")
    result = t.report(REPOSITORY / "examples/memory-hog.json", options=["--summary"], timeout=60)
    equal(result.status, 137, "status")
    oom, memory = result.report["oom"], result.report["memory"]
    equal([oom["cause"], oom["limitBytes"], oom["kills"] >= 1], ["own_limit", 64 * MIB, True], "oom")
    equal(memory["events"]["oom_kill"], oom["kills"], "oom_kill events")
    within(memory["peakBytes"] / MIB, 60, 64, "peak in MiB")
    check(result.report["cgroup"] in oom["cgroup"], f"cgroup level {oom['cgroup']!r}")
    limit = [entry for entry in result.report["limits"] if entry["file"] == "memory.max"]
    equal([(entry["value"], entry["field"]) for entry in limit], [(str(64 * MIB), "resources.limits.memory")], "limit")
    lines = result.err.splitlines()
    check(lines[0].endswith("killed by the OOM killer at memory.max = 64 MiB (resources.limits.memory)"),
          f"first line {lines[0]!r}")
    # With memory.oom.group Linux counts a victim that is still there when it goes through the group once more.
    check(f"of 64 MiB     oom_kill {oom['kills']}, max " in result.err, f"line of the memory in {result.err!r}")
    check(oom["kills"] in (1, 2), f"{oom['kills']} kills of one process")


@test(limit=120)
def memory_512k(t):
    """A container under a memory.max of 512 KiB starts: what minirun puts into its cgroup is small."""
    needs("memory")
    root = busybox_root(t)

    def change(config):
        config["process"]["args"] = ["cat", "/sys/fs/cgroup/memory.max"]
        config["linux"].setdefault("resources", {})["memory"] = {"limit": 512 * 1024}

    for _ in range(3):
        result = t.run(t.bundle(root, change), timeout=60)
        equal([result.status, result.out], [0, f"{512 * 1024}\n"], f"status and memory.max inside ({result.err.strip()})")


@test(limit=120)
def memory_limit_of_a_child(t):
    """The OOM kill of a process that is not the first one: reported too, whatever the exit status is."""
    needs("memory")
    spec = {"command": ["sh", "-c", "sh -c 'exec tail /dev/zero'; echo survived; exit 5"],
            "resources": {"limits": {"memory": "64Mi"}, "oom_group": False}}
    result = t.report(spec, options=["--summary"], timeout=60)
    equal([result.status, result.out], [5, "survived\n"], "status and output")
    equal([result.report["oom"]["cause"], result.report["oom"]["kills"]], ["own_limit", 1], "oom")
    check("memory.max = 64 MiB" in result.err, f"summary {result.err!r}")
    group = {**spec, "resources": {"limits": {"memory": "64Mi"}, "oom_group": True}}
    result = t.report(group, timeout=60)
    equal([result.status, result.out, result.report["oom"]["group"]], [137, "", True], "with oom_group")


FORK_BOMB = """
import os, sys, time
children = 0
try:
    while children < 100:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
except BlockingIOError:
    print(children + 1, open('/sys/fs/cgroup/pids.current').read().strip(), flush=True)
"""


@test(limit=120)
def pids_limit(t):
    """`pids: 10` stops a fork bomb at 10."""
    needs("pids")
    result = t.report({"command": ["python3", "-c", FORK_BOMB], "resources": {"limits": {"pids": 10}}},
                      options=["--summary"])
    equal(result.out.split(), ["10", "10"], "processes that came to be, and pids.current")
    report = result.report
    equal([report["pids"]["limit"], report["pidsRefused"], report["pids"]["maxEvents"]], [10, 1, 1], "pids")
    if report["pids"]["peak"] is not None:  # the file came with Linux 6.1
        equal(report["pids"]["peak"], 10, "peak")
    check("pids.max (resources.limits.pids)" in result.err and "of 10" in result.err, f"summary {result.err!r}")


@test(limit=120)
def fork_bomb_example(t):
    """The example does what its description says: refused at the eleventh process."""
    needs("pids", "memory")
    result = t.report(REPOSITORY / "examples/fork-bomb.json")
    check(result.report["pidsRefused"] >= 1, f"refused {result.report['pidsRefused']} times")


@test(limit=180, vm=True)
def io_limit(t):
    """`io.max` on a real virtio disk holds direct writes and reads to their rates +- 10 %."""
    needs("io")
    folder = f"/mnt/disk/{t.marker}"
    os.mkdir(folder)
    script = ("dd if=/dev/zero of=/data/file bs=256k count=128 oflag=direct 2>&1 | tail -n 1; "
              "dd if=/data/file of=/dev/null bs=256k iflag=direct 2>&1 | tail -n 1; cat /sys/fs/cgroup/io.stat")
    result = t.report({"command": ["sh", "-c", script], "mounts": [f"{folder}:/data"], "resources": {
        "io": [{"device": "/dev/vda", "wbps": "8Mi", "rbps": "16Mi"}]}}, options=["--summary"], timeout=90).good()
    lines = result.out.splitlines()
    for line, rate, what in ((lines[0], 8, "write"), (lines[1], 16, "read")):
        seconds = float(re.search(r"copied, ([0-9.]+) s", line)[1])
        within(32 / seconds / rate, 0.9, 1.1, f"{what} rate / limit")
    device = read("/sys/block/vda/dev").strip()
    stat = dict(word.split("=") for line in lines[2:] if line.startswith(device) for word in line.split()[1:])
    found = result.report["io"][device]
    equal(found["wbytes"], int(stat["wbytes"]), "bytes written, report and io.stat")
    within(found["rbytes"] - int(stat["rbytes"]), 0, MIB, "bytes read after the payload's own look")
    check("written 32 MiB" in result.err, f"summary {result.err!r}")
    os.remove(f"{folder}/file")
    os.rmdir(folder)


def linear(cpu):
    """kubelet until 1.34: cpu.weight from shares, KEP-2254."""
    shares = max(2, cpu * 1024 // 1000)
    return 1 + (shares - 2) * 9999 // 262142


@test(limit=180)
def cpu_weights(t):
    """Two containers with 250m and 750m requests share a contended CPU as their weights say."""
    needs("cpu", "cpuset")
    names, weights = [], []
    for request in (250, 750):
        name = t.id()
        t.run({"command": [sys.executable, "-c", "while True: pass"], "resources": {
            "requests": {"cpu": f"{request}m"}, "cpuset": {"cpus": "0"}}}, options=["-d", "--id", name]).good()
        names.append(name)
        weights.append(int(read(cgroup_mount() / "minirun" / name / "cpu.weight")))
    print(f"# weights {weights}, the linear formula gives {[linear(250), linear(750)]}")
    check(weights[0] < weights[1], f"weights {weights}")

    def usage():
        return [flat(read(cgroup_mount() / "minirun" / name / "cpu.stat"))["usage_usec"] for name in names]

    time.sleep(2)
    before = usage()
    time.sleep(8)
    used = [b - a for a, b in zip(before, usage())]
    for name in names:
        t.minirun("delete", "-f", name).good()
    within(sum(used) / 8e6, 0.8, 1.02, "cores that both had")
    within(used[1] / sum(used) - weights[1] / sum(weights), -0.03, 0.03, "share - weight share of the second")
    # Both published conversions, ../reference of the plan: the plan says which one it took.
    plan = t.minirun("run", "--dry-run", t.write("s.json", {"command": ["true"], "resources": {
        "requests": {"cpu": "250m"}}})).good().out
    line = next(line for line in plan.splitlines() if "cpu.weight = " in line)
    equal(int(line.split("= ")[1].split()[0]), weights[0], "weight in the plan and in the file")
    check("requests.cpu" in line, f"the plan does not name the field: {line!r}")


@test(limit=120)
def every_limit(t):
    """Every limit of the example is in its file, with the value that the plan says."""
    needs("cpu", "memory", "pids", "cpuset")
    result = t.report(REPOSITORY / "examples/limits.json").good()
    found = dict(line.split(" ", 1) for line in result.out.splitlines() if " " in line)
    expected = {"cpu.max": "75000 50000", "cpu.max.burst": "10000", "cpuset.cpus": "0",
                "memory.max": str(256 * MIB), "memory.high": "201326592", "memory.swap.max": str(64 * MIB),
                "memory.oom.group": "1", "pids.max": "50"}
    equal({key: found.get(key) for key in expected}, expected, "files of the cgroup")
    for entry in result.report["limits"]:
        if entry["file"] in expected:
            equal(entry["value"], found[entry["file"]], f"{entry['file']} in the report")
            check(entry["field"], f"no field for {entry['file']}")


@test(limit=120, vm=True)
def controllers_from_the_root(t):
    """Controllers are enabled along the path, also where processes sit in the root cgroup."""
    root = cgroup_mount()
    check(str(os.getpid()) in read(root / "cgroup.procs").split(), "this test is not in the root cgroup")
    name = t.id()
    t.run({"command": ["sleep", "100"], "resources": {"limits": {"memory": "64Mi"}}},
          options=["-d", "--id", name]).good()
    check("memory" in read(root / "cgroup.subtree_control").split(), "memory is not enabled below the root")
    check("memory" in read(root / "minirun/cgroup.subtree_control").split(), "memory is not enabled below /minirun")
    equal(read(root / "minirun" / name / "memory.max").strip(), str(64 * MIB), "memory.max")
    t.minirun("delete", "-f", name).good()


@test(limit=120)
def timeout_with_throttling(t):
    """--timeout ends also a container that is throttled to nearly nothing, with all its processes."""
    needs("cpu")
    start = time.monotonic()
    result = t.report(REPOSITORY / "examples/cpu-burn.json", options=["--timeout", "5s"])
    equal([result.status, result.report["timedOut"]], [137, True], "status")
    within(time.monotonic() - start, 5, 13, "seconds")
    # Over 5 s: what a busy host takes from a virtual processor counts as used, and is repaid in the next periods only.
    within(result.report["cpu"]["cores"], 0.15, 0.30, "cores of 0.25")


@test(limit=120)
def quickstart(t):
    """The main job: a real program, half a CPU and 64 MiB, and the summary."""
    needs("cpu", "memory", "pids")
    result = t.run(REPOSITORY / "examples/quickstart.json", options=["--summary"], timeout=90).good()
    check(result.out.startswith("I am pid 1 on host "), f"output {result.out!r}")
    for words in ("quickstart exited 0 after", " of 0.50 cores", "throttled in", "of 64 MiB", "of 100"):
        check(words in result.err, f"{words!r} is not in {result.err!r}")


@test(limit=120)
def out_of_the_frozen(t):
    """A detached container with limits goes with `delete -f` also while it is frozen."""
    if not os.path.exists(cgroup_mount() / "cgroup.procs"):
        raise Skip("no cgroup2 tree")
    name = t.id()
    t.run({"command": ["sleep", "100"]}, options=["-d", "--id", name]).good()
    freeze = cgroup_mount() / "minirun" / name / "cgroup.freeze"
    freeze.write_text("1")
    wait_until(lambda: '"paused"' in t.minirun("state", name).out, "frozen")
    t.minirun("delete", "-f", name).good()
