"""podman with conmon: what its users do."""

import json
import pathlib

from world import HOME, Engine, check, equal, has, settings, test, wait_until

RUN = ("run", "--network", "none")


def engine():
    # No systemd here: the cgroup files themselves, and events in a file.
    text = settings("containers.conf").replace("[engine]", '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"')
    if "pids" not in pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        text = "[containers]\npids_limit = 0\n" + text  # else it asks for 2048
    pathlib.Path("/etc/containers/containers.conf").write_text(text, encoding="utf-8")
    podman = Engine("podman", "podman")
    podman("import", "-q", HOME / "root.tar", "box")
    return podman


def state(podman, name, field):
    return podman("inspect", "-f", "{{.State.%s}}" % field, name).line


@test("podman")
def podman_run(podman):
    """run: output and status of the program; 127 and 126 in the words that podman looks for; --user, --read-only, --init,
    -v, --tmpfs, --sysctl, --ulimit, --hostname."""
    equal(podman(*RUN, "--rm", "box", "sh", "-c", "echo out; echo err >&2; exit 42", status=42).out, "out\n", "output")
    has(podman(*RUN, "--rm", "box", "missing", status=127).err, "executable file not found in $PATH")
    has(podman(*RUN, "--rm", "box", "/etc/passwd", status=126).err, "permission denied")
    # The volume's file is a mount point that is made in the image: the root must become read-only all the same.
    out = podman(*RUN, "--rm", "--user", "user", "--read-only", "--init", "-v", f"{HOME}:/mnt:ro", "--tmpfs",
                 "/scratch:size=1m", "--hostname", "boxed", "-v", "/etc/passwd:/etc/other", "--ulimit", "nofile=99:99",
                 "--ulimit", "nproc=999:999",
                 "--sysctl", "net.ipv4.ip_forward=1", "box", "sh", "-c",
                 "id -u; touch /x; ls /mnt/root.tar; df /scratch | tail -1; hostname; ulimit -n; "
                 "cat /proc/sys/net/ipv4/ip_forward; cat /proc/1/comm; test -s /etc/other && echo file").out
    for line in ("1000", "/mnt/root.tar", "boxed", "99", "1", "podman-init", "file"):
        check(line in out.split(), f"{line} is not in {out!r}")
    has(out, "1024")


@test("podman")
def podman_lifecycle(podman):
    """-d, logs, exec with user, directory and status, top, pause, stop, start, restart, kill, wait, rm -f."""
    podman(*RUN, "-d", "--name", "life", "box", "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until(lambda: podman("logs", "life").out == "ready\n", "the log")
    out = podman("exec", "-e", "A=b", "-u", "user", "-w", "/tmp", "life", "sh", "-c", "echo $A $(id -u) $PWD; exit 7", status=7)
    equal(out.line, "b 1000 /tmp", "output of exec")
    podman("exec", "life", "missing", status=127)
    has(podman("top", "life", "pid", "comm").out, "1", "sh")
    podman("pause", "life")
    equal(state(podman, "life", "Status"), "paused", "status")
    podman("unpause", "life")
    podman("stop", "-t", "20", "life")
    equal(state(podman, "life", "ExitCode"), "3", "exit code after stop")
    podman("start", "life")
    podman("restart", "-t", "20", "life")
    equal(state(podman, "life", "Status"), "running", "status")
    podman("kill", "-s", "KILL", "life")
    equal(podman("wait", "life").line, "137", "podman wait")
    podman("rm", "-f", "life")
    has(podman("events", "--stream=false", "--filter", "container=life").out, " start ", " pause ", " died ", " remove ")


@test("podman")
def podman_terminal(podman):
    """run -it and exec -it: a terminal of the caller's size, and its keys arrive."""
    out = podman.terminal(*RUN, "-it", "--rm", "box", "sh", "-c", "read word; tty; stty size; echo got-$word", keys="key\n")
    has(out.out, "/dev/pts/0", "40 100", "got-key")
    equal(out.status, 0, "status")
    podman(*RUN, "-d", "--name", "tty", "box", "sleep", "1000")
    has(podman.terminal("exec", "-it", "tty", "sh", "-c", "tty; exit 5").out, "/dev/pts/")
    podman("rm", "-f", "-t", "0", "tty")


@test("podman", "cpu", "memory", "pids")
def podman_limits(podman):
    """--memory, --cpus, --pids-limit and --cpu-shares are in the cgroup, update changes them, stats reads them."""
    podman(*RUN, "-d", "--name", "lim", "--memory", "64m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "50",
           "box", "sleep", "1000")
    files = "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max"
    equal(podman("exec", "lim", "sh", "-c", files).out.split("\n")[:4], [str(64 << 20), str(32 << 20), "50000 100000", "50"],
          "cgroup files")
    podman("update", "--cpus", "0.25", "--memory", "80m", "lim")
    equal(podman("exec", "lim", "sh", "-c", files).out.split("\n")[:4], [str(80 << 20), str(80 << 20), "25000 100000", "50"],
          "cgroup files after update")
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", "lim").out)[0]
    has(stats["mem_usage"], "/ 67.11MB")  # the limit of the start: podman 4.3 does not look again
    equal(stats["pids"], "1", "pids")
    podman("rm", "-f", "-t", "0", "lim")


@test("podman", "cpu", "memory", "pids")
def podman_oom(podman):
    """A container killed at its memory limit ends with 137. (OOMKilled is conmon's finding; here it stays false with crun as
    well.)"""
    podman(*RUN, "--rm", "--memory", "16m", "--memory-swap", "16m", "box", "tail", "/dev/zero", status=137)


@test("podman")
def podman_health_and_pod(podman):
    """A health check is an exec; the containers of a pod share their network namespace."""
    podman(*RUN, "-d", "--name", "health", "--health-cmd", "test -e /tmp/good", "--health-interval", "disable", "box", "sleep",
           "1000")
    podman("healthcheck", "run", "health", status=1)
    podman("exec", "health", "touch", "/tmp/good")
    podman("healthcheck", "run", "health")
    podman("rm", "-f", "-t", "0", "health")
    # podman 4.3.1 gives a pod's own cgroup, where it makes it without systemd, a filter that refuses all devices: no runtime
    # can start a container below.
    podman("pod", "create", "--share-parent=false", "--name", "pod", "--network", "none", "--infra-image", "box",
           "--infra-command", "/bin/sleep 1000")
    podman("run", "-d", "--pod", "pod", "--name", "one", "box", "sleep", "1000")
    ours = podman("exec", "one", "readlink", "/proc/self/ns/net").line
    equal(podman("run", "--rm", "--pod", "pod", "box", "readlink", "/proc/self/ns/net").line, ours, "network namespace")
    podman("pod", "rm", "-f", "-t", "0", "pod")
    equal(podman("ps", "-aq").out, "", "containers")


@test("podman")
def podman_special(podman):
    """User namespaces, --cgroups=disabled, --pid host, --privileged; a checkpoint is refused by name."""
    out = podman(*RUN, "--rm", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", "box", "cat", "/proc/self/uid_map").out
    equal(out.split(), ["0", "100000", "1000"], "uid_map")
    podman(*RUN, "--rm", "--cgroups=disabled", "box", "true")
    check(int(podman(*RUN, "--rm", "--pid", "host", "box", "sh", "-c", "echo $$").line) > 2, "--pid host has a pid namespace")
    has(podman(*RUN, "--rm", "--privileged", "box", "grep", "Seccomp:", "/proc/self/status").out, "0")
    podman(*RUN, "-d", "--name", "frozen", "box", "sleep", "1000")
    has(podman("container", "checkpoint", "frozen", status=125).err, "checkpoint")
    podman("rm", "-f", "-t", "0", "frozen")
    equal(podman("ps", "-aq").out, "", "containers")
