"""`run -d` and what its user needs afterwards: list, state, exec, kill, delete, gc."""

import json
import os
import signal
import subprocess

from harness import cgroup_mount, check, descendants, equal, read, reap, test, wait_until


def detach(t, spec=None, options=()):
    name = t.id()
    result = t.run({"command": ["sleep", "100"], **(spec or {})}, options=["-d", "--id", name, *options]).good()
    equal(result.out, name + "\n", "output of run -d")
    return name


def state(t, name):
    return json.loads(t.minirun("state", name).good().out)


@test()
def detached(t):
    """`-d` leaves no process of ours behind: only the payload lives."""
    name = detach(t)
    living = descendants(os.getpid())
    equal([read(f"/proc/{pid}/cmdline") for pid in living], ["sleep\x00100\x00"], "processes")
    found = state(t, name)
    equal([found["id"], found["status"], found["pid"]], [name, "running", living[0]], "state")
    check(found["bundle"] == str(t.dir), f"bundle {found['bundle']}")
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "stopped")
    equal(state(t, name)["pid"], 0, "pid of a stopped container")
    t.minirun("delete", name).good()
    t.refused(t.minirun("state", name), name, "does not exist", status=1)


@test()
def list_of_containers(t):
    """`minirun list`: a table, ids, JSON; without a state directory it is empty."""
    equal(t.minirun("list", "-q").good().out, "", "list of nothing")
    names = [detach(t), detach(t)]
    equal(t.minirun("list", "-q").good().out.split(), sorted(names), "ids")
    table = t.minirun("list").good().out.splitlines()
    equal(table[0].split(), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "head of the table")
    equal(sorted(line.split()[0] for line in table[1:]), sorted(names), "rows of the table")
    entries = json.loads(t.minirun("list", "-f", "json").good().out)
    equal(sorted(entry["id"] for entry in entries), sorted(names), "ids in JSON")
    for name in names:
        t.minirun("delete", "--force", name).good()
    equal(t.minirun("list", "-q").good().out, "", "list after delete")


@test()
def exec_in_a_container(t):
    """`minirun exec`: in the same namespaces, with the same restrictions; its status is the program's."""
    name = detach(t, {"hostname": "inside", "env": {"A": "spec"}})
    result = t.minirun("exec", name, "sh", "-c", "hostname; echo $A; cat /proc/1/cmdline | tr '\\0' ' '; "
                       "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; grep ^0: /proc/self/cgroup; exit 7")
    result.good(7)
    words = result.out.split()
    equal(words[:4], ["inside", "spec", "sleep", "100"], "what exec sees")
    for pair in (["CapEff:", "00000000a80425fb"], ["NoNewPrivs:", "1"], ["Seccomp:", "2"]):
        at = words.index(pair[0])
        equal(words[at:at + 2], pair, pair[0])
    check("0::/" in words, f"cgroup: {words}")
    equal(t.minirun("exec", "--env", "B=x y", "--cwd", "/usr", "--user", "5:6", name, "sh", "-c",
                    "echo $B; pwd; id -u; id -g").good().out.split(), ["x", "y", "/usr", "5", "6"], "options")
    equal(t.minirun("exec", name, "cat", input="through\n").good().out, "through\n", "standard input")
    equal(t.minirun("exec", name, "no-such-program").status, 127, "a missing program")
    equal(t.minirun("exec", name, "/etc").status, 126, "a directory")
    equal(t.minirun("exec", name, "sh", "-c", "kill -KILL $$").status, 137, "a killed program")
    t.minirun("delete", "-f", name).good()
    equal(t.minirun("exec", name, "true").status, 255, "exec's own failure")


@test()
def kill_and_delete(t):
    """`kill` by name and number, `delete` of a running container needs -f, of a missing one too."""
    name = detach(t, {"command": ["sh", "-c", "trap 'exit 3' USR1; trap '' TERM; while :; do sleep 0.1; done"]})
    t.refused(t.minirun("delete", name), name, "running", status=1)
    t.refused(t.minirun("kill", name, "NOSUCH"), '"NOSUCH"', status=1)
    t.minirun("kill", name).good()
    t.minirun("kill", name, "0").status
    equal(state(t, name)["status"], "running", "after a SIGTERM that is ignored")
    t.minirun("kill", name, "SIGUSR1").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "ended by SIGUSR1")
    equal(t.minirun("kill", name, "9").status, 1, "kill of a stopped container")
    t.minirun("delete", name).good()
    equal(t.minirun("delete", name).status, 1, "delete of a missing container")
    t.minirun("delete", "--force", name).good()


@test()
def kill_all(t):
    """`kill --all` and `delete -f` reach every process, also without a pid namespace."""
    script = "for i in 1 2 3; do setsid sleep 50 & done; sleep 100"
    for words in (("kill", "--all"), ("delete", "-f")):
        name = detach(t, {"command": ["sh", "-c", script], "namespaces": {"pid": "host"}})
        wait_until(lambda: len(descendants(os.getpid())) == 5, "five processes")
        t.minirun(*words[:1], *words[1:], name, *(["KILL"] if words[0] == "kill" else [])).good()
        wait_until(lambda: not descendants(os.getpid()), "all are gone", 5)
        reap()
        t.minirun("delete", "-f", name).good()


def crash(t, name):
    """Kills a foreground run; its payload follows. The spec."""
    others = len(descendants(os.getpid()))
    spec = t.write("spec.json", {"command": ["sh", "-c", "echo ready; sleep 60"]})
    process = subprocess.Popen(t.command("run", "--id", name, spec), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    process.communicate()
    wait_until(lambda: len(descendants(os.getpid())) == others, "the payload ends", 5)
    return spec


@test()
def gc(t):
    """`gc` removes what crashed commands left, and nothing that lives."""
    living = detach(t)
    dead = t.id()
    crash(t, dead)
    equal(t.minirun("gc").good().out, dead + "\n", "what gc removed")
    equal(t.minirun("list", "-q").good().out, living + "\n", "what is left")
    equal(t.minirun("gc").good().out, "", "a second gc")
    t.minirun("delete", "-f", living).good()


@test()
def delete_of_a_stopped_run(t):
    """`delete -f` while the foreground `run` is stopped (Ctrl-Z): it goes on, cleans up and ends."""
    name = t.id()
    spec = t.write("spec.json", {"command": ["sh", "-c", "echo ready; exec sleep 60"]})
    process = subprocess.Popen(t.command("run", "--id", name, spec), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: " T " in read(f"/proc/{process.pid}/stat"), "run is stopped")
    t.minirun("delete", "-f", name).good()
    equal(process.wait(timeout=20), 137, "status of the run")
    process.stdout.close()
    equal(t.minirun("list", "-q").good().out, "", "list after delete")


@test()
def crashed_id_is_reused(t):
    """The next `run` with the id of a crashed one removes its rests."""
    name = t.id()
    spec = crash(t, name)
    equal(t.minirun("run", "--id", name, spec, "--", "echo", "again").good().out, "again\n", "the next run")


@test()
def pid_file(t):
    """`--pid-file` holds the pid of the first process; a detached container can have neither terminal nor timeout."""
    path = t.dir / "pid"
    name = detach(t, options=["--pid-file", path])
    equal(int(read(path)), state(t, name)["pid"], "pid file")
    t.minirun("delete", "-f", name).good()
    spec = {"command": ["true"]}
    t.refused(t.run({**spec, "terminal": True}, options=["-d"]), "terminal")
    t.refused(t.run(spec, options=["-d", "--timeout", "5s"]), "timeout")


@test()
def cgroup_of_a_container(t):
    """The payload is in its own cgroup from its first instruction on, and delete removes that."""
    name = detach(t)
    found = state(t, name)
    path = read(f"/proc/{found['pid']}/cgroup").split("0::", 1)[1].strip()
    equal(str(cgroup_mount()) + path, found["cgroup"], "cgroup")
    check(name in path, f"cgroup {path}")
    t.minirun("delete", "-f", name).good()
    check(not os.path.exists(found["cgroup"]), "the cgroup is still there")
