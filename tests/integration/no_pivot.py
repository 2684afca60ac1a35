"""--no-pivot: a container whose root was entered with chroot, for machines that run on their initramfs. One test runs on
such a root: the first mount of the kernel, which nobody can pivot away."""

import ctypes
import json
import os
import pathlib
import shutil
import traceback

from harness import CLONE_NEWNS, MINIRUN, MS_PRIVATE, MS_REC, Failure, check, equal, libc, read, test, wait_until
from integration.bundles import busybox_root
from integration.create import bundle, created

SYS_OPEN_TREE, SYS_MOVE_MOUNT, AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE = 428, 429, -100, 0x8000, 1
MOVE_MOUNT_F_EMPTY_PATH, MNT_DETACH, MS_BIND = 4, 2, 4096
# Every way up that chroot(2) is known for: the working directory stays outside of a second, deeper root.
ESCAPE = ("import os; os.mkdir('/tmp/deeper'); os.chroot('/tmp/deeper')\n"
          "for _ in range(50): os.chdir('..')\n"
          "os.chroot('.'); print(sorted(os.listdir('/'))); print(os.path.exists('/here'))")


@test()
def no_pivot(t):
    """The program has its root, sees no mount of the host, and does not leave it by another chroot; exec and delete work."""
    root = busybox_root(t)
    (root / "here").touch()
    out = t.minirun("run", "--no-pivot", "--bundle",
                    bundle(t, "/bin/busybox", "sh", "-c", "ls /; cat /proc/self/mountinfo"), t.id()).good().out
    check("here" in out.splitlines(), f"another root: {out}")
    places = [line.split()[4] for line in out.splitlines() if " - " in line]
    equal([p for p in places if p.split("/")[1] not in ("", "proc", "sys", "dev")], [], "mounts that are not the container's")
    # The mark is in the container's throw-away layer only.
    out = t.run({"command": ["sh", "-c", 'touch /here; exec python3 -c "$0"', ESCAPE]}, options=["--no-pivot"]).good().out
    equal(out.splitlines()[-1], "True", "the root after the escape is the container's")
    name = created(t, options=["--no-pivot"])
    t.minirun("start", name).good()
    check("here" in t.minirun("exec", name, "/bin/busybox", "ls", "/").good().out, "exec is elsewhere")
    t.minirun("delete", "-f", name).good()


# ---------------------------------------------------------------- on a root that cannot be pivoted away


# Of the first mount: a name that an initramfs does not have.
HOST = "minirun-test-host"


def call(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def leave_for_the_first_mount(directory):
    """Makes the kernel's first mount the root of this process, with the present tree at `directory` of it."""
    call(libc.unshare(CLONE_NEWNS), "unshare")
    call(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    tree = call(libc.syscall(SYS_OPEN_TREE, AT_FDCWD, b"/", OPEN_TREE_CLONE | AT_RECURSIVE), "open_tree")
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call(libc.umount2(b"/", MNT_DETACH), "umount /")
    call(libc.setns(namespace, CLONE_NEWNS), "setns")
    os.mkdir(f"/{directory}")
    call(libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, f"/{directory}".encode(), MOVE_MOUNT_F_EMPTY_PATH), "move_mount")
    os.close(tree)
    os.close(namespace)


def on_the_first_mount(t, function):
    """Calls `function` with the names of the first mount's tree; what it finds is an error of the test."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        made, words = [], ""
        try:
            leave_for_the_first_mount(HOST)
            made.append(f"/{HOST}")
            for name in ("proc", "sys", "dev", "tmp"):
                if not os.path.isdir(f"/{name}"):
                    os.mkdir(f"/{name}")
                    made.append(f"/{name}")
                call(libc.mount(f"/{HOST}/{name}".encode(), f"/{name}".encode(), None, MS_BIND | MS_REC, None), name)
            os.mkdir("/work")
            shutil.copy(f"/{HOST}{MINIRUN}", "/work/minirun")
            shutil.copytree(f"/{HOST}{t.dir}/busybox", "/work/root", symlinks=True)
            os.mkdir("/work/state", 0o700)
            function()
        except BaseException as error:
            traceback.print_exc()
            words = f"{type(error).__name__}: {error}"[:2000]
        # This file system is shared with the machine's own first mount. What is mounted is never removed: rmdir.
        shutil.rmtree("/work", ignore_errors=True)
        for name in (f"/{HOST}", "/proc", "/sys", "/dev", "/tmp"):
            libc.umount2(name.encode(), MNT_DETACH)
            if name in made:
                os.rmdir(name)
        os.write(writer, words.encode())
        os._exit(0)
    os.close(writer)
    words = os.read(reader, 65536).decode()
    os.close(reader)
    os.waitpid(pid, 0)
    if words:
        raise Failure(words)


@test(limit=120, vm=True)
def no_pivot_on_an_initramfs(t):
    """Where pivot_root fails the error names --no-pivot, and with it all works: run, exec, a user namespace; and nobody in
    the container can mount a procfs without masks."""
    busybox_root(t)
    config = json.loads(read(bundle(t, "/bin/busybox", "true") / "config.json"))
    config["root"]["path"] = "/work/root"

    def minirun(*words, status=0, **changes):
        config["process"].update(changes)
        pathlib.Path("/work/config.json").write_text(json.dumps(config), encoding="utf-8")
        with open("/work/output", "w+b") as output:
            process = os.posix_spawn("/work/minirun", ["minirun", "--root", "/work/state", *words],
                                     {"PATH": "/bin"}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                                                                     (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                                                                     (os.POSIX_SPAWN_DUP2, output.fileno(), 2)])
            found = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            output.seek(0)
            text = output.read().decode(errors="replace")
        print(f"$ minirun {' '.join(words)}\n{text}[{found}]")
        equal(found, status, f"status of minirun {' '.join(words)} ({text.strip()[-400:]!r})")
        return text

    def checks():
        text = minirun("run", "--bundle", "/work", "one", status=125)
        check("--no-pivot" in text and "pivot_root" in text, f"no help in {text!r}")
        script = "ls /; cat /proc/self/mountinfo"
        text = minirun("run", "--no-pivot", "--bundle", "/work", "two", args=["/bin/busybox", "sh", "-c", script])
        check(f"/{HOST}" not in text and "bin" in text.splitlines(), f"the host's tree is in sight: {text}")
        # A procfs in sight of the mount namespace that has no masks would let this one be mounted (mount_too_revealing).
        fresh = ["/bin/busybox", "unshare", "-Urmpf", "/bin/busybox", "mount", "-t", "proc", "proc", "/tmp"]
        text = minirun("run", "--no-pivot", "--bundle", "/work", "three", args=fresh, status=1)
        check(text.startswith("mount: permission denied"), f"another reason: {text!r}")
        masks = config["linux"].pop("maskedPaths"), config["linux"].pop("readonlyPaths")
        minirun("run", "--no-pivot", "--bundle", "/work", "four")  # the same works where nothing is masked
        # Of the covers for files and for directories only one is needed: the other must not hide the host's procfs.
        config["linux"]["maskedPaths"] = ["/proc/uptime"]
        text = minirun("run", "--no-pivot", "--bundle", "/work", "four-files", status=1)
        check(text.startswith("mount: permission denied"), f"another reason: {text!r}")
        config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"] = masks
        config["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]
        text = minirun("run", "--no-pivot", "--bundle", "/work", "five", args=fresh, status=1)
        check(text.startswith("mount: permission denied"), f"another reason: {text!r}")
        minirun("create", "--no-pivot", "--bundle", "/work", "six", args=["/bin/busybox", "sleep", "1000"])
        minirun("start", "six")
        check("bin" in minirun("exec", "six", "/bin/busybox", "ls", "/").splitlines(), "exec is elsewhere")
        minirun("delete", "-f", "six")
        wait_until(lambda: os.listdir("/work/state") in ([], ["@seccomp"]), "an empty state directory")

    on_the_first_mount(t, checks)
