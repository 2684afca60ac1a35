"""What the tests of the engines share. Owns: the machine that they find (packages, storage, images), the table of tests, and
the ways to call an engine. Must not: change the real machine: all is in namespaces of its own (mounts, processes, network,
cgroups), where the packages lie over /usr and /etc; with its first process all the others are gone.

An engine's tests run in their order, one engine beside the others. A test is a function `name(e)` with @test(engine,
controllers it needs); its docstring names the promise. It passes by returning.
"""

import ctypes
import hashlib
import io
import json
import os
import pathlib
import pty
import select
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from harness import MINIRUN, REPOSITORY, SLOW, Failure, check, equal, libc, wait_until  # noqa: E402

PACKAGES = REPOSITORY / "build/engines"
HOME = pathlib.Path("/run/engines")
IMAGE = "docker.io/library/box:latest"
PAUSE = "docker.io/library/pause:latest"  # of a Pod's sandbox
# One command of an engine; three times as long in the VM.
COMMAND_LIMIT = 60
CLONE_NEWCGROUP = 0x02000000
# Its child is killed at the memory limit, it lives on until /end is there, and its status is the child's (137). A first process
# that is killed itself ends at the moment of its OOM event, and containerd's shim then often sees the end only
# (containerd issue 8893, with every runtime). The second is for whoever makes /end, to end before the container does.
OOM = ("sh", "-c", "tail /dev/zero; status=$?; until test -e /end; do sleep 0.1; done; sleep 1; exit $status")
TESTS = {}


def test(engine, *controllers):
    """Registers a test of an engine, which needs these controllers of cgroup2."""

    def register(function):
        assert function.__doc__ and function.__name__ not in TESTS, function.__name__
        TESTS[function.__name__] = {"function": function, "engine": engine, "controllers": controllers}
        return function

    return register


# ---------------------------------------------------------------- the machine


def run(*words, **more):
    subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT * SLOW, check=True, **more)


def unpacked_packages():
    """The engines' packages over this machine's /usr and /etc, as if they were installed; no daemon is started."""
    for name in ("usr", "etc"):
        for part in ("upper", "work"):
            (HOME / name / part).mkdir(parents=True)
        below = f"{PACKAGES / name}:/{name}" if (PACKAGES / name).is_dir() else f"/{name}"
        run("mount", "-t", "overlay", "-o", f"lowerdir={below},upperdir={HOME / name}/upper,workdir={HOME / name}/work",
            "none", f"/{name}")
    run("ldconfig")


def storage():
    for name in ("containers", "containerd", "docker", "cni"):
        place = pathlib.Path("/var/lib") / name
        if not place.is_dir():
            place.mkdir()  # seen in build/engines too, where the packages are unpacked: Debian's have it
        run("mount", "-t", "tmpfs", name, place)


def enter(group):
    """Makes `group` the root of the cgroups that this process sees, and leaves it for the group `init` below: a group with
    processes cannot give controllers on."""
    for name in ("cgroup.procs", "init/cgroup.procs"):
        (group / name).write_text(str(os.getpid()))
        if name == "cgroup.procs" and libc.unshare(CLONE_NEWCGROUP) != 0:
            raise OSError(ctypes.get_errno(), "a cgroup namespace")


def cgroup_tree():
    """Ours as the root of a pure cgroup2 at the usual place, with the controllers that it has, as systemd leaves it."""
    run("umount", "-R", "/sys/fs/cgroup")
    run("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
    top = pathlib.Path("/sys/fs/cgroup")
    have = (top / "cgroup.controllers").read_text().split()
    wanted = [f"+{name}" for name in ("cpu", "cpuset", "io", "memory", "pids") if name in have]
    (top / "cgroup.subtree_control").write_text(" ".join(wanted))


def root_file_system():
    """A tar file of busybox with its names and two users."""
    busybox = pathlib.Path("/bin/busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, timeout=20, check=True).stdout.split()
    path = HOME / "root.tar"
    with tarfile.open(path, "w") as tar:
        def add(name, kind, data=b"", link="", mode=0o755):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
            tar.addfile(info, io.BytesIO(data))
        for name in ("bin", "etc", "root"):
            add(name, tarfile.DIRTYPE)
        add("tmp", tarfile.DIRTYPE, mode=0o1777)
        add("bin/busybox", tarfile.REGTYPE, busybox.read_bytes())
        for name in names:
            if name != "busybox":
                add(f"bin/{name}", tarfile.SYMTYPE, link="busybox")
        add("etc/passwd", tarfile.REGTYPE, b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n", mode=0o644)
        add("etc/group", tarfile.REGTYPE, b"root:x:0:\nuser:x:1000:\n", mode=0o644)
    return path


def image_archive(root):
    """The same as an OCI image layout in a tar file, for `ctr image import`."""
    path = HOME / "image.tar"
    kind = "application/vnd.oci.image."
    with tarfile.open(path, "w") as tar:
        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        def blob(media, data):
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": kind + media, "digest": f"sha256:{digest}", "size": len(data)}
        def image(name, command):
            config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": command},
                      "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
            manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
                        "config": blob("config.v1+json", json.dumps(config).encode()), "layers": [layer]}
            entry = blob("manifest.v1+json", json.dumps(manifest).encode())
            return {**entry, "annotations": {"io.containerd.image.name": name}}
        layer = blob("layer.v1.tar", root.read_bytes())
        images = [image(IMAGE, ["sh"]), image(PAUSE, ["sleep", "100000"])]
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": images}).encode())
    return path


def settings(name):
    """A file of examples/engines, for the runtime that is tested."""
    text = (REPOSITORY / "examples/engines" / name).read_text(encoding="utf-8")
    check("/usr/local/bin/minirun" in text, f"{name} does not name minirun")
    return text.replace("/usr/local/bin/minirun", os.environ.get("ENGINES_RUNTIME", MINIRUN))


def hide_apparmor():
    """Without apparmor_parser dockerd cannot load its profile; it asks here whether there is AppArmor."""
    subprocess.run(["umount", "/sys/kernel/security"], stderr=subprocess.DEVNULL, timeout=COMMAND_LIMIT * SLOW, check=False)


def set_up():
    """In the new namespaces."""
    os.environ["PATH"] = "/usr/bin:/usr/sbin:/bin:/sbin"
    # As the tests find it, not as a desktop's user has it: podman takes this one for rootless.
    os.environ["XDG_RUNTIME_DIR"] = ""
    run("mount", "--make-rprivate", "/")
    cgroup_tree()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    HOME.mkdir()
    unpacked_packages()
    storage()
    run("ip", "link", "set", "lo", "up")
    hide_apparmor()
    image_archive(root_file_system())


def daemon(socket, ready, *words):
    """Starts one that lives until the machine ends, and waits for its socket and then for ready()."""
    path = HOME / f"{words[0]}.log"
    with open(path, "wb") as log:
        process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)
    try:
        wait_until(lambda: process.poll() is not None or os.path.exists(socket), f"{socket}", 2 * COMMAND_LIMIT)
        wait_until(lambda: process.poll() is not None or ready(), words[0], 2 * COMMAND_LIMIT)
        equal(process.poll(), None, f"{words[0]} has ended with")
    except Failure as failure:
        raise Failure(f"{failure}; the end of its log: {path.read_text(errors='replace')[-1500:]}") from failure


# ---------------------------------------------------------------- what a test is given


class Output:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err
        self.line = out.strip()


class Engine:
    """The command line of one engine."""

    def __init__(self, name, *command):
        self.name, self.command = name, command

    def __call__(self, *words, status=0, limit=COMMAND_LIMIT * SLOW, text=None):
        """Runs `ENGINE WORDS...`; `status` None: any."""
        command = [*self.command, *map(str, words)]
        shown = " ".join([self.name, *map(str, words)])
        begin = time.monotonic()
        try:
            done = subprocess.run(command, input=text or "", capture_output=True, text=True, errors="replace",
                                  timeout=limit, check=False)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{shown}: not within {limit} s") from late
        result = Output(done.returncode, done.stdout, done.stderr)
        print(f"$ {shown}\n{done.stdout}{done.stderr}[{done.returncode}, {time.monotonic() - begin:.1f} s]", flush=True)
        if status is not None:
            equal(result.status, status, f"status of {shown} ({done.stderr.strip()[-300:]!r})")
        return result

    def terminal(self, *words, keys=""):
        """The same at a terminal of 40 lines and 100 columns: what came out of it, and the status."""
        master, slave = pty.openpty()
        import fcntl
        import struct
        import termios
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        process = subprocess.Popen([*self.command, *map(str, words)], stdin=slave, stdout=slave, stderr=slave,
                                   start_new_session=True)
        os.close(slave)
        os.write(master, keys.encode())
        out, end = b"", time.monotonic() + COMMAND_LIMIT * SLOW
        while True:
            ready, _, _ = select.select([master], [], [], max(0, end - time.monotonic()))
            try:
                data = os.read(master, 65536) if ready else b""
            except OSError:  # EIO: the last one closed it
                data = b""
            if not data:
                break
            out += data
        os.close(master)
        try:
            status = process.wait(max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired as late:
            process.kill()
            process.wait()
            raise Failure(f"{self.name} {' '.join(map(str, words))} did not end: {out!r}") from late
        text = out.decode(errors="replace").replace("\r\n", "\n")
        print(f"$ {self.name} {' '.join(map(str, words))}   (at a terminal)\n{text}[{status}]", flush=True)
        return Output(status, text, "")


def has(text, *words):
    for word in words:
        check(word in text, f"{word!r} is not in {text.strip()[-400:]!r}")

