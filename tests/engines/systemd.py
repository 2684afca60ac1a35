"""podman and docker with the systemd cgroup driver, against a real systemd: this file runs as a script in the project's VM
with systemd as its first process (tests/integration/systemd.py boots it). Prints one line per promise; an error ends it.
Must not: talk to the systemd of the machine.
"""
import pathlib
import subprocess
import sys

import world
from docker import DAEMON
from world import HOME, Engine, check, equal, run, settings

GROUPS = pathlib.Path("/sys/fs/cgroup")


def show(unit, *names):
    out = subprocess.run(["systemctl", "show", unit, *[f"-p{name}" for name in names]], capture_output=True, text=True,
                         timeout=60, check=True).stdout
    return dict(line.split("=", 1) for line in out.splitlines())


def set_up():
    """In a mount namespace of our own; the cgroups and /run are those of the machine, with systemd in them."""
    run("mount", "--make-rprivate", "/")
    HOME.mkdir()
    world.unpacked_packages()
    world.storage()
    world.hide_apparmor()
    world.root_file_system()


def expect_scope(unit, group, pid):
    """The container is in its scope, whose limits systemd knows."""
    equal(pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().split("/container")[0], f"0::/{group.relative_to(GROUPS)}",
          "cgroup")
    values = show(unit, "ActiveState", "Delegate", "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax")
    equal(values, {"ActiveState": "active", "Delegate": "yes", "MemoryMax": str(64 << 20), "CPUQuotaPerSecUSec": "500ms",
                   "TasksMax": "50"}, f"what systemd has of {unit}")


LIMITS = ("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50")


def podman():
    text = settings("containers.conf").replace("[engine]", '[engine]\ncgroup_manager = "systemd"\nevents_logger = "file"')
    pathlib.Path("/etc/containers/containers.conf").write_text(text, encoding="utf-8")
    engine = Engine("podman", "podman")
    engine("import", "-q", HOME / "root.tar", "box")
    name = engine("run", "-d", "--network", "none", *LIMITS, "--name", "web", "box", "sleep", "1000").line
    unit, group = f"libpod-{name}.scope", GROUPS / f"machine.slice/libpod-{name}.scope"
    expect_scope(unit, group, engine("inspect", "-f", "{{.State.Pid}}", "web").line)
    print("ok podman run: a scope in machine.slice with the limits")
    equal(engine("exec", "web", "cat", "/proc/1/comm").line, "sleep", "exec")
    engine("pause", "web")
    engine("unpause", "web")
    engine("stop", "-t", "0", "web")
    engine("start", "web")
    equal(show(unit, "ActiveState"), {"ActiveState": "active"}, "the scope after a restart")
    engine("rm", "-f", "-t", "0", "web")
    check(not group.exists(), "the cgroup is left")
    check(show(unit, "ActiveState")["ActiveState"] in ("inactive", "failed"), "the unit is still active")
    equal(engine("run", "--rm", "--network", "none", "--cgroupns", "private", "box", "cat", "/proc/self/cgroup").line, "0::/",
          "its own view")
    print("ok podman exec, pause, stop, start and rm")


def docker():
    (HOME / "daemon.json").write_text(settings("daemon.json"), encoding="utf-8")
    engine = Engine("docker", "docker")
    world.daemon("/run/docker.sock", lambda: engine("version", status=None).status == 0, "dockerd", *DAEMON,
                 "--exec-opt=native.cgroupdriver=systemd", "--config-file", HOME / "daemon.json")
    engine("import", HOME / "root.tar", "box")
    name = engine("run", "-d", "--network", "none", *LIMITS, "--name", "web", "box", "sleep", "1000").line
    unit, group = f"docker-{name}.scope", GROUPS / f"system.slice/docker-{name}.scope"
    expect_scope(unit, group, engine("inspect", "-f", "{{.State.Pid}}", "web").line)
    print("ok docker run: a scope in system.slice with the limits")
    equal(engine("exec", "web", "cat", "/proc/1/comm").line, "sleep", "exec")
    engine("update", "--memory", "96m", "--memory-swap", "96m", "web")
    equal((group / "memory.max").read_text().strip(), str(96 << 20), "memory.max after update")
    engine("restart", "-t", "0", "web")
    equal(show(unit, "ActiveState", "MemoryMax"), {"ActiveState": "active", "MemoryMax": str(96 << 20)}, "the scope after a restart")
    engine("rm", "-f", "web")
    check(not group.exists(), "the cgroup is left")
    print("ok docker exec, update, restart and rm")


if __name__ == "__main__":
    set_up()
    podman()
    docker()
    print("all good")
    sys.exit(0)
