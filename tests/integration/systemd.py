"""--systemd-cgroup against a real systemd: the project's VM with systemd as its first process, booted by the test. The
part in the guest is this very file, run as a script. Must not: talk to the systemd of the machine.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent


def guest():
    """In the VM. Prints one line per promise; an assertion ends it."""
    root = "/run/systemd-test"
    os.mkdir(root, 0o700)
    minirun = [os.environ.get("MINIRUN", str(REPOSITORY / "build/minirun")), "--root", root]

    def call(*words, status=0, manager=("--systemd-cgroup",)):
        done = subprocess.run([*minirun, *manager, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, timeout=60, check=False)
        assert done.returncode == status, f"{words}: {done.returncode} instead of {status}: {done.stderr}"
        return done.stdout + done.stderr

    def show(unit, *names):
        out = subprocess.run(["systemctl", "show", unit, *[f"-p{name}" for name in names]], capture_output=True,
                             text=True, timeout=30, check=True).stdout
        return dict(line.split("=", 1) for line in out.splitlines())

    def detached(name, **more):
        path = f"/tmp/{name}.json"
        pathlib.Path(path).write_text(json.dumps({"command": ["sleep", "1000"], **more}))
        # A daemon's output is a file: a pipe would stay open.
        with open(f"/tmp/{name}.out", "wb") as out:
            subprocess.run([*minirun, "--systemd-cgroup", "run", "-d", "--id", name, path], stdin=subprocess.DEVNULL,
                           stdout=out, stderr=out, timeout=60, check=True)
        return json.loads(call("state", name))

    begin = time.monotonic()
    state = detached("web", resources={"limits": {"memory": "64Mi", "cpu": "500m", "pids": 30}})
    print(f"# a start took {time.monotonic() - begin:.2f} s")
    group = pathlib.Path("/sys/fs/cgroup/system.slice/minirun-web.scope")
    assert state["systemd-scope"] == "minirun-web.scope" and state["cgroup"] == str(group), state
    assert pathlib.Path(f"/proc/{state['pid']}/cgroup").read_text().strip() == f"0::/system.slice/{group.name}"
    assert (group / "cgroup.procs").read_text().split() == [str(state["pid"])], "the placeholder is still there"
    unit = show(group.name, "ActiveState", "Delegate", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "Description")
    assert unit == {"ActiveState": "active", "Delegate": "yes", "MemoryMax": str(64 << 20), "TasksMax": "30",
                    "CPUQuotaPerSecUSec": "500ms", "Description": "minirun container web"}, unit
    print("ok the scope has the limits")

    call("update", "--memory", "96m", "--pids-limit", "40", "web")
    subprocess.run(["systemctl", "daemon-reload"], timeout=60, check=True)
    values = [(group / f).read_text().strip() for f in ("memory.max", "pids.max", "cpu.max")]
    assert values == [str(96 << 20), "40", "50000 100000"], f"after a daemon-reload: {values}"
    print("ok a daemon-reload keeps what update wrote")

    call("pause", "web")
    assert json.loads(call("state", "web"))["status"] == "paused"
    call("resume", "web")
    assert call("exec", "web", "cat", "/proc/self/cgroup").strip() == "0::/", "exec is elsewhere"
    print("ok pause, resume and exec")

    for _ in range(2):  # at once under the same name: the old scope may still be going
        call("delete", "-f", "web")
        assert not group.exists(), "the cgroup is still there"
        detached("web")
    call("delete", "--force", "web", manager=())
    end = time.monotonic() + 10
    while show(group.name, "ActiveState", "LoadState")["LoadState"] != "not-found" and time.monotonic() < end:
        time.sleep(0.1)
    assert show(group.name, "LoadState") == {"LoadState": "not-found"}, "systemd keeps the unit"
    print("ok delete, and again under the same name")

    bundle = pathlib.Path("/tmp/bundle")
    bundle.mkdir()
    call("spec", "--bundle", str(bundle), manager=())
    config = json.loads((bundle / "config.json").read_text())
    config["root"] = {"path": "/", "readonly": True}
    config["process"]["terminal"] = False
    config["process"]["args"] = ["cat", "/proc/self/cgroup"]
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "cgroup"]
    for path, where in (("machine.slice:libpod:abc", "/machine.slice/libpod-abc.scope"),
                        ("a-b.slice::x", "/a.slice/a-b.slice/x.scope")):
        config["linux"]["cgroupsPath"] = path
        (bundle / "config.json").write_text(json.dumps(config))
        out = call("run", "--bundle", str(bundle), "abc")
        assert out.strip() == f"0::{where}", f"{path}: {out}"
    print("ok slice:prefix:name")
    for path in ("/not/a/scope", "a:b", "x:y:z", "a--b.slice:c:d"):
        config["linux"]["cgroupsPath"] = path
        (bundle / "config.json").write_text(json.dumps(config))
        assert "cgroupsPath" in call("run", "--bundle", str(bundle), "abc", status=125), path
    missing = pathlib.Path("/tmp/missing.json")
    missing.write_text(json.dumps({"command": ["no-such-program"]}))
    call("run", "--id", "gone", str(missing), status=127)
    assert not list(pathlib.Path("/sys/fs/cgroup/system.slice").glob("minirun-*.scope")), "a scope is left"
    assert [name for name in os.listdir(root) if not name.startswith("@")] == [], os.listdir(root)
    print("ok failures leave nothing")
    print("all good")


if __name__ == "__main__":
    guest()
    sys.exit(0)

from harness import MINIRUN, Skip, check, test  # noqa: E402


def in_vm(seconds, *command):
    """Runs a script of ours in the VM; it says "all good" at its end."""
    if not os.path.exists("/usr/bin/qemu-system-x86_64") or not os.path.exists("/usr/bin/dbus-daemon"):
        raise Skip("qemu or dbus is not installed")
    done = subprocess.run([REPOSITORY / "vm/run", "--systemd", "--memory", "3000", "--timeout", str(seconds), "--", "env",
                           f"MINIRUN={MINIRUN}", f"PYTHONPATH={REPOSITORY / 'tests/engines'}", *command], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=seconds + 40, check=False)
    out = done.stdout.decode(errors="replace")
    print(out)
    check(done.returncode == 0 and out.rstrip().endswith("all good"), out.strip()[-600:])


@test(limit=200)
def systemd_scopes(t):
    """--systemd-cgroup: a transient scope with the limits, which survive a daemon-reload, and nothing is left of it."""
    in_vm(150, "python3", "-B", __file__)


@test(limit=340)
def systemd_engines(t):
    """podman and docker with their systemd cgroup drivers (tests/engines/systemd.py)."""
    if not (REPOSITORY / "build/engines/list").exists():
        raise Skip("build/engines is missing: .ci/packages --unpack build/engines engines")
    in_vm(300, "unshare", "-m", "python3", "-B", REPOSITORY / "tests/engines/systemd.py")
