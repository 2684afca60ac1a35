"""dockerd with its own containerd, minirun as the default runtime; and Swarm above it."""

import json
import time

from world import COMMAND_LIMIT, HOME, OOM, Engine, check, daemon, equal, has, settings, test, wait_until

# No bridge: that needs iptables, and has nothing to do with the runtime.
DAEMON = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--userland-proxy=false",
          "--storage-driver=overlay2", "--exec-root=/run/docker-test")


def engine():
    (HOME / "daemon.json").write_text(settings("daemon.json"), encoding="utf-8")
    docker = Engine("docker", "/usr/bin/docker")
    daemon("/run/docker.sock", lambda: docker("version", status=None).status == 0, "dockerd", *DAEMON, "--config-file",
           HOME / "daemon.json")
    docker("import", "-c", "ENV PATH=/bin", HOME / "root.tar", "box")
    return docker


def state(docker, name, field="Status"):
    return docker("inspect", "-f", "{{.State.%s}}" % field, name).line


@test("docker")
def docker_run(docker):
    """run: output and status of the program, 127 and 126, --user, --read-only, --init, -v, --tmpfs, --ulimit."""
    info = docker("info", "-f", "{{.DefaultRuntime}} {{json .Warnings}} {{.RuncCommit.ID}}").line.split()
    equal(info[0], "minirun", "default runtime")
    check(len(info[-1]) >= 7, f"no commit in docker info: {info}")
    equal(docker("run", "--rm", "box", "sh", "-c", "echo out; exit 42", status=42).out, "out\n", "output")
    has(docker("run", "--rm", "box", "missing", status=127).err, "executable file not found in $PATH")
    has(docker("run", "--rm", "box", "/etc/passwd", status=126).err, "permission denied")
    out = docker("run", "--rm", "--user", "user", "--read-only", "--init", "-v", f"{HOME}:/mnt:ro", "--tmpfs",
                 "/scratch:size=1m", "-v", "/etc/passwd:/etc/other", "--ulimit", "nofile=99:99", "box", "sh", "-c",
                 "id -u; touch /x; ls /mnt/root.tar; df /scratch | tail -1; ulimit -n; cat /proc/1/comm").out.split()
    for word in ("1000", "/mnt/root.tar", "1024", "99", "docker-init"):
        check(word in out, f"{word} is not in {out}")


@test("docker")
def docker_lifecycle(docker):
    """-d, logs, exec, top, pause, kill, start, restart, stop, rm -f; run -it and exec -it; restart policies."""
    docker("run", "-d", "--name", "life", "box", "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until(lambda: docker("logs", "life").out == "ready\n", "the log", COMMAND_LIMIT)
    out = docker("exec", "-e", "A=b", "-u", "user", "-w", "/tmp", "life", "sh", "-c", "echo $A $(id -u) $PWD; exit 7", status=7)
    equal(out.line, "b 1000 /tmp", "output of exec")
    has(docker("top", "life").out, "while")
    docker("pause", "life")
    equal(state(docker, "life"), "paused", "status")
    docker("unpause", "life")
    docker("stop", "-t", "20", "life")
    equal(state(docker, "life", "ExitCode"), "3", "exit code after stop")
    docker("start", "life")
    docker("restart", "-t", "20", "life")
    docker("kill", "-s", "KILL", "life")
    equal(docker("wait", "life").line, "137", "docker wait")
    docker("rm", "-f", "life")
    out = docker.terminal("run", "-it", "--rm", "box", "sh", "-c", "read word; tty; echo got-$word", keys="key\n")
    has(out.out, "/dev/pts/0", "got-key")
    docker("run", "-d", "--name", "again", "--restart", "on-failure:1", "box", "sh", "-c", "exit 1")
    wait_until(lambda: docker("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again").line == "1 exited",
               "the restart", COMMAND_LIMIT)
    docker("rm", "again")


@test("docker", "cpu", "memory", "pids")
def docker_limits(docker):
    """--memory, --cpus and --pids-limit are in the cgroup, update changes them, stats reads them; OOMKilled."""
    docker("run", "-d", "--name", "lim", "--memory", "64m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "50",
           "--health-cmd", "test -e /tmp/good", "--health-interval", "1s", "--health-retries", "1", "box", "sleep", "1000")
    files = "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max"
    equal(docker("exec", "lim", "sh", "-c", files).out.split("\n")[:4], [str(64 << 20), str(32 << 20), "50000 100000", "50"],
          "cgroup files")
    docker("update", "--memory", "80m", "--cpus", "0.25", "--pids-limit", "60", "lim")
    files = "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max"
    equal(docker("exec", "lim", "sh", "-c", files).out.split("\n")[:3], [str(80 << 20), "25000 100000", "60"],
          "cgroup files after update")
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "lim").out)
    has(stats["MemUsage"], "/ 80MiB")
    wait_until(lambda: state(docker, "lim", "Health.Status") == "unhealthy", "unhealthy", COMMAND_LIMIT)
    docker("exec", "lim", "touch", "/tmp/good")
    wait_until(lambda: state(docker, "lim", "Health.Status") == "healthy", "healthy", COMMAND_LIMIT)
    docker("rm", "-f", "lim")
    docker("run", "-d", "--name", "oom", "--memory", "16m", "--memory-swap", "16m", "box", *OOM)
    wait_until(lambda: docker("events", "--since", "0", "--until", int(time.time()), "--filter", "container=oom", "--filter",
                              "event=oom").out, "the oom event", COMMAND_LIMIT)
    docker("exec", "oom", "touch", "/end")
    equal(docker("wait", "oom").line, "137", "status")
    equal(state(docker, "oom", "OOMKilled"), "true", "OOMKilled")
    docker("rm", "oom")


@test("docker")
def docker_swarm(docker):
    """Swarm: a service of two tasks; one that is killed comes back; scale to one."""
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
    docker("service", "create", "--detach", "--no-resolve-image", "--network", "host", "--replicas", "2",
           "--restart-delay", "0s", "--name", "web", "box", "sleep", "1000")

    def running():
        return docker("ps", "-q", "--filter", "label=com.docker.swarm.service.name=web").out.split()
    wait_until(lambda: len(running()) == 2, "two tasks", 2 * COMMAND_LIMIT)
    first = running()[0]
    equal(docker("inspect", "-f", "{{.HostConfig.Runtime}}", first).line, "minirun", "runtime of a task")
    docker("kill", first)
    wait_until(lambda: len(running()) == 2 and first not in running(), "a new task", 2 * COMMAND_LIMIT)
    docker("service", "scale", "--detach", "web=1")
    wait_until(lambda: len(running()) == 1, "one task", 2 * COMMAND_LIMIT)
    docker("service", "rm", "web")
    wait_until(lambda: not running(), "the end of the service", 2 * COMMAND_LIMIT)
    docker("swarm", "leave", "--force")
