"""The commands that engines and people use on a running container: pause, resume, ps, update, events, kill and delete by
expression, features, info, and the spellings of the command line. Must not: test `run` or what is inside of one.
"""

import json
import os
import subprocess
import threading
import time

from harness import (Fingerprint, Skip, cgroup_mount, check, equal, flat, libc, needs, read, test, wait_until, within)

MIB = 1 << 20


def sleeper(t, *options, **spec):
    """A detached container that does nothing, and its id."""
    name = t.id()
    path = t.write(f"{name}.json", {"command": ["sleep", "1000"], **spec})
    t.minirun("run", "-d", "--id", name, *options, path).good()
    return name


def state(t, name):
    return json.loads(t.minirun("state", name).good().out)


def group(name):
    return cgroup_mount() / "minirun" / name


# ---------------------------------------------------------------- pause, resume, ps


@test(both=True)
def pause_and_resume(t):
    """`pause` returns when everything stands still and `state` says so; `resume` undoes it; each only where it fits."""
    name = t.id()
    counter = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/count; done"
    t.minirun("run", "-d", "--id", name, t.write("s.json", {"command": ["sh", "-c", counter]})).good()
    pid = state(t, name)["pid"]
    count = f"/proc/{pid}/root/dev/shm/count"
    wait_until(lambda: os.path.exists(count), "the counter begins")
    t.refused(t.minirun("resume", name), name, "not paused", status=1)
    t.minirun("pause", name).good()
    equal(state(t, name)["status"], "paused", "status")
    check("frozen 1" in read(group(name) / "cgroup.events"), "pause came back before the cgroup was frozen")
    before = read(count)
    time.sleep(0.3)
    equal(read(count), before, "what a paused container writes")
    t.refused(t.minirun("pause", name), name, "already paused", status=1)
    t.refused(t.minirun("exec", name, "true"), "cannot exec in a paused container (use --ignore-paused to override)",
              status=255)
    t.minirun("resume", name).good()
    equal(state(t, name)["status"], "running", "status")
    wait_until(lambda: read(count) != before, "the counter goes on")
    t.minirun("pause", name).good()
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "a paused container dies of SIGKILL")
    for command in ("pause", "resume"):
        t.refused(t.minirun(command, name), name, "not running", status=1)
    t.minirun("delete", name).good()


@test()
def ps(t):
    """`ps` lists exactly the processes of the cgroup, those of children of the program too; json is an array of pids."""
    name = t.id()
    t.minirun("run", "-d", "--id", name, t.write("s.json", {
        "command": ["sh", "-c", "sleep 1000 & setsid sleep 1001 & exec sleep 1002"]})).good()
    wait_until(lambda: len(json.loads(t.minirun("ps", "--format", "json", name).out)) == 3, "three processes")
    wait_until(lambda: "1002" in t.minirun("ps", name).out, "exec")
    pids = json.loads(t.minirun("ps", "-f", "json", name).good().out)
    equal(sorted(pids), sorted(map(int, read(group(name) / "cgroup.procs").split())), "pids")
    lines = t.minirun("ps", name).good().out.splitlines()
    equal([lines[0].split(), len(lines)], [["UID", "PID", "PPID", "STATE", "CMD"], 4], "the table")
    check(any(line.endswith("sleep 1001") for line in lines), f"sleep 1001 is not in {lines}")
    # What stands behind the id belongs to the host's ps(1), also what looks like an option of ours.
    own = t.minirun("ps", name, "-o", "pid,args", "-A").good().out.splitlines()
    equal(sorted(int(line.split()[0]) for line in own[1:]), sorted(pids), "pids of ps -A")
    t.refused(t.minirun("ps", name, "-o", "args"), "PID", status=1)
    t.minirun("delete", "-f", name).good()
    t.refused(t.minirun("ps", name), "does not exist", status=1)


# ---------------------------------------------------------------- kill, delete, list


@test()
def signals(t):
    """`kill` knows each spelling of a signal; `--all` of a stopped container is no error; options end at the id."""
    name = t.id()
    script = "trap 'echo got >>/dev/shm/log' USR1 RTMIN+3; while :; do sleep 0.05; done"
    t.minirun("run", "-d", "--id", name, t.write("s.json", {"command": ["bash", "-c", script]})).good()
    log = f"/proc/{state(t, name)['pid']}/root/dev/shm/log"
    wait_until(lambda: not int(flat_status(state(t, name)["pid"], "SigCgt"), 16) & (1 << 9) == 0, "the trap is set")
    for count, word in enumerate(("USR1", "SIGUSR1", "usr1", "sigusr1", "10", "RTMIN+3", "sigrtmin+3"), 1):
        t.minirun("kill", name, word).good()
        wait_until(lambda: os.path.exists(log) and read(log).count("got") == count, f"{word} arrives")
    t.minirun("kill", name, "0").good()
    for word in ("SIGNOSUCH", "RTMIN+99", "65", "-1", "1x", ""):
        t.refused(t.minirun("kill", name, word), "SIGNAL", "not a signal", status=1)
    t.refused(t.minirun("kill", name, "--all"), "SIGNAL", "not a signal", status=1)
    t.minirun("kill", "-a", name, "9").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "the end")
    t.minirun("kill", "--all", name, "KILL").good()
    t.refused(t.minirun("kill", name, "KILL"), "container not running", status=1)
    t.minirun("delete", name).good()


def flat_status(pid, key):
    return next(line.split()[1] for line in read(f"/proc/{pid}/status").splitlines() if line.startswith(key + ":"))


@test()
def kill_without_a_pid_namespace(t):
    """Without a pid namespace SIGKILL takes the whole container, as it does with one."""
    name = t.id()
    t.minirun("run", "-d", "--id", name, t.write("s.json", {
        "command": ["sh", "-c", "sleep 1000 & setsid sleep 1001 & wait"], "namespaces": {"pid": "host"}})).good()
    wait_until(lambda: len(json.loads(t.minirun("ps", "-f", "json", name).out)) == 3, "three processes")
    pids = json.loads(t.minirun("ps", "-f", "json", name).out)
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: read(group(name) / "cgroup.procs") == "", "all of them die")
    check(all(not os.path.exists(f"/proc/{pid}/root/bin") for pid in pids), "one of them lives")
    t.minirun("delete", name).good()


@test()
def by_expression(t):
    """`kill --regex` and `delete --regex` act on each id that matches, and only on those."""
    names = [sleeper(t) for _ in range(3)]
    t.minirun("kill", "-r", f"^{t.marker}-[12]$", "KILL").good()
    for name, expected in zip(names, ("stopped", "stopped", "running")):
        wait_until(lambda: state(t, name)["status"] == expected, f"{name} is {expected}")
    t.refused(t.minirun("delete", "--regex", t.marker), names[2], "not stopped", status=1)
    equal(t.minirun("list", "-q").good().out.split(), names[2:], "what is left")
    t.refused(t.minirun("kill", "--regex", "("), "--regex", status=1)
    t.minirun("delete", "--force", "--regex", t.marker).good()
    equal(t.minirun("list", "--quiet").good().out, "", "what is left")
    t.minirun("delete", "--force", "--regex", t.marker).good()


STATE = {"ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"}


@test()
def list_formats(t):
    """`list`: a table, ids only, or an array of states with exactly the fields that clients parse."""
    equal(json.loads(t.minirun("list", "--format", "json").good().out), [], "an empty list")
    name = sleeper(t)
    (entry,) = json.loads(t.minirun("list", "-f", "json").good().out)
    equal(set(entry) - {"cgroup"}, STATE, "keys")
    equal(entry, state(t, name), "list and state")
    equal([entry["id"], entry["status"], entry["owner"], entry["bundle"]], [name, "running", "", str(t.dir)], "values")
    header, line = t.minirun("list").good().out.splitlines()
    equal(header.split(), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "the header")
    equal(line.split()[:3], [name, str(entry["pid"]), "running"], "the line")
    t.refused(t.minirun("list", "--format", "xml"), "list", "xml", status=1)
    t.minirun("delete", "-f", name).good()


# ---------------------------------------------------------------- update


@test()
def update_refusals(t):
    """`update` takes nothing that it cannot do: each with its flag or field, and nothing changes."""
    name = sleeper(t)
    before = Fingerprint(t)
    for words, expected in ((["--memory", "12x"], ("--memory", '"12x"')),
                            (["--pids-limit", "-5"], ("--pids-limit", "-5")),
                            (["--cpu-idle=2"], ("--cpu-idle", "2")),
                            (["--blkio-weight=5000"], ("--blkio-weight", "5000")),
                            (["--cpu-rt-runtime", "100"], ("--cpu-rt-runtime", "cgroup v1")),
                            (["--l3-cache-schema", "L3:0=f"], ("--l3-cache-schema", "Intel RDT")),
                            (["--cpuset-cpus", "3-"], ("--cpuset-cpus", "3-")),
                            (["--memory-swap", "64m"], ("--memory-swap", "memory limit")),
                            (["--memory", "64m", "--memory-swap", "32m"], ("--memory-swap", "memory")),
                            (["--resources", t.dir / "none"], ("none", "ENOENT")),
                            (["--no-such"], ("--no-such",))):
        result = t.minirun("update", *words, name)
        equal([result.status, result.out], [1, ""], f"status and output of update {words}")
        for word in expected:
            check(word in result.err, f"{word!r} is not in {result.err!r}")
    for document, word in (("{", "1"), ('{"memory":{"limit":"x"}}', "/memory/limit"), ("[]", "object"),
                           ('{"memory":{"swappiness":5}}', "cgroup v1"), ('{"cpu":{"quota":5}}', "1000"),
                           ('{"unified":{"cgroup.procs":"0"}}', "cgroup.procs")):
        result = t.minirun("update", "-r", "-", name, input=document)
        check(result.status == 1 and word in result.err, f"{document}: {result.err!r}")
    t.minirun("update", name).good()
    t.minirun("update", "--resources=-", name, input='{"unknown":1,"devices":[{"allow":true,"access":"rwm"}]}').good()
    equal(before.difference(Fingerprint(t)), [], "what was left")
    t.minirun("delete", "-f", name).good()
    t.refused(t.minirun("update", "--memory", "64m", name), name, "does not exist", status=1)


@test()
def update_limits(t):
    """`update`: each flag reaches its file, absent ones stay, -1 is no limit, and state shows the result."""
    needs("cpu", "memory", "pids", "cpuset")
    name = sleeper(t, resources={"limits": {"memory": "128Mi", "cpu": "500m"}})
    files = group(name)

    def update(*words, **more):
        t.minirun("update", *words, name, **more).good()

    update("--memory", "64m", "--memory-reservation", "16MiB", "--pids-limit=50")
    equal([read(files / f).strip() for f in ("memory.max", "memory.low", "pids.max", "cpu.max")],
          [str(64 * MIB), str(16 * MIB), "50", "50000 100000"], "files")
    update("--memory-swap", "96m")
    equal([read(files / f).strip() for f in ("memory.max", "memory.swap.max")], [str(64 * MIB), str(32 * MIB)], "swap")
    update("-memory=80m")  # the allowance of swap stays
    equal([read(files / f).strip() for f in ("memory.max", "memory.swap.max")], [str(80 * MIB), str(32 * MIB)], "both")
    update("--cpu-quota", "20000")  # the period stays
    update("--cpu-period", "50000")  # the quota stays
    equal(read(files / "cpu.max").strip(), "20000 50000", "cpu.max")
    update("--cpu-burst", "15000")
    equal(read(files / "cpu.max.burst").strip(), "15000", "burst")
    t.refused(t.minirun("update", "--cpu-quota", "10000", name), "--cpu-quota", "burst", status=1)
    update("--cpu-quota", "10000", "--cpu-burst", "10000")  # the burst goes first
    update("--cpu-quota", "40000", "--cpu-burst", "40000")  # the quota goes first
    equal([read(files / f).strip() for f in ("cpu.max", "cpu.max.burst")], ["40000 50000", "40000"], "both")
    update("--cpu-share", "1024", "--cpuset-cpus", "0", "--cpuset-mems", "0")
    equal([read(files / f).strip() for f in ("cpu.weight", "cpuset.cpus", "cpuset.mems")], ["100", "0", "0"], "weight")
    update("--cpu-idle", "1")
    equal(read(files / "cpu.idle").strip(), "1", "cpu.idle")
    t.refused(t.minirun("update", "--cpu-share", "512", name), "--cpu-share", "cpu.idle", status=1)
    update("--cpu-idle", "0", "--cpu-share", "512")
    document = {"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1, "burst": 0},
                "unified": {"memory.high": "max"}, "devices": [{"allow": False, "access": "rwm"}]}
    update("--resources", "-", input=json.dumps(document))
    equal([read(files / f).strip() for f in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")],
          ["max", "max", "max", "max 50000"], "no limits")
    equal(t.minirun("exec", name, "sh", "-c", "echo x >/dev/null && echo device").good().out, "device\n", "devices")
    found = state(t, name)["resources"]
    equal([found["memory"]["limit"], found["cpu"]["period"], found["cpu"]["cpus"], found["pids"]["limit"]],
          [-1, 50000, "0", -1], "resources of state")
    check("devices" not in found, "the device rules are in the resources")
    t.minirun("delete", "-f", name).good()


@test()
def update_rolls_back(t):
    """When the kernel refuses one value, those before it are put back and nothing is stored."""
    needs("cpu", "memory", "pids", "cpuset")
    name = sleeper(t, resources={"limits": {"memory": "128Mi", "cpu": "500m", "pids": 100}})
    files = group(name)
    t.minirun("update", "--cpuset-cpus", "0-1", name).good()
    names = ("pids.max", "memory.max", "memory.low", "cpu.max", "cpu.weight", "cpuset.cpus", "memory.swap.max")
    before = [read(files / f) for f in names]
    result = t.minirun("update", "--pids-limit", "30", "--memory", "64m", "--memory-swap", "70m", "--cpu-quota", "30000",
                       "--cpu-share", "300", "--memory-reservation", "1m", "--cpuset-cpus", "999", name)
    t.refused(result, "cpuset.cpus", "--cpuset-cpus", status=1)
    equal([read(files / f) for f in names], before, "the files")
    equal(state(t, name)["resources"]["cpu"]["cpus"], "0-1", "the stored value")
    equal(state(t, name)["resources"].get("pids", {}).get("limit", 100), 100, "the stored limit of processes")
    t.refused(t.minirun("update", "-r", "-", name, input='{"memory":{"limit":4096,"checkBeforeUpdate":true}}'),
              "memory.max", "usage", status=1)
    equal(read(files / "memory.max"), before[1], "memory.max")
    t.minirun("pause", name).good()
    t.minirun("update", "--pids-limit", "77", name).good()
    equal(read(files / "pids.max"), "77\n", "pids.max of a paused container")
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "the end")
    t.refused(t.minirun("update", "--pids-limit", "5", name), "not running", status=1)
    t.minirun("delete", name).good()


@test()
def update_of_a_foreground_run(t):
    """`update` works on a container that `run` serves, and two at once both take effect."""
    needs("pids", "cpu")
    name = t.id()
    spec = t.write("s.json", {"command": ["sleep", "1000"]})
    process = subprocess.Popen(t.command("run", "--id", name, spec), stdin=subprocess.DEVNULL)
    wait_until(lambda: t.minirun("state", name).status == 0 and state(t, name)["status"] == "running", "it runs")
    threads = [threading.Thread(target=lambda words=words: subprocess.run(
        t.command("update", *words, name), stdin=subprocess.DEVNULL, check=True, timeout=20))
        for words in (["--pids-limit", "99"], ["--cpu-share", "2048"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = state(t, name)["resources"]
    equal([found["pids"]["limit"], found["cpu"]["shares"]], [99, 2048], "resources of state")
    process.terminate()
    process.terminate()
    t.minirun("kill", name, "KILL")
    process.wait(timeout=20)


# ---------------------------------------------------------------- events


RAW = {"cpu": {"usage", "throttling"}, "memory": {"cache", "usage", "swap", "kernel", "kernelTCP", "raw"},
       "blkio": {"ioServiceBytesRecursive", "ioServicedRecursive"}}


@test()
def stats_once(t):
    """`events --stats` prints one object with the keys that clients parse and ours; a stopped container is an error."""
    name = sleeper(t)
    lines = t.minirun("events", "--stats", name).good().out.splitlines()
    equal(len(lines), 1, "lines")
    event = json.loads(lines[0])
    equal([event["type"], event["id"]], ["stats", name], "the envelope")
    data = event["data"]
    check({"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"} <= set(data),
          f"keys: {set(data)}")
    check(data["cpu"]["usage"]["total"] >= 1000, f"no time in {data['cpu']}")
    switches = data["contextSwitches"]
    equal([switches["processes"], switches["threads"], switches["truncated"]], [1, 1, False], "processes and threads")
    check(switches["voluntary"] + switches["involuntary"] > 0, "no context switches were counted")
    for words in (["--interval", "0s"], ["--interval", "x"]):
        t.refused(t.minirun("events", *words, name), "--interval", status=1)
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "the end")
    t.refused(t.minirun("events", name), "container not running", status=1)
    t.refused(t.minirun("events", "--stats", name), "container not running", status=1)
    t.minirun("delete", name).good()


@test()
def events_follow(t):
    """`events` tells the statistics at each interval and ends with the container."""
    name = sleeper(t)
    process = subprocess.Popen(t.command("events", "--interval", "100ms", name), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        equal(json.loads(process.stdout.readline())["type"], "stats", "an event")
    t.minirun("kill", name, "KILL").good()
    equal(process.wait(timeout=5), 0, "status of events")
    process.stdout.close()
    t.minirun("delete", name).good()


@test()
def stats_of_controllers(t):
    """With every controller the statistics have limits, peaks, kills, refused forks, bursts and pressure."""
    needs("cpu", "memory", "pids", "io")
    name = sleeper(t, resources={"limits": {"memory": "64Mi", "cpu": "500m", "pids": 20}})
    t.minirun("update", "--cpu-burst", "10000", "--pids-limit", "20", "--cpuset-cpus", "0", name).good()
    t.minirun("exec", name, "sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done")
    data = json.loads(t.minirun("events", "--stats", name).good().out)["data"]
    for key, wanted in RAW.items():
        check(wanted <= set(data[key]), f"{key} lacks {wanted - set(data[key])}")
    files = group(name)
    equal([data["memory"]["usage"]["limit"], data["pids"]["limit"]], [64 * MIB, 20], "limits")
    check(data["memory"]["usage"]["max"] >= data["memory"]["usage"]["usage"] > 0, "usage and peak")
    check(data["pids"]["events"]["max"] >= 1, "no refused fork was counted")
    equal(data["pids"]["events"]["max"], flat(read(files / "pids.events"))["max"], "refused forks")
    check({"oom", "oom_kill", "max"} <= set(data["memory"]["events"]), "memory.events")
    check({"oom_kill"} <= set(data["memory"]["eventsLocal"]), "memory.events.local")
    check({"periods", "time"} <= set(data["cpu"]["burst"]), "bursts")
    for part in ("cpu", "memory", "blkio"):
        equal(set(data[part]["psi"]), {"some", "full"}, f"pressure of {part}")
        equal(set(data[part]["psi"]["some"]), {"avg10", "avg60", "avg300", "total"}, "a line of it")
    equal(data["cpuset"]["cpus"], [0], "cpus")
    t.minirun("delete", "-f", name).good()


@test(limit=90)
def oom_events(t):
    """The oom event comes once for each killed process, not once for each change of the file."""
    needs("memory")
    name = sleeper(t, resources={"limits": {"memory": "64Mi"}})
    (group(name) / "memory.oom.group").write_text("0")  # else the first kill ends the container
    process = subprocess.Popen(t.command("events", "--interval", "1h", name), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    time.sleep(1)  # nothing tells that it has begun to watch
    before = flat(read(group(name) / "memory.events"))["oom_kill"]
    for _ in range(2):
        t.minirun("exec", name, "sh", "-c", "exec tail /dev/zero", timeout=60)
    # The file changes without a kill: reclaim at the limit.
    t.minirun("exec", name, "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=20", timeout=60)
    kills = flat(read(group(name) / "memory.events"))["oom_kill"] - before
    wait_until(lambda: len(lines) >= kills, "the events")
    t.minirun("kill", name, "KILL").good()
    process.wait(timeout=10)
    reader.join(timeout=10)
    process.stdout.close()
    check(kills >= 2, f"only {kills} kills")
    equal([json.loads(line) for line in lines], [{"type": "oom", "id": name}] * kills, "events")
    t.minirun("delete", name).good()


# ---------------------------------------------------------------- the command line


@test()
def spellings(t):
    """`-long`, `--flag=value`, global options in each spelling, options before and after the id."""
    name = sleeper(t)
    root = str(t.root)
    for words in (["-root", root], ["-root=" + root], ["--root=" + root], ["--root", root, "--log-format=json"],
                  ["--systemd-cgroup=false", "-debug=false", "--rootless=auto", "--root", root]):
        found = subprocess.run([t.command()[0], *words, "state", name], capture_output=True, text=True, timeout=20,
                               check=False)
        equal([found.returncode, found.stderr], [0, ""], f"minirun {words} state")
    for words in (["ps", "-format", "json", name], ["ps", "-format=json", name], ["ps", "-fjson", name],
                  ["ps", "-f=json", name]):
        equal(len(json.loads(t.minirun(*words).good().out)), 1, f"minirun {words}")
    equal(t.minirun("list", "-quiet").good().out, name + "\n", "list -quiet")
    t.minirun("kill", "-all=true", name, "KILL").good()
    t.minirun("delete", name, "--force").good()
    for words, expected in ((["--no-such", "list"], "--no-such"), (["--log-format=xml", "list"], "xml"),
                            (["--cgroup-manager", "x", "list"], "cgroupfs"), (["--log", "journald:x", "list"], "journald"),
                            (["--debug=maybe", "list"], "--debug"), (["list", "--no-such"], "--no-such")):
        t.refused(t.minirun(*words), expected, status=1)


@test()
def one_line_in_the_log(t):
    """At default verbosity an error is the one line of the log, whatever went wrong; the same words on standard error."""
    log = t.dir / "log"
    warned = t.write("warned.json", {"command": 5, "x": 1, "resources": {"requests": {"cpu": "999"}}})
    for words in (["state", "none"], ["delete", "none"], ["kill", "none", "9"], ["state", "--no-such"], ["state"],
                  ["--no-such", "state", "x"], ["exec", "none", "true"], ["run", warned], ["run", t.dir / "none"]):
        log.unlink(missing_ok=True)
        result = t.minirun("--log", f"file:{log}", "--log-format", "json", *words)
        check(result.status not in (0,), f"{words} succeeded")
        lines = read(log).splitlines()
        equal(len(lines), 1, f"lines of the log of {words}: {lines}")
        entry = json.loads(lines[0])
        equal([entry["level"], set(entry)], ["error", {"level", "msg", "time"}], "the entry")
        check(entry["time"].endswith("Z") and "T" in entry["time"], f"time {entry['time']}")
        check(entry["msg"] in result.err, f"{entry['msg']!r} is not in {result.err!r}")
    log.unlink()
    name = sleeper(t, "--no-summary")
    t.minirun("--log", log, "--log-format", "json", "delete", "-f", name).good()
    equal(read(log), "", "the log of a success")
    t.refused(t.minirun("--log", t.dir / "no/such", "list"), "no/such", "log", status=1)


@test()
def features(t):
    """`features` is a complete structure of the specification 1.3, with the options that engines look for."""
    found = json.loads(t.minirun("features").good().out)
    equal([found["ociVersionMin"], found["ociVersionMax"]], ["1.0.0", "1.3.0"], "versions")
    check({"rro", "rbind", "idmap", "tmpcopyup", "rprivate"} <= set(found["mountOptions"]), "mount options")
    linux = found["linux"]
    equal(set(linux), {"namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "memoryPolicy",
                       "mountExtensions", "netDevices"}, "keys of linux")
    equal(set(linux["namespaces"]), {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"}, "namespaces")
    equal([linux["cgroup"]["v1"], linux["cgroup"]["v2"]], [False, True], "cgroup")
    equal(set(linux["seccomp"]), {"enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"}, "seccomp")
    equal(found["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "false", "checkpoint")
    equal(found["potentiallyUnsafeConfigAnnotations"], ["run.oci.keep_original_groups"], "annotations that change something")
    for command in ("checkpoint", "restore"):
        t.refused(t.minirun(command, "--image-path", "/x", "-no-subreaper", "y"), "not supported", status=1)
    version = t.minirun("--version").good().out.splitlines()
    equal([line.split()[0] for line in version[:3]], ["minirun", "commit:", "spec:"], "lines of --version")


@test()
def info(t):
    """`info` tries what the host offers, says what each missing piece costs, and leaves nothing."""
    before = Fingerprint(t)
    found = json.loads(t.minirun("info", "--json").good().out)
    text = t.minirun("info").good().out
    equal(before.difference(Fingerprint(t)), [], "what info left")
    probes = found["probes"]
    check({"cgroup", "controller", "namespace", "idmap", "seccomp", "lsm", "files", "bpf", "systemd"} ==
          {probe["area"] for probe in probes}, "areas")
    for probe in probes:
        equal(probe["available"], "cost" not in probe, f"the cost of {probe}")
        check(probe["name"] in text, f"{probe['name']} is not in the text")
    have = read(cgroup_mount() / "cgroup.controllers").split()
    for probe in probes:
        if probe["area"] == "controller":
            equal(probe["available"], probe["name"] in have, f"controller {probe['name']}")
    landlock = libc.syscall(444, None, 0, 1) > 0  # landlock_create_ruleset(2) for its version
    equal([p["available"] for p in probes if p["name"] == "landlock"], [landlock], "Landlock")
    equal({p["name"] for p in probes if p["area"] == "namespace" and p["available"]} >= {"pid", "mount", "user"}, True,
          "namespaces")


@test()
def cgroup_manager_disabled(t):
    """With --cgroup-manager=disabled there is no cgroup at all: run, exec, ps, kill and delete work, limits are refused."""
    name = t.id()
    spec = t.write("s.json", {"command": ["sleep", "1000"]})
    before = sorted(p for p, _, _ in os.walk(cgroup_mount()))
    t.minirun("--cgroup-manager=disabled", "run", "-d", "--id", name, spec).good()
    equal(sorted(p for p, _, _ in os.walk(cgroup_mount())), before, "cgroups")
    found = state(t, name)
    check("cgroup" not in found, "state names a cgroup")
    equal(read(f"/proc/{found['pid']}/cgroup"), read("/proc/self/cgroup"), "the cgroup of the container")
    equal(json.loads(t.minirun("ps", "-f", "json", name).good().out), [found["pid"]], "ps")
    equal(t.minirun("exec", name, "echo", "in").good().out, "in\n", "exec")
    for words in (["pause", name], ["update", "--memory", "64m", name], ["events", name]):
        t.refused(t.minirun(*words), "has no cgroup of its own", status=1)
    t.minirun("kill", "--all", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "the end")
    t.minirun("delete", name).good()
    equal(t.minirun("--cgroup-manager=disabled", "run", t.write("e.json", {"command": ["sh", "-c", "exit 3"]})).status, 3,
          "status of a foreground run")
    bad = t.write("limited.json", {"command": ["true"], "resources": {"limits": {"memory": "64Mi"}}})
    result = t.minirun("--cgroup-manager=disabled", "run", bad)
    check(result.status == 125 and "disabled" in result.err, f"limits: {result.err!r}")
