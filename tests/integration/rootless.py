"""Containers of ordinary users: with their own id alone, and with subordinate ids. Must not: need a login of the host's."""

import json
import os
import shutil
import subprocess

from harness import MINIRUN, Skip, check, equal, test

UID, GID, FIRST, COUNT = 65534, 65534, 200000, 65536  # nobody: newuidmap wants a user that exists


class User:
    """Nobody, with a root file system and a state directory of its own."""

    def __init__(self, t, ranges=False):
        self.t = t
        t.dir.chmod(0o755)
        self.home = t.dir / "home"
        self.home.mkdir(mode=0o755)
        self.minirun = self.home / "program"  # the way to the tree may be closed to others
        shutil.copy(MINIRUN, self.minirun)
        root = self.home / "rootfs"
        for folder in ("bin", "dev", "proc", "sys", "tmp"):
            (root / folder).mkdir(parents=True)
        busybox = shutil.which("busybox")
        if not busybox:
            raise Skip("busybox is not installed")
        shutil.copy(busybox, root / "bin/busybox")
        for path in [self.home, *self.home.rglob("*")]:
            os.chown(path, UID, GID)
        self.ranges = ranges
        for kind in ("uid", "gid"):
            t.write(f"sub{kind}", f"{UID}:{FIRST}:{COUNT}\n" if ranges else "")

    def call(self, *words):
        # A mount namespace of its own, in which /etc/subuid and /etc/subgid are ours.
        script = (f"mount --bind {self.t.dir}/subuid /etc/subuid && mount --bind {self.t.dir}/subgid /etc/subgid && "
                  f'exec setpriv --reuid {UID} --regid {GID} --clear-groups -- "$@"')
        with open(self.t.dir / "out", "w+b") as out, open(self.t.dir / "err", "w+b") as err:  # a detached one keeps them
            done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", "env", "-i",
                                   f"XDG_RUNTIME_DIR={self.home}", "PATH=/usr/bin:/bin", self.minirun, *map(str, words)],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=40, check=False)
            done.stdout, done.stderr = [os.pread(file.fileno(), 1 << 20, 0).decode() for file in (out, err)]
        print(f"$ minirun {' '.join(map(str, words))}\n{done.stdout}{done.stderr}[{done.returncode}]")
        return done

    def spec(self, script, **more):
        path = self.home / f"spec-{self.t.id()}.json"
        path.write_text(json.dumps({"command": ["/bin/busybox", "sh", "-c", script], "root": str(self.home / "rootfs"),
                                    **more}))
        return path


def map_of(out):
    return [[int(word) for word in line.split()] for line in out.splitlines()]


@test()
def rootless_own_id(t):
    """Without subordinate ids: the user is root inside, what it writes is the user's, groups cannot be changed."""
    user = User(t)
    done = user.call("run", user.spec("busybox=/bin/busybox; $busybox cat /proc/self/uid_map; $busybox touch /made"))
    equal(done.returncode, 0, "status")
    equal(map_of(done.stdout), [[0, UID, 1]], "the map of uids")
    made = (user.home / "rootfs/made").stat()
    equal((made.st_uid, made.st_gid), (UID, GID), "owner of a file that was made")
    refused = user.call("run", user.spec("true", user={"uid": 0, "additional_gids": [0]}))
    equal(refused.returncode, 125, "status with additional groups")
    check("additional" in refused.stderr and "setgroups" in refused.stderr, refused.stderr)


@test()
def rootless_subordinate_ids(t):
    """With ranges in /etc/subuid and /etc/subgid newuidmap and newgidmap write the maps; groups can be had."""
    if not shutil.which("newuidmap"):
        raise Skip("newuidmap is not installed (package uidmap)")
    user = User(t, ranges=True)
    done = user.call("run", user.spec("b=/bin/busybox; $b cat /proc/self/uid_map; $b touch /tmp/by-5; $b id -G",
                                      user={"uid": 0, "additional_gids": [7]}))
    equal(done.returncode, 0, "status")
    lines = done.stdout.splitlines()
    equal(map_of("\n".join(lines[:2])), [[0, UID, 1], [1, FIRST, COUNT]], "the map of uids")
    equal(lines[2].split(), ["0", "7"], "groups")
    equal(user.call("run", user.spec("/bin/busybox touch /tmp/five", user={"uid": 0})).returncode, 0, "status")


@test()
def rootless_life(t):
    """run -d, list, exec, kill and delete by an ordinary user; a limit that cannot be had is refused and says so."""
    user = User(t)
    name = t.id()
    started = user.call("run", "-d", "--id", name, user.spec("exec /bin/busybox sleep 100"))
    equal(started.returncode, 0, "status of run -d")
    try:
        check(name in user.call("list").stdout, "it is not in the list")
        inside = user.call("exec", name, "/bin/busybox", "id", "-u")
        equal((inside.returncode, inside.stdout.strip()), (0, "0"), "exec")
    finally:
        equal(user.call("delete", "-f", name).returncode, 0, "status of delete -f")
    equal(os.listdir(user.home / "minirun"), ["@seccomp"] if (user.home / "minirun/@seccomp").exists() else [], "the rest")
    refused = user.call("run", user.spec("true", resources={"limits": {"pids": 10}}))
    equal(refused.returncode, 125, "status with a limit")
    check("pids.max cannot be set" in refused.stderr, refused.stderr)
