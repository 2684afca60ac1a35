"""Probes: what they measure is what the kernel counted, and what cannot be measured is said, never passed."""

import json
import os
import signal
import subprocess
import time
import xml.etree.ElementTree

from harness import MINIRUN, check, equal, needs, read, test, wait_until, within

MIB = 1 << 20
SPEC = {"name": "probe", "command": ["true"], "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}


def recorded(t, *words, status=0, timeout=60):
    """`probe run` with a recording."""
    path = t.dir / "recording.json"
    result = t.minirun("probe", "run", *words, "--quick", "--json", path, timeout=timeout).good(status)
    return json.loads(read(path)), result


@test(limit=150)
def probe_limits_bite(t):
    """500m and 64Mi: half a CPU, a kill at 64 MiB +- 1 MiB, one victim without oom.group and all with it; the numbers
    are the kernel's."""
    needs("cpu", "memory")
    spec = t.write("spec.json", SPEC)
    file, result = recorded(t, "throttle.1t", "oom.anon", "oom.group", "--inside", spec,
                            "--expect", "throttle.ratio>=0.4", "--expect", "throttle.effective_cores<=0.6",
                            "--expect", "oom.anon.peak>=63Mi", "--expect", "oom.anon.peak<=65Mi",
                            "--expect", "oom.anon.kills==1", "--expect", "oom.group.kills>=3", timeout=140)
    print(result.out, result.err)
    runs = {run["scenario"]: run for run in file["runs"]}
    burn = runs["1t"]
    equal(burn["limits"]["cpu.max"], "50000 100000", "cpu.max in force")
    inside, outside = burn["document"]["counters"], burn["after"]["cpu.stat"]
    # The program read them a moment before its end.
    for key in ("nr_periods", "nr_throttled"):
        within(outside[key] - inside[f"cpu.stat {key}"], 0, 3, f"{key}, read from outside - from inside")
    anon = runs["anon"]
    equal(anon["levels"][0]["local"]["oom_kill"], 1, "oom_kill of the container's own level")
    equal(anon["levels"][1]["local"]["oom_kill"], 0, "oom_kill of the level above")
    within(max(anon["timeline"]["memory.current"]), 50 * MIB, 64 * MIB, "memory.current seen on the way")


@test()
def probe_unsupported_is_no_pass(t):
    """A scenario that cannot be is `unsupported` with the reason, and an expectation of it fails, whatever it is."""
    spec = t.write("spec.json", {"command": ["true"]})
    junit = t.dir / "junit.xml"
    file, result = recorded(t, "throttle.bursts+burst", "--inside", spec, "--junit", junit, "--expect",
                            "throttle.bursts+burst.latency<1000000", "--expect", "throttle.ratio>=0", status=1)
    equal(len(file["runs"]), 1, "runs")
    check("no CPU limit" in file["runs"][0]["unsupported"], f"the reason: {file['runs'][0]}")
    equal(result.err.count("UNSUPPORTED"), 2, "lines of expectations")
    suite = xml.etree.ElementTree.fromstring(read(junit))
    equal([suite.get("tests"), suite.get("failures"), suite.get("errors")], ["2", "0", "2"], "JUnit")


@test()
def probe_needs_nothing_in_the_root(t):
    """In a container whose root is an empty directory, and on the host, the same program runs; a failed expectation is
    status 1."""
    root = t.dir / "empty"
    root.mkdir()
    bundle = t.bundle(root)
    file, result = recorded(t, "ctxswitch.no-limits", "--both", "--inside", bundle, "--expect",
                            "ctxswitch.no-limits.pipe.thread.one_cpu>0", "--expect",
                            "ctxswitch.no-limits.pipe.thread.one_cpu@ratio>1000", status=1)
    check("FAIL" in result.err and "ok ctxswitch" in result.err, f"the expectations: {result.err}")
    equal([run["side"] for run in file["runs"]], ["host", "container"], "sides")
    for run in file["runs"]:
        results = {entry["metric"]: entry for entry in run["document"]["results"]}
        one = results["ctxswitch.pipe.process.one_cpu"]
        check(one["n"] >= 5 and one["min"] <= one["p5"] <= one["median"] <= one["p95"] <= one["p99"] <= one["max"],
              f"the statistics: {one}")
        # Each handover on one CPU is one switch, as the kernel counts it.
        switches = sum(results[f"ctxswitch.pipe.process.one_cpu.{kind}"]["median"]
                       for kind in ("voluntary", "involuntary"))
        within(switches, 0.9, 1.5, "switches of ping for each round trip")
    again = t.minirun("probe", "report", t.dir / "recording.json").good()
    check("ctxswitch.no-limits.pipe.process.one_cpu" in again.out, "judged again from the file")
    same = t.minirun("probe", "compare", t.dir / "recording.json", t.dir / "recording.json").good()
    check("are the same" in same.out and "worse" not in same.out, f"compared with itself: {same.out}")


@test()
def probe_alone(t):
    """minirun-probe is one static file: it runs as the only file of a root, without /proc."""
    program = os.path.join(os.path.dirname(MINIRUN), "minirun-probe")
    root = t.dir / "root"
    root.mkdir()
    (root / "minirun-probe").write_bytes(open(program, "rb").read())
    (root / "minirun-probe").chmod(0o755)
    done = subprocess.run(["/minirun-probe", "ctxswitch", "--quick", "--kind", "eventfd.thread.one_cpu", "--json"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
                          preexec_fn=lambda: os.chroot(root))
    equal(done.returncode, 0, f"status ({done.stderr})")
    document = json.loads(done.stdout)
    equal([document["schema"], document["probe"]], [1, "ctxswitch"], "the document")
    equal(document["machine"]["cpu_model"], "unknown", "what cannot be read")
    within(document["results"][0]["n"], 5, 8192, "samples")
    for words in (["nonsense"], ["oom", "--cap", "x"], ["oom", "--cap", "0"], ["oom", "--cap"], ["oom", "--what"]):
        bad = subprocess.run([program, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        equal(bad.returncode, 2, f"status of {words}")


@test()
def probe_bad_input(t):
    """What is wrong is one line that names it, before anything runs."""
    garbage = t.write("garbage.json", {"schema": 7, "runs": []})
    for words, name in ((["run", "nonsense"], "nonsense"), (["run", "throttle.nonsense"], "nonsense"),
                        (["run", "--expect", "throttle.ratio"], "--expect"),
                        (["run", "--expect", "throttle.ratio>=x"], "--expect"),
                        (["run", "--junit", t.dir / "x"], "--junit"), (["run", "--inside", t.dir / "none"], "none"),
                        (["report", garbage], "/schema"), (["report", t.dir / "none"], "none"),
                        (["compare", garbage, garbage], "/schema"), (["run", "--repeat", "0"], "repeat")):
        t.refused(t.minirun("probe", *words), name, status=1)


@test()
def probe_interrupted(t):
    """A signal ends the probe and its container, and nothing is left."""
    process = subprocess.Popen(t.command("probe", "run", "ctxswitch", "--inside", t.write("spec.json", {"command": ["true"]})),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: os.listdir(t.root), "the container")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    equal(process.returncode, 1, "status")
    check("SIGTERM" in err, f"the reason: {err}")
