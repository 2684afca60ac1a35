"""What the payload sees and may do. Must not: test limits (limits.py)."""

import json
import os
import pathlib
import shutil
import subprocess

from harness import REPOSITORY, check, equal, read, test

DEFAULT_CAPABILITIES = 0xA80425FB  # the fourteen of docker, containerd and podman


def status_of(t, spec=None):
    """/proc/self/status of a payload as a dict."""
    out = t.run({"command": ["cat", "/proc/self/status"], **(spec or {})}).good().out
    return {key: value.strip() for key, value in (line.split(":", 1) for line in out.splitlines())}


@test()
def namespaces_are_new(t):
    """A container with all seven namespaces: each is another one than ours."""
    names = ["pid", "net", "mnt", "uts", "ipc", "cgroup", "user"]
    ids = {"userns": {"uid": ["0:100000:65536"], "gid": ["0:100000:65536"]}}
    script = "for n in " + " ".join(names) + "; do readlink /proc/self/ns/$n; done"
    found = t.sh(script, ids).good().out.split()
    equal(len(found), len(names), "namespaces")
    for name, there in zip(names, found):
        check(there.startswith(name + ":["), f"{there} is no {name} namespace")
        check(there != os.readlink(f"/proc/self/ns/{name}"), f"the {name} namespace is the host's")
    # Without userns it is the host's, and only that one.
    found = t.sh(script).good().out.split()
    same = [n for n, there in zip(names, found) if there == os.readlink(f"/proc/self/ns/{n}")]
    equal(same, ["user"], "shared namespaces of the default")


@test()
def namespaces_of_choice(t):
    """Any subset: each word of the short form opens one namespace."""
    for key, name in (("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")):
        out = t.run({"command": ["readlink", f"/proc/self/ns/{name}"], "namespaces": {key: "host"}}).good().out
        equal(out.strip(), os.readlink(f"/proc/self/ns/{name}"), f"namespace with {key}: host")


@test(both=True)
def namespaces_by_path(t):
    """Joining by path."""
    holder = subprocess.Popen(["unshare", "--net", "--ipc", "--uts", "sh", "-c", "echo; exec sleep 100"],
                              stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        ns = f"/proc/{holder.pid}/ns"
        out = t.run({"command": ["sh", "-c", "readlink /proc/self/ns/net /proc/self/ns/ipc"],
                     "namespaces": {"network": f"{ns}/net", "ipc": f"{ns}/ipc"}}).good().out.split()
        equal(out, [os.readlink(f"{ns}/net"), os.readlink(f"{ns}/ipc")], "namespaces")
    finally:
        holder.kill()
        holder.wait()


@test()
def first_process(t):
    """The program is pid 1 in its own pid namespace, and sees no process of the host."""
    out = t.sh("echo $$; ls -d /proc/[0-9]* | wc -l").good().out.split()
    equal(out[0], "1", "pid")
    check(int(out[1]) <= 4, f"{out[1]} processes are in sight")


@test()
def user_namespace(t):
    """uid and gid maps, also for several ranges; root in there is nobody out here."""
    spec = {"userns": {"uid": ["0:100000:1000", "1000:300000:5"], "gid": ["0:200000:65536"]}}
    out = t.sh("id -u; cat /proc/self/uid_map /proc/self/gid_map; cat /etc/shadow 2>&1; echo $?", spec).good().out
    words = [line.split() for line in out.splitlines()]
    equal(words[:4], [["0"], ["0", "100000", "1000"], ["1000", "300000", "5"], ["0", "200000", "65536"]], "maps")
    name = t.id()
    t.run({"command": ["sleep", "60"], **spec}, options=["-d", "--id", name]).good()
    pid = json.loads(t.minirun("state", name).out)["pid"]
    equal(os.stat(f"/proc/{pid}").st_uid, 100000, "uid of the process on the host")
    t.minirun("delete", "-f", name).good()


@test()
def loopback(t):
    """Loopback is up in a new network namespace, and there is nothing else."""
    script = ("import socket, os; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
              "c = socket.create_connection(s.getsockname()); print(sorted(os.listdir('/sys/class/net')))")
    equal(t.run({"command": ["python3", "-c", script]}).good().out, "['lo']\n", "interfaces")


@test()
def throw_away_root(t):
    """Without `root`, an overlay on the host's `/` with a throw-away upper layer."""
    canary = pathlib.Path("/etc") / f"minirun-canary-{t.marker}"
    host = read("/etc/hostname")
    out = t.sh(f"echo x >{canary} && echo y >/etc/hostname && rm -rf /usr/share/doc && cat {canary} /etc/hostname; "
               "ls /usr/share/doc 2>/dev/null | wc -l").good().out
    equal(out.split(), ["x", "y", "0"], "inside")
    check(not canary.exists(), f"{canary} is on the host")
    equal(read("/etc/hostname"), host, "the host's /etc/hostname")
    equal(t.sh(f"ls {canary}").status, 2, "the file is in the next container")


@test(both=True)
def kept_upper_directory(t):
    """`root`: an overlay with `upper` a directory that is kept."""
    for name in ("upper", "work"):
        (t.dir / name).mkdir()
    spec = {"root": {"overlay": {"lower": ["/"], "upper": str(t.dir / "upper"), "work": str(t.dir / "work")}}}
    t.sh("echo kept >/etc/minirun-canary", spec).good()
    equal(read(t.dir / "upper/etc/minirun-canary"), "kept\n", "the file in the upper layer")
    equal(t.sh("cat /etc/minirun-canary", spec).good().out, "kept\n", "the file in the next container")
    check(not os.path.exists("/etc/minirun-canary"), "the host has the file")


@test(both=True)
def many_lower_layers(t):
    """An overlay with many lower layers: the first one is the topmost."""
    lower = []
    for i in range(60):
        layer = t.dir / f"a-layer-with-a-name-that-is-not-short-{i:03}"
        layer.mkdir()
        (layer / f"file{i}").write_text(str(i))
        (layer / "top").write_text(str(i))
        lower.append(str(layer))
    shutil.copy("/bin/busybox", t.dir / "a-layer-with-a-name-that-is-not-short-030/sh")
    result = t.run({"command": ["/sh", "-c", "read a </top; read b </file0; read c </file59; echo $a $b $c; echo /file*"],
                    "root": {"overlay": {"lower": lower}}}).good()
    words = result.out.split()
    equal([words[:3], len(words)], [["0", "0", "59"], 63], "files of the layers")


@test()
def readonly_root(t):
    """A read-only root; /dev/shm and /proc are file systems of their own."""
    out = t.sh("touch /x 2>&1; touch /etc/x 2>&1; touch /dev/shm/x && echo shm", {"readonly": True}).good().out
    equal(out.count("Read-only file system"), 2, f"refusals in {out!r}")
    check("shm" in out, "/dev/shm cannot be written")


@test(both=True)
def masked_and_readonly_paths(t):
    """Safe by default: masked and read-only paths."""
    there = [f for f in ("/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/kcore") if os.path.exists(f)]
    check(len(there) >= 2, f"only {there} exist here")
    for path in there:
        equal(t.sh(f"wc -c <{path}").good().out.strip(), "0", f"size of {path}")
    equal(t.sh("ls /sys/firmware").good().out, "", "/sys/firmware")
    for path in ("/proc/sys/kernel/domainname", "/proc/irq/default_smp_affinity", "/sys/kernel/mm/ksm/run",
                 "/proc/sysrq-trigger"):
        if os.path.exists(path):
            # Opened for writing and nothing written: harmless also where it would be allowed.
            result = t.sh(f": >>{path}")
            check(result.status != 0 and ("Read-only" in result.err or "denied" in result.err),
                  f"{path} can be written: {result.err!r}")


@test()
def privileges(t):
    """The default capability set, no_new_privs and a seccomp profile, as /proc/self/status says."""
    found = status_of(t)
    for key in ("CapPrm", "CapEff", "CapBnd"):
        equal(int(found[key], 16), DEFAULT_CAPABILITIES, key)
    for key in ("CapInh", "CapAmb"):
        equal(int(found[key], 16), 0, key)
    equal([found["NoNewPrivs"], found["Seccomp"]], ["1", "2"], "NoNewPrivs and Seccomp")


@test()
def privileges_of_choice(t):
    """Each is one word to open up; a user without root has no capability."""
    every = int(status_line("CapBnd"), 16)
    equal(int(status_of(t, {"capabilities": "all"})["CapEff"], 16), every, "CapEff with all")
    equal(int(status_of(t, {"capabilities": "none"})["CapEff"], 16), 0, "CapEff with none")
    equal(status_of(t, {"seccomp": "unconfined"})["Seccomp"], "0", "Seccomp when unconfined")
    found = status_of(t, {"user": "1000:1000"})
    equal([found["Uid"].split(), found["Gid"].split(), found["CapEff"], found["CapPrm"]],
          [["1000"] * 4, ["1000"] * 4, "0" * 16, "0" * 16], "a user")


def status_line(key):
    return next(line.split()[1] for line in read("/proc/self/status").splitlines() if line.startswith(key))


@test()
def seccomp_refuses(t):
    """The default profile refuses what it should: a new user namespace, the kernel's key ring."""
    for words in (["unshare", "--user", "true"], ["python3", "-c", "import ctypes; c = ctypes.CDLL(None, use_errno=True);"
                                                  "exit(0 if c.syscall(250, 0, 0) >= 0 else ctypes.get_errno())"]):
        check(t.run({"command": words}).status != 0, f"{words} was allowed")


@test()
def only_standard_descriptors(t):
    """No descriptor of the host reaches the payload: 0, 1 and 2, whatever minirun was started with."""
    canary = os.open("/etc/hostname", os.O_RDONLY)
    os.dup2(canary, 77)
    try:
        script = "ls /proc/$$/fd; true"  # no pipe: the shell may have its end open still
        out = t.sh(script, pass_fds=(77, canary)).good().out.split()
    finally:
        os.close(77)
        os.close(canary)
    equal(sorted(map(int, out)), [0, 1, 2], "descriptors of the payload")


@test()
def closed_standard_descriptors(t):
    """Started with closed standard streams, minirun gives the payload /dev/null and no file of its own."""
    spec = t.write("spec.json", {"command": ["sh", "-c", "readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 >/out/found"],
                                 "mounts": [f"{t.dir}:/out"]})
    command = " ".join(t.command("run", "--id", t.id(), spec))
    equal(subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], timeout=20, check=False).returncode, 0, "status")
    out = read(t.dir / "found").split()
    equal([out[0], out[2]], ["/dev/null", "/dev/null"], "streams")


@test()
def devices(t):
    """The default /dev, and a device filter: no other device can be opened."""
    out = t.sh("for d in null zero full random urandom tty ptmx; do [ -e /dev/$d ] || echo no $d; done; "
               "mknod /dev/mem c 1 1 && cat /dev/mem >/dev/null; mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg").out
    equal(out, "", "what is there")
    result = t.sh("mknod /tmp/kmsg c 1 11 && head -c 1 </tmp/kmsg")
    check(result.status != 0 and "Operation not permitted" in result.err, f"the device was opened: {result.err!r}")
    equal(t.sh("mknod /tmp/zero c 1 5 && head -c 4 /tmp/zero | wc -c").good().out.strip(), "4", "a device of the list")


@test()
def hostname_and_cwd(t):
    """hostname, cwd, umask, sysctl and rlimits of the spec are the payload's."""
    spec = {"hostname": "web-1", "cwd": "/usr/share", "umask": "027", "sysctl": {"kernel.shmmax": "65536"},
            "rlimits": {"nofile": {"soft": 99, "hard": 100}}}
    out = t.sh("hostname; pwd; umask; cat /proc/sys/kernel/shmmax; ulimit -Sn; ulimit -Hn", spec).good().out.split()
    equal(out, ["web-1", "/usr/share", "0027", "65536", "99", "100"], "what the payload has")
    t.refused(t.run({"command": ["true"], "sysctl": {"vm.swappiness": "1"}}), "vm.swappiness")


@test()
def binds(t):
    """Mounts with their options: a read-only directory, a file, a tmpfs with a size, in the order of the list."""
    (t.dir / "data").mkdir()
    (t.dir / "data/inside").write_text("data\n")
    one = t.write("one", "file\n")
    spec = {"mounts": [f"{t.dir}/data:/srv/deep/er:ro", f"{one}:/etc/minirun-one",
                       {"type": "tmpfs", "destination": "/srv/deep/er2", "options": ["size=64k", "noexec"]}]}
    out = t.sh("cat /srv/deep/er/inside /etc/minirun-one; touch /srv/deep/er/x 2>&1; "
               "head -c 200k /dev/zero >/srv/deep/er2/big; stat -c %s /srv/deep/er2/big; echo more >>/etc/minirun-one",
               spec).good().out
    equal(out.split("\n")[:2], ["data", "file"], "files")
    check("Read-only file system" in out, "the read-only mount is writable")
    check(out.strip().endswith("65536"), f"the size of the tmpfs: {out[-20:]!r}")
    equal(read(one), "file\nmore\n", "a writable file of the host")


@test()
def mounts_do_not_propagate(t):
    """What is mounted inside stays inside (the harness compares the mounts around each test)."""
    (t.dir / "shared").mkdir()
    result = t.sh("mount -t tmpfs none /shared && touch /shared/inside && ls /shared",
                  {"mounts": [f"{t.dir}/shared:/shared"], "capabilities": "all", "seccomp": "unconfined"}).good()
    equal(result.out, "inside\n", "the mount inside")
    equal(os.listdir(t.dir / "shared"), [], "the directory on the host")


@test(both=True)
def cgroup_view(t):
    """The container sees its own cgroup as the root of the tree, and cannot write there."""
    out = t.sh("grep ^0: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs | head -n 1; "
               "mkdir /sys/fs/cgroup/x 2>&1").out
    lines = out.splitlines()
    equal(lines[:2], ["0::/", "1"], "cgroup and its processes")
    check("Read-only" in lines[2], f"a cgroup could be made: {lines[2:]}")


@test()
def program_of_the_host(t):
    """Not only `true`: programs of the host with their libraries, an interpreter, a compiler's driver."""
    equal(t.run({"command": ["python3", "-c", "import json, ssl, sqlite3; print(6 * 7)"]}).good().out, "42\n", "python")
    equal(t.sh("find /usr/bin -name 'env' | xargs ls -l | wc -l").good().out.strip(), "1", "a pipeline")


@test()
def schema_of_the_repository(t):
    """A published JSON Schema in the repository."""
    schema = json.loads(read(REPOSITORY / "docs/minirun.schema.json"))
    wanted = set("name command env cwd user hostname terminal readonly root mounts resources namespaces userns "
                 "capabilities seccomp network rlimits sysctl timeout".split())
    equal(wanted - set(schema["properties"]), set(), "keys that the schema lacks")
