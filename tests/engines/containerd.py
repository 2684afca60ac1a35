"""containerd with its shim runc v2: through ctr, whose flag --runc-binary is the shim's option BinaryName, and as a kubelet
calls it."""

import os
import pathlib
import subprocess
import threading

from world import (COMMAND_LIMIT, HOME, IMAGE, MINIRUN, OOM, PAUSE, Engine, Failure, check, daemon, equal, has, settings,
                   test, wait_until)

RUNTIME = ("--runc-binary", os.environ.get("ENGINES_RUNTIME", MINIRUN))
SOCKET = "/run/containerd-test/containerd.sock"


# What is not of examples/engines: where this one lives, and the image that holds a Pod's namespaces.
PLACE = f"""root = "/var/lib/containerd"
state = "/run/containerd-test"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
"""


def engine():
    text = settings("containerd.toml").replace("SystemdCgroup = true", "SystemdCgroup = false")
    (HOME / "containerd.toml").write_text(text.replace("version = 2\n", f"version = 2\n{PLACE}"), encoding="utf-8")
    ctr = Engine("ctr", "ctr", "-a", SOCKET)
    daemon(SOCKET, lambda: ctr("version", status=None).status == 0, "containerd", "--config", HOME / "containerd.toml")
    for namespace in ("default", "k8s.io"):
        ctr("-n", namespace, "image", "import", HOME / "image.tar")
    return ctr


def started(ctr, name, *options, command=("sleep", "1000")):
    ctr("run", "-d", *RUNTIME, *options, IMAGE, name, *command)


def status_of(ctr, name):
    lines = [line.split() for line in ctr("task", "ls").out.splitlines()]
    return next((line[2] for line in lines if line and line[0] == name), "")


def gone(ctr, name):
    ctr("task", "kill", "-s", "KILL", name)
    wait_until(lambda: status_of(ctr, name) == "STOPPED", "the end of the task", COMMAND_LIMIT)
    ctr("task", "rm", name, status=None)  # the status is that of the program
    ctr("container", "rm", name)


@test("containerd", "cpu", "memory", "pids")
def containerd_run(ctr):
    """run: output and status of the program, the error's words, --read-only, --seccomp, a terminal."""
    out = ctr("run", "--rm", *RUNTIME, "--read-only", "--seccomp", IMAGE, "one", "sh", "-c",
              "touch /x || echo readonly; grep Seccomp: /proc/self/status; exit 42", status=42).out
    has(out, "readonly", "2")
    has(ctr("run", "--rm", *RUNTIME, IMAGE, "two", "missing", status=1).err, "executable file not found in $PATH")
    # ctr tells the size after the start.
    script = 'tty; until stty size 2>/dev/null | grep "40 100"; do sleep 0.1; done'
    out = ctr.terminal("run", "--rm", "-t", *RUNTIME, IMAGE, "three", "sh", "-c", script)
    has(out.out, "/dev/pts/0", "40 100")
    equal(ctr("container", "ls", "-q").out, "", "containers")


@test("containerd", "cpu", "memory", "pids")
def containerd_task(ctr):
    """exec with its status and a terminal, ps, pause, resume, kill, delete; a checkpoint is refused by name."""
    started(ctr, "task")
    equal(ctr("task", "exec", "--exec-id", "e1", "task", "sh", "-c", "echo in; exit 7", status=7).out, "in\n", "output")
    has(ctr("task", "exec", "--exec-id", "e2", "task", "missing", status=1).err, "executable file not found in $PATH")
    has(ctr.terminal("task", "exec", "-t", "--exec-id", "e3", "task", "tty").out, "/dev/pts/")
    equal(len(ctr("task", "ps", "task").out.splitlines()), 2, "lines of ps")
    ctr("task", "pause", "task")
    equal(status_of(ctr, "task"), "PAUSED", "status")
    ctr("task", "resume", "task")
    equal(status_of(ctr, "task"), "RUNNING", "status")
    has(ctr("container", "checkpoint", "--task", "task", "saved", status=1).err, "not supported")
    equal(status_of(ctr, "task"), "RUNNING", "status after the refused checkpoint")
    gone(ctr, "task")


@test("containerd", "cpu", "memory", "pids")
def containerd_limits(ctr):
    """--memory-limit and --cpus are in the cgroup, metrics reads them, and an OOM kill is an event."""
    started(ctr, "limited", "--memory-limit", str(64 << 20), "--cpus", "0.5")
    group = pathlib.Path("/sys/fs/cgroup/default/limited")
    equal((group / "memory.max").read_text().strip(), str(64 << 20), "memory.max")
    equal((group / "cpu.max").read_text().strip(), "50000 100000", "cpu.max")
    has(ctr("task", "metrics", "limited").out, "memory.usage_limit", str(64 << 20))
    gone(ctr, "limited")
    check(not group.exists(), f"{group} is left")
    events = subprocess.Popen([*ctr.command, "events"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(events.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        # The first event shows that the stream is open: until then there is one for each new label.
        labels = iter(range(100))
        wait_until(lambda: seen or not ctr("image", "label", IMAGE, f"test={next(labels)}"), "the stream of events",
                   COMMAND_LIMIT)
        started(ctr, "oom", "--memory-limit", str(16 << 20), command=OOM)
        wait_until(lambda: any("/tasks/oom" in line and '"oom"' in line for line in seen), "the oom event", COMMAND_LIMIT)
        ctr("task", "exec", "--exec-id", "end", "oom", "touch", "/end")
        wait_until(lambda: status_of(ctr, "oom") == "STOPPED", "the end of the task", COMMAND_LIMIT)
        has(ctr("task", "rm", "oom").err, "code 137")
        ctr("container", "rm", "oom")
    except Failure as failure:
        raise Failure(f"{failure}; events: {seen}") from failure
    finally:
        events.kill()
        events.wait()


@test("containerd", "cpu", "memory", "pids")
def kubernetes_pod(ctr):
    """As a kubelet asks: a Pod by the runtime handler, limits below the Pod's cgroup, exec, a change of the limits, the reason
    OOMKilled, and nothing is left."""
    import cri  # grpc is one of the packages
    runtime = cri.Runtime(SOCKET, 3 * COMMAND_LIMIT)
    pod = runtime.pod("pod", "/kubepods/burstable/poduid", "minirun")
    web = runtime.container(pod, "web", IMAGE, ["sleep", "1000"], period=100000, quota=50000, shares=512, memory=64 << 20)
    group = pathlib.Path("/sys/fs/cgroup/kubepods/burstable/poduid") / web
    files = {name: (group / name).read_text().strip() for name in ("cpu.max", "memory.max", "cpu.weight")}
    equal([files["cpu.max"], files["memory.max"]], ["50000 100000", str(64 << 20)], "cgroup files")
    equal(runtime.exec(web, "sh", "-c", "echo in; exit 7"), (7, "in\n"), "exec")
    runtime.update(web, period=100000, quota=20000, shares=512, memory=80 << 20)
    equal([(group / name).read_text().strip() for name in ("cpu.max", "memory.max")], ["20000 100000", str(80 << 20)],
          "cgroup files after the update")
    equal(runtime.status(web)[0], 1, "state of a running container")
    oom = runtime.container(pod, "oom", IMAGE, [*OOM], memory=16 << 20)
    wait_until(lambda: "oom_kill 0" not in (group.parent / oom / "memory.events").read_text(), "the OOM kill", COMMAND_LIMIT)
    equal(runtime.exec(oom, "touch", "/end"), (0, ""), "exec")
    wait_until(lambda: runtime.status(oom)[0] == 2, "the end of the container", COMMAND_LIMIT)
    equal(runtime.status(oom)[1:], (137, "OOMKilled"), "exit code and reason")
    runtime.remove(pod)
    equal(ctr("-n", "k8s.io", "task", "ls", "-q").out, "", "tasks")
    check(not group.exists(), f"{group} is left")
