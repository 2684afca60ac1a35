"""Hooks: the six kinds, what each of them sees, and what its failure does."""

import json
import os
import signal
import subprocess
import time

from harness import check, descendants, equal, read, test, wait_until
from integration.create import bundle, created, state

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

# One line for each run: kind, state, environment, descriptors, working directory, namespaces.
SCRIPT = r"""
{ printf '%s|' "$1"; cat; printf '|'; tr '\0' ' ' </proc/self/environ; printf '|'
  for n in 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$n ] && printf '%s ' $n; done; printf '|'; pwd | tr '\n' '|'
  for n in mnt pid net uts; do printf "%s " "$(readlink /proc/self/ns/$n)"; done; printf "|"
  grep -E '^Sig(Blk|Ign)' /proc/self/status | tr '\n\t' '  '; echo
} >>"$2"
"""


def hook(t, kind, *, index=0, env=("A=1",), script=SCRIPT, log=None, **more):
    shell = ["/bin/busybox", "sh"] if kind == "startContainer" else ["/bin/sh"]
    log = log or ("/log" if kind == "startContainer" else str(t.dir / "hooks"))
    return {"path": shell[0], "args": [*(["busybox", "sh"] if len(shell) == 2 else ["sh"]), "-c", script, "hook",
                                       f"{kind}{index}", log], "env": list(env), **more}


def with_hooks(t, hooks, *args):
    def change(config):
        config["hooks"] = hooks
        config["root"]["readonly"] = False
        config["annotations"] = {"com.example.a": "b"}
        config["process"]["env"].append("LD_PRELOAD=/evil.so")
    return bundle(t, *args, change=change)


def log(t):
    """The runs in order: (kind, state, environment, descriptors, directory, namespaces, signals)."""
    lines = []
    for path in (t.dir / "hooks", t.dir / "busybox/log"):
        if path.exists():
            lines += [tuple(line.split("|")) for line in read(path).splitlines()]
    return lines


@test()
def hooks_see(t):
    """Each hook gets exactly its environment and the state, three descriptors, no blocked signal, the right namespaces."""
    directory = with_hooks(t, {kind: [hook(t, kind)] for kind in KINDS})
    name = t.id()

    def spoil():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        for fd in range(5, 9):
            os.dup2(0, fd, inheritable=True)

    t.minirun("create", "-b", directory, name, preexec_fn=spoil, close_fds=False,
              env={**os.environ, "SECRET": "1"}).good()
    pid = state(t, name)["pid"]
    spaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "pid", "net", "uts")}
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "net", "uts")}
    t.minirun("start", name, preexec_fn=spoil, close_fds=False).good()
    t.minirun("delete", "-f", name).good()
    entries = {entry[0][:-1]: entry for entry in log(t)}
    equal(sorted(entries), sorted(KINDS), "hooks that ran")
    expected = {"prestart": ("creating", pid), "createRuntime": ("creating", pid), "createContainer": ("creating", 1),
                "startContainer": ("created", 1), "poststart": ("running", pid), "poststop": ("stopped", None)}
    for kind, (_, text, environment, fds, where, namespaces, signals) in entries.items():
        told = json.loads(text)
        equal((told["status"], told.get("pid")), expected[kind], f"state for {kind}")
        equal((told["id"], told["bundle"], told["annotations"], told["ociVersion"]),
              (name, str(directory), {"com.example.a": "b"}, "1.3.0"), f"state for {kind}")
        equal(environment.split(), ["A=1"], f"environment of {kind}")
        equal(fds, "", f"further descriptors of {kind}")
        equal(signals.split(), ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16], f"signals of {kind}")
        inside = kind in ("createContainer", "startContainer")
        equal(namespaces.split(), list((spaces if inside else own).values()), f"namespaces of {kind}")
        equal(where, "/" if kind == "startContainer" else str(directory), f"working directory of {kind}")


@test()
def hooks_in_order(t):
    """All six kinds in the order of the specification, and in the order of the list; the same for `run`."""
    short = '{ printf "%s\\n" "$1"; } >>"$2"'
    directory = with_hooks(t, {kind: [hook(t, kind, index=i, script=short, log="/tmp/log" if kind == "startContainer"
                                           else None) for i in range(2)] for kind in KINDS},
                           "/bin/busybox", "sh", "-c", "cat /tmp/log; sleep 0.3")
    host = [f"{kind}{i}" for kind in KINDS if kind != "startContainer" for i in range(2)]

    def mounts(config):
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    text = json.loads(read(directory / "config.json"))
    mounts(text)
    (directory / "config.json").write_text(json.dumps(text))
    out = t.minirun("run", "-b", directory, t.id()).good().out
    equal(out.split(), ["startContainer0", "startContainer1"], "startContainer, before the program")
    equal(read(t.dir / "hooks").split(), host, "the others")


@test()
def create_hooks_that_fail(t):
    """prestart, createRuntime, createContainer: create fails, says which one and what it printed, destroys, poststop runs."""
    for kind in ("prestart", "createRuntime", "createContainer"):
        good = hook(t, "poststop", script='echo "$1" >>"$2"')
        bad = {"path": "/bin/sh", "args": ["sh", "-c", "echo to stdout; echo why it failed >&2; exit 3"]}
        never = hook(t, kind, script='echo never >>"$2"', index=2)
        directory = with_hooks(t, {kind: [hook(t, kind, script="true"), bad, never], "poststop": [good]})
        result = t.minirun("create", "-b", directory, t.id())
        t.refused(result, f"hooks.{kind}[1]", "/bin/sh", "status 3", "to stdout; why it failed", status=1)
        equal(read(t.dir / "hooks"), "poststop0\n", f"after {kind}")
        (t.dir / "hooks").unlink()
        equal(descendants(os.getpid()), [], "processes")
        equal(t.minirun("list", "-q").good().out, "", "containers")
    directory = with_hooks(t, {"createRuntime": [{"path": "/no/such/hook"}]})
    t.refused(t.minirun("create", "-b", directory, t.id()), "hooks.createRuntime[0]", "/no/such/hook", "No such file",
              status=1)
    directory = with_hooks(t, {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -USR1 $$"]}]})
    t.refused(t.minirun("run", "-b", directory, t.id()), "hooks.createContainer[0]", "SIGUSR1")


@test()
def start_hooks_that_fail(t):
    """startContainer and poststart: start fails, the container is stopped and gone, poststop ran; the same for `run`."""
    for kind in ("startContainer", "poststart"):
        bad = hook(t, kind, script="echo broken; exit 7", log="/tmp/x")
        hooks = {kind: [bad], "poststop": [hook(t, "poststop", script='echo "$1" >>"$2"')]}
        name = t.id()
        t.minirun("create", "-b", with_hooks(t, hooks), name).good()
        t.refused(t.minirun("start", name), f"hooks.{kind}[0]", "status 7", "broken", status=1)
        equal(descendants(os.getpid()), [], "processes")
        t.refused(t.minirun("state", name), "does not exist", status=1)
        t.refused(t.minirun("run", "-b", with_hooks(t, hooks), t.id()), f"hooks.{kind}[0]", "status 7")
        t.refused(t.minirun("run", "-d", "-b", with_hooks(t, hooks), t.id()), f"hooks.{kind}[0]", "status 7")
        equal(read(t.dir / "hooks"), "poststop0\n" * 3, "poststop")
        (t.dir / "hooks").unlink()
        equal(descendants(os.getpid()), [], "processes")
    # In the container's own namespace: a program of the host is not there.
    name = created(t, change=lambda config: config.update(hooks={"startContainer": [{"path": "/usr/bin/python3"}]}))
    t.refused(t.minirun("start", name), "hooks.startContainer[0]", "/usr/bin/python3", "No such file", status=1)


@test()
def poststop_that_fails(t):
    """A poststop hook that fails is a warning, and the rest run."""
    directory = with_hooks(t, {"poststop": [{"path": "/bin/false"}, hook(t, "poststop", script='echo "$1" >>"$2"')]},
                           "/bin/busybox", "true")
    name = t.id()
    t.minirun("create", "-b", directory, name).good()
    result = t.minirun("delete", name).good()
    check("warning: hooks.poststop[0]" in result.err and "status 1" in result.err, result.err)
    equal(read(t.dir / "hooks"), "poststop0\n", "the second hook")
    result = t.minirun("run", "-b", directory, t.id()).good()
    check("warning: hooks.poststop[0]" in result.err, result.err)
    equal(read(t.dir / "hooks"), "poststop0\n" * 2, "the second hook")


@test()
def hook_timeout(t):
    """A timeout kills the whole process group of a hook, and nobody waits for who holds its output."""
    script = "sleep 77 & sleep 78"
    directory = with_hooks(t, {"createRuntime": [hook(t, "createRuntime", script=script, timeout=1)]})
    before = time.monotonic()
    result = t.minirun("create", "-b", directory, t.id())
    seconds = time.monotonic() - before
    t.refused(result, "hooks.createRuntime[0]", "timeout of 1 s", status=1)
    check(1 <= seconds < 2 or os.path.exists("/mnt/host"), f"it took {seconds:.2f} s")
    wait_until(lambda: not descendants(os.getpid()), "the group is gone", 2)
    # A grandchild in another session that holds the pipe is left alone and not waited for.
    directory = with_hooks(t, {"createRuntime": [hook(t, "createRuntime", script="setsid sleep 5 & exit 0")]})
    before = time.monotonic()
    name = t.id()
    t.minirun("create", "-b", directory, name).good()
    check(time.monotonic() - before < 3, "it waited for the grandchild")
    t.minirun("delete", name).good()
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not descendants(os.getpid()), "the grandchild is gone", 5)


@test()
def hook_output_is_bounded(t):
    """Of what a hook prints the last 4 KiB are kept, and control characters are not printed; one that does not read its
    input is fine."""
    script = "i=0; while [ $i -lt 3000 ]; do echo 'line of the hook $i'; i=$((i+1)); done; printf '\\033[31mlast'; exit 1"
    directory = with_hooks(t, {"prestart": [hook(t, "prestart", script=script)]})
    result = t.minirun("create", "-b", directory, t.id())
    t.refused(result, "hooks.prestart[0]", "?[31mlast", status=1)
    check(4000 < len(result.err) < 9000, f"{len(result.err)} bytes")
    name = created(t, change=lambda config: config.update(
        hooks={"prestart": [{"path": "/bin/true"}]}, annotations={"com.example.big": "x" * 300000}))
    t.minirun("delete", name).good()


@test(both=True)
def create_container_mounts(t):
    """What a createContainer hook mounts is in the container and not on the host."""
    script = f"mount -t tmpfs hooked {t.dir}/busybox/root && echo inside >{t.dir}/busybox/root/file"
    directory = with_hooks(t, {"createContainer": [hook(t, "createContainer", script=script)]},
                           "/bin/busybox", "sh", "-c", "cat /root/file; hostname")
    found = t.minirun("run", "-b", directory, t.id())
    # The root is a mount of its own in the container, so the hook reaches it through the path of the first process.
    check(found.status in (0, 1), found.err)
    check(not os.listdir(t.dir / "busybox/root"), "the host has the mount")


@test()
def hooks_die_with_minirun(t):
    """A hook dies with its minirun; `delete -f` then removes what the create left, and runs poststop."""
    hooks = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"]}],
             "poststop": [hook(t, "poststop", script='echo "$1" >>"$2"')]}
    name = t.id()
    process = subprocess.Popen(t.command("create", "-b", with_hooks(t, hooks), name), stdin=subprocess.DEVNULL)
    wait_until(lambda: len(descendants(process.pid)) >= 2, "the hook runs")
    process.kill()
    process.wait()
    wait_until(lambda: not descendants(os.getpid()), "hook and init are gone", 2)
    t.minirun("delete", "-f", name).good()
    equal(read(t.dir / "hooks"), "poststop0\n", "poststop")
