"""Containers of ordinary users: with their own id alone, and with subordinate ids. Must not: need a login of the host's."""

import array
import json
import os
import pathlib
import pty
import shutil
import socket
import subprocess

from harness import MINIRUN, SLOW, Skip, cgroup_mount, check, equal, needs, read, test, wait_until

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
        self.cgroup = ""
        for kind in ("uid", "gid"):
            t.write(f"sub{kind}", f"{UID}:{FIRST}:{COUNT}\n" if ranges else "")

    def command(self, *words, helpers=True):
        # A mount namespace of its own, in which /etc/subuid and /etc/subgid are ours.
        script = (f"mount --bind {self.t.dir}/subuid /etc/subuid && mount --bind {self.t.dir}/subgid /etc/subgid && "
                  f"{'' if helpers else 'mount --bind /dev/null /usr/bin/newuidmap && '}"
                  f"{{ [ -z '{self.cgroup}' ] || echo $$ >'{self.cgroup}/session/cgroup.procs'; }} && "
                  f'exec setpriv --reuid {UID} --regid {GID} --clear-groups -- "$@"')
        return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", "env", "-i",
                f"XDG_RUNTIME_DIR={self.home}", "PATH=/usr/bin:/bin", str(self.minirun), *map(str, words)]

    def call(self, *words, **more):
        with open(self.t.dir / "out", "w+b") as out, open(self.t.dir / "err", "w+b") as err:  # a detached one keeps them
            done = subprocess.run(self.command(*words, **more), stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=40 * SLOW,
                                  check=False)
            done.stdout, done.stderr = [os.pread(file.fileno(), 1 << 20, 0).decode() for file in (out, err)]
        print(f"$ minirun {' '.join(map(str, words))}\n{done.stdout}{done.stderr}[{done.returncode}]")
        return done

    def good(self, *words, **more):
        done = self.call(*words, **more)
        equal(done.returncode, 0, f"status of {' '.join(map(str, words))} ({done.stderr.strip()!r})")
        return done.stdout

    def refused(self, *words):
        """One line, and a status that is none of success."""
        done = self.call(*words)
        check(done.returncode != 0 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("minirun: error: "),
              f"{' '.join(map(str, words))}: {done.returncode}, {done.stderr!r}")
        return done.stderr

    def state(self, name):
        return json.loads(self.good("state", name))

    def bundle(self, *args, change=None):
        """A bundle around the root file system, with the config.json that `minirun spec --rootless` writes."""
        directory = self.home / f"bundle-{self.t.id()}"
        directory.mkdir()
        os.chown(directory, UID, GID)
        self.good("spec", "--rootless", "--bundle", directory)
        config = json.loads(read(directory / "config.json"))
        config["root"]["path"] = str(self.home / "rootfs")
        config["process"].update(terminal=False, args=["/bin/busybox", *args])
        if change:
            change(config)
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    def delegate(self, controllers=""):
        """A cgroup as systemd delegates it: its directory and its three files belong to the user, whose processes are in a
        cgroup below. It has these controllers, such as "+pids", and no more, whatever others left switched on above."""
        above = cgroup_mount() / f"user-{self.t.marker}"
        above.mkdir()
        (above / "cgroup.subtree_control").write_text(controllers)
        self.cgroup = above / "delegated"
        for path in (self.cgroup, self.cgroup / "session"):
            path.mkdir()
            for name in (".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(path / name, UID, GID)

    def undelegate(self):
        # Innermost first; what a failed test left in them is killed.
        (self.cgroup / "cgroup.kill").write_text("1")
        wait_until(lambda: "populated 0" in read(self.cgroup / "cgroup.events"), "the end of the delegated cgroup")
        left = [path for path, _, _ in os.walk(self.cgroup, topdown=False)]
        for path in [*left, self.cgroup.parent]:
            os.rmdir(path)
        own = {str(self.cgroup), str(self.cgroup / "session"), str(self.cgroup / "minirun")}
        equal([path for path in left if path not in own], [], "cgroups that were left")

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


HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@test(both=True)
def rootless_lifecycle(t):
    """A bundle of `minirun spec --rootless`, one's own id, no cgroup: create, start, exec, ps, kill, delete, and six kinds of
    hooks as the user; what needs a cgroup says so."""
    user = User(t)
    log = user.home / "hooks"

    def change(config):
        script = 'busybox=/bin/busybox; [ -x $busybox ] || busybox=busybox; $busybox id -u >>"$1"; echo "$0" >>"$1"'
        config["hooks"] = {kind: [{"path": "/bin/busybox" if kind == "startContainer" else shutil.which("busybox"), "args": [
            "busybox", "sh", "-c", script, kind, "/tmp/hooks" if kind == "startContainer" else str(log)]}] for kind in HOOKS}
        config["root"]["readonly"] = False

    name = t.id()
    user.good("create", "--bundle", user.bundle("sleep", "1000", change=change), "--pid-file", user.home / "pid", name)
    state = user.state(name)
    equal((state["status"], state["pid"]), ("created", int(read(user.home / "pid"))), "after create")
    equal(os.stat(f"/proc/{state['pid']}").st_uid, UID, "whom the first process belongs to")
    user.good("start", name)
    equal(user.state(name)["status"], "running", "after start")
    equal(user.good("exec", name, "/bin/busybox", "id", "-u"), "0\n", "exec")
    equal(user.good("exec", "--cwd", "/tmp", "-e", "A=1", name, "/bin/busybox", "sh", "-c", "pwd; echo $A"), "/tmp\n1\n", "exec")
    check(name in user.good("list", "-q"), "list")
    for words in (["pause", name], ["events", "--stats", name], ["update", "--pids-limit", "10", name]):
        check("cgroup" in user.refused(*words), "why not")
    check("running" in user.refused("delete", name), "delete of a running one")
    check("already running" in user.refused("start", name), "a second start")
    user.good("kill", name, "KILL")
    wait_until(lambda: user.state(name)["status"] == "stopped", "the end")
    user.good("delete", name)
    check("does not exist" in user.refused("state", name), "after delete")
    equal(read(log).split(), [word for kind in HOOKS if kind != "startContainer"
                              for word in ("0" if kind == "createContainer" else str(UID), kind)], "hooks")
    equal(read(user.home / "rootfs/tmp/hooks").split(), ["0", "startContainer"], "the hook inside")


@test(both=True)
def rootless_delegated(t):
    """With a delegated cgroup and subordinate ids: the container has a cgroup of its own there, pause and resume work, and
    kill --all and delete -f reach every process; nothing is left of it."""
    user = User(t, ranges=True)
    user.delegate()
    try:
        name = t.id()
        script = "/bin/busybox sleep 100 & /bin/busybox sleep 100 & wait"
        user.good("create", "--bundle", user.bundle("sh", "-c", script), name)
        user.good("start", name)
        state = user.state(name)
        group = pathlib.Path(state["cgroup"])
        check(user.cgroup in group.parents, f"the cgroup is {group}")
        wait_until(lambda: len(read(group / "cgroup.procs").split()) == 3, "three processes")
        user.good("pause", name)
        equal((user.state(name)["status"], "frozen 1" in read(group / "cgroup.events")), ("paused", True), "after pause")
        check("paused" in user.refused("exec", name, "/bin/busybox", "true"), "exec while paused")
        user.good("resume", name)
        equal(user.state(name)["status"], "running", "after resume")
        equal(user.good("exec", name, "/bin/busybox", "cat", "/proc/self/cgroup").splitlines()[-1][:4], "0::/", "exec")
        equal(len(json.loads(user.good("ps", "--format", "json", name))), 3, "ps")
        user.good("kill", "--all", name, "KILL")
        wait_until(lambda: user.state(name)["status"] == "stopped", "the end")
        user.good("delete", name)
        check(not group.exists(), "its cgroup is left")
        user.good("run", "-d", "--bundle", user.bundle("sh", "-c", script), name)
        user.good("delete", "-f", name)
        check(not group.exists(), "its cgroup is left after delete -f")
    finally:
        user.undelegate()


@test()
def rootless_limits(t):
    """Limits of an ordinary user hold in a delegated cgroup: pids, memory and CPU, by the spec and by update; what is not
    delegated is named."""
    needs("pids", "memory", "cpu")
    user = User(t, ranges=True)
    (cgroup_mount() / "cgroup.subtree_control").write_text("+pids +memory +cpu")
    user.delegate("+pids +memory +cpu")
    try:
        (user.cgroup / "cgroup.subtree_control").write_text("+pids +memory")
        name = t.id()

        def change(config):
            config["linux"]["resources"] = {"pids": {"limit": 20}, "memory": {"limit": 64 << 20}}

        user.good("run", "-d", "--bundle", user.bundle("sleep", "1000", change=change), name)
        group = pathlib.Path(user.state(name)["cgroup"])
        equal([read(group / f).strip() for f in ("pids.max", "memory.max")], ["20", str(64 << 20)], "limits")
        user.good("update", "--pids-limit", "3", "--memory", "32m", name)
        equal([read(group / f).strip() for f in ("pids.max", "memory.max")], ["3", str(32 << 20)], "limits after update")
        done = user.call("exec", name, "/bin/busybox", "sh", "-c", "for i in 1 2 3 4; do /bin/busybox sleep 9 & done; wait")
        check("fork" in done.stderr, f"more processes than the limit: {done.stderr!r}")
        equal(json.loads(user.good("events", "--stats", name))["data"]["pids"]["limit"], 3, "events")
        user.good("delete", "-f", name)

        def more(config):
            config["linux"]["resources"] = {"blockIO": {"weight": 100}, "cpu": {"cpus": "0"}}

        words = user.call("run", "--bundle", user.bundle("true", change=more), name).stderr
        check("cpuset" in words and "Delegate" in words, f"what is not delegated: {words!r}")
    finally:
        user.undelegate()


@test()
def rootless_terminal(t):
    """A terminal of an ordinary user: by a console socket, and exec -t in the foreground."""
    user = User(t)
    path = user.home / "console"
    name = t.id()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, UID, GID)
        listener.listen(1)
        listener.settimeout(20)
        user.good("create", "--console-socket", path, "--bundle", user.bundle(
            "sh", "-c", "/bin/busybox tty; exec /bin/busybox sleep 100",
            change=lambda config: config["process"].update(terminal=True)), name)
        with listener.accept()[0] as connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2][:4])[0]
    user.good("start", name)
    seen = b""
    while b"\n" not in seen:
        seen += os.read(master, 100)
    check(seen.startswith(b"/dev/"), f"in the terminal: {seen!r}")
    os.close(master)
    words = user.command("exec", "-t", name, "/bin/busybox", "tty")
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    seen = b""
    while b"\n" not in seen:
        seen += os.read(master, 100)
    check(b"/dev/pts/" in seen, f"in the terminal of exec: {seen!r}")
    equal(os.waitpid(pid, 0)[1], 0, "status of exec -t")
    os.close(master)
    user.good("delete", "-f", name)


@test()
def rootless_without_newuidmap(t):
    """Subordinate ids that nobody can map, because newuidmap is not installed: the user's own id, as without them."""
    if not shutil.which("newuidmap"):
        raise Skip("newuidmap is not installed (package uidmap), so nothing can be hidden")
    user = User(t, ranges=True)
    out = user.good("run", user.spec("/bin/busybox cat /proc/self/uid_map /proc/self/gid_map"), helpers=False)
    equal(map_of(out), [[0, UID, 1], [0, GID, 1]], "the maps")
