"""The fields of config.json: idmapped mounts, attributes of mounts and processes, labels, devices, seccomp agents."""

import array
import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import threading

from harness import Skip, cgroup_mount, check, equal, needs, read, test, wait_until
from integration.bundles import busybox_root

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def oci(t, script, change=None, root=None, options=(), **more):
    """A shell script in an OCI container on a busybox root, whose config.json `change` edits."""
    def edit(config):
        config["process"]["args"] = ["sh", "-c", script]
        config["root"]["readonly"] = False
        if change:
            change(config)

    return t.run(t.bundle(root or busybox_root(t), edit), options=options, **more)


def userns(config):
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = MAP
    config["linux"]["gidMappings"] = MAP


def owned_root(t):
    """A busybox root that belongs to the root of a user namespace."""
    root = busybox_root(t)
    for path, dirs, files in os.walk(root):
        for name in [".", *dirs, *files]:
            os.lchown(os.path.join(path, name), 100000, 100000)
    os.chmod(t.dir, 0o711)
    return root


def idmappable(t):
    """A directory on a file system that can be idmapped: in the VM tmpfs cannot, with Linux 6.1."""
    place = pathlib.Path("/mnt/disk") if os.path.ismount("/mnt/disk") else t.dir
    place = place / f"idmap-{t.marker}"
    place.mkdir(mode=0o711)
    return place


def mount_line(out, where):
    return next(line for line in out.splitlines() if f" {where} " in line)


@test(both=True)
def idmapped_mounts(t):
    """idmap and ridmap with mappings of their own, on a bind and on a new tmpfs; the files of the host stay as they are."""
    data = idmappable(t)
    for name in ("tree/below", "other"):
        (data / name).mkdir(parents=True)
    subprocess.run(["mount", "--bind", data / "other", data / "tree/below"], check=True)
    for name in ("tree/file", "tree/below/file"):
        (data / name).write_text("x")
        os.chown(data / name, 3, 4)
    maps = {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}]}

    def change(config):
        config["mounts"] += [
            {"destination": "/one", "type": "none", "source": str(data / "tree"), "options": ["rbind", "idmap"], **maps},
            {"destination": "/all", "type": "none", "source": str(data / "tree"), "options": ["rbind", "ridmap"], **maps}]

    def tmpfs(config):
        config["mounts"].append({"destination": "/new", "type": "tmpfs", "source": "tmpfs",
                                 "options": ["idmap", "mode=755"], **maps})

    root = busybox_root(t)
    try:
        out = oci(t, "busybox stat -c %u:%g /one/file /one/below/file /all/file /all/below/file; touch /all/mine",
                  change, root).good(1).out.split()
        # A root without a mapping in the mount cannot make files there (EOVERFLOW).
        equal(out, ["1003:2004", "3:4", "1003:2004", "1003:2004"], "owners")
        found = os.stat(data / "tree/file")
        equal((found.st_uid, found.st_gid), (3, 4), "owner on the host")
    finally:
        subprocess.run(["umount", data / "tree/below"], check=True)
        shutil.rmtree(data)
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 3):
        equal(oci(t, "busybox stat -c %u:%g /new", tmpfs, root).good().out.split(), ["1000:2000"], "a new tmpfs")
    else:
        t.refused(oci(t, "true", tmpfs, root), "mounts[", "tmpfs", "cannot idmap")


@test()
def idmap_of_the_container(t):
    """idmap without mappings takes those of the container's user namespace: what its root writes is root's on the host."""
    data = idmappable(t)

    def change(config):
        userns(config)
        config["mounts"].append({"destination": "/data", "type": "none", "source": str(data),
                                 "options": ["bind", "idmap"]})

    try:
        oci(t, "echo made >/data/file; busybox stat -c %u /data", change, root=owned_root(t)).good()
        equal(os.stat(data / "file").st_uid, 0, "owner on the host")
    finally:
        shutil.rmtree(data)


@test()
def idmap_refused(t):
    """idmap without any mapping, half a mapping, on a file system that has none, on a remount: an error with the field."""
    def bind(options, source=t.dir, **more):
        def change(config):
            config["mounts"].append({"destination": "/data", "type": "none", "source": str(source), "options": options,
                                     **more})
        return change

    root = busybox_root(t)
    t.refused(oci(t, "true", bind(["bind", "idmap"]), root), "/mounts/", "idmap", "uidMappings")
    t.refused(oci(t, "true", bind(["bind", "idmap"], uidMappings=MAP), root), "alone, expected both")
    both = {"uidMappings": MAP, "gidMappings": MAP}
    t.refused(oci(t, "true", bind(["bind", "idmap"], "/sys", **both), root), "mounts[", "mount_setattr", "sysfs",
              "EINVAL", "idmap")
    t.refused(oci(t, "true", bind(["remount", "idmap"], **both), root), "expected remount without idmap")
    twice = MAP + [{"containerID": 1, "hostID": 5, "size": 5}]
    t.refused(oci(t, "true", bind(["bind", "idmap"], uidMappings=twice, gidMappings=MAP), root), "mounts[", "uid_map",
              "do not overlap")


@test(both=True)
def overlay_in_a_user_namespace(t):
    """Lower directories are idmapped, so that the container's root owns them and files can be copied up; where the file
    system cannot be idmapped --dry-run says so."""
    lower = idmappable(t)
    for name in ("etc", "proc", "sys", "dev", "bin"):
        (lower / name).mkdir()
    (lower / "etc/file").write_text("lower\n")
    shutil.copy("/bin/busybox", lower / "bin/sh")

    def spec(directory):
        return {"command": ["/bin/sh", "-c", "echo more >>/etc/file && cat /etc/file"],
                "userns": {"uid": ["0:100000:65536"]}, "root": {"overlay": {"lower": [str(directory)]}}}

    try:
        equal(t.run(spec(lower)).good().out, "lower\nmore\n", "the file")
        equal(read(lower / "etc/file"), "lower\n", "the file of the layer")
    finally:
        shutil.rmtree(lower)
    check("cannot be idmapped" in t.run(spec("/sys"), options=["--dry-run"]).err, "/sys can be idmapped?")


@test(both=True)
def recursive_attributes(t):
    """rro, rnosuid ... reach the mounts below a bind; ro, nosuid do not; the later of two opposites wins."""
    (t.dir / "tree").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", t.dir / "tree"], check=True)
    (t.dir / "tree/below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", t.dir / "tree/below"], check=True)
    sets = {"/top": ["rbind", "ro", "nosuid"], "/tree": ["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"],
            "/back": ["rbind", "rro", "rrw", "rnosuid", "rsuid"], "/links": ["rbind", "rnosymfollow", "rnodiratime"]}

    def change(config):
        config["mounts"] += [{"destination": where, "type": "bind", "source": str(t.dir / "tree"), "options": options}
                             for where, options in sets.items()]

    try:
        out = oci(t, "cat /proc/self/mountinfo", change).good().out
        flags = {where: mount_line(out, where).split()[5].split(",") for top in sets for where in (top, f"{top}/below")}
        check({"ro", "nosuid"} <= set(flags["/top"]), f"/top {flags['/top']}")
        check(not {"ro", "nosuid"} & set(flags["/top/below"]), f"/top/below {flags['/top/below']}")
        for where in ("/tree", "/tree/below"):
            check({"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(flags[where]), f"{where} {flags[where]}")
        for where in ("/back", "/back/below"):
            check(not {"ro", "nosuid"} & set(flags[where]), f"{where} {flags[where]}")
        for where in ("/links", "/links/below"):
            check({"nosymfollow", "nodiratime"} <= set(flags[where]), f"{where} {flags[where]}")
    finally:
        subprocess.run(["umount", "-R", t.dir / "tree"], check=True)


@test()
def memory_policy_and_personality(t):
    """memoryPolicy and personality hold for the first process and for exec; a node that is not there is an error."""
    def change(config):
        config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
        config["linux"]["personality"] = {"domain": "LINUX32"}

    root = busybox_root(t)
    look = "busybox uname -m; busybox head -1 /proc/self/numa_maps"
    first = oci(t, look, change, root)
    if first.status == 125 and "NUMA" in first.err:
        raise Skip("this kernel is built without NUMA")
    first.good()
    check(first.out.split()[0] in ("i686", "armv8l"), f"uname {first.out!r}")
    check("bind=static:0" in first.out, f"policy {first.out!r}")
    name = t.id()
    oci(t, "exec busybox sleep 60", change, root, options=["-d", "--id", name]).good()
    out = t.minirun("exec", name, "sh", "-c", look).good().out
    t.minirun("delete", "-f", name).good()
    check(out.split()[0] in ("i686", "armv8l") and "bind=static:0" in out, f"exec {out!r}")

    def missing(config):
        config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "900"}

    t.refused(oci(t, "true", missing, root), "linux.memoryPolicy", "set_mempolicy", "EINVAL", "node is not there")


@test()
def scheduler_and_io_priority(t):
    """scheduler and ioPriority are those of the payload; a deadline that the kernel refuses is an error with the reason."""
    def change(config):
        config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
        config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}

    root = busybox_root(t)
    # The flag takes the policy from children: the shell's own stat is what is read. Fields 19 nice and 41 policy.
    out = oci(t, "read line </proc/$$/stat; set -- ${line##*) }; echo ${17} ${39}; busybox ionice -p $$", change, root)
    equal(out.good().out.split(), ["5", "3", "best-effort:", "prio", "6"], "nice, policy, I/O priority")


@test()
def exec_affinity(t):
    """process.execCPUAffinity.final is the affinity of an exec, and of nothing else."""
    if os.cpu_count() < 2:
        raise Skip("one CPU")

    def change(config):
        config["process"]["execCPUAffinity"] = {"initial": "0", "final": "1"}

    name = t.id()
    look = "busybox grep Cpus_allowed_list /proc/self/status"
    oci(t, "exec busybox sleep 60", change, options=["-d", "--id", name]).good()
    exec_out = t.minirun("exec", name, "sh", "-c", look).good().out.split()[1]
    init_out = t.minirun("state", name).good()
    pid = json.loads(init_out.out)["pid"]
    first = next(line.split()[1] for line in read(f"/proc/{pid}/status").splitlines() if "Cpus_allowed_list" in line)
    t.minirun("delete", "-f", name).good()
    equal(exec_out, "1", "affinity of exec")
    check(first != "1", f"the first process has the affinity {first}")


def has_apparmor():
    try:
        return read("/sys/module/apparmor/parameters/enabled").startswith("Y")
    except FileNotFoundError:
        return False


def profile(name):
    def change(config):
        config["process"]["apparmorProfile"] = name
    return change


@test()
def apparmor_profile(t):
    """apparmorProfile is the one of the program, in run and exec; one that is not loaded is an error."""
    if not has_apparmor():
        raise Skip("this kernel has no AppArmor")
    root = busybox_root(t)
    look = "cat /proc/self/attr/apparmor/current"
    equal(oci(t, look, profile("unconfined"), root).good().out.strip(), "unconfined", "profile")
    name = t.id()
    oci(t, "exec busybox sleep 60", profile("unconfined"), root, options=["-d", "--id", name]).good()
    equal(t.minirun("exec", name, "sh", "-c", look).good().out.strip(), "unconfined", "profile of exec")
    t.minirun("delete", "-f", name).good()
    t.refused(oci(t, "true", profile("minirun-is-not-there"), root), "process.apparmorProfile", "not loaded")


@test()
def lsm_labels(t):
    """apparmorProfile, selinuxLabel and mountLabel on a kernel without the LSM: errors that say that it lacks it."""
    root = busybox_root(t)

    def selinux(config):
        config["process"]["selinuxLabel"] = "system_u:system_r:container_t:s0"
        config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0"

    if not has_apparmor():
        t.refused(oci(t, "true", profile("x"), root), "/process/apparmorProfile", "no AppArmor")
    if not os.path.exists("/sys/fs/selinux/enforce"):
        t.refused(oci(t, "true", selinux, root), "no SELinux", lines=2)


SECCOMP_RECV, SECCOMP_SEND, NOTIF_SIZE = 0xC0502100, 0xC0182101, 80


class Agent(threading.Thread):
    """Answers every notification of the first listener that comes with `value` as the result."""

    def __init__(self, path, value):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen(4)
        self.value, self.states = value, []

    def run(self):
        peer, _ = self.socket.accept()
        fds = array.array("i")
        data, control, _, _ = peer.recvmsg(1 << 16, socket.CMSG_SPACE(4))
        fds.frombytes(control[0][2][:4])
        rest = peer.recv(1 << 16)
        self.states.append((json.loads(data + rest), len(control)))
        listener = fds[0]
        notif = bytearray(NOTIF_SIZE)
        try:
            fcntl.ioctl(listener, SECCOMP_RECV, notif)
            ident = struct.unpack_from("Q", notif)[0]
            fcntl.ioctl(listener, SECCOMP_SEND, struct.pack("QqiI", ident, self.value, 0, 0))
        finally:
            os.close(listener)
            peer.close()
            self.socket.close()


@test(both=True)
def seccomp_agent(t):
    """SCMP_ACT_NOTIFY: the agent gets the listener with the state of the container, and its answer is what the program
    sees; an agent that is not there, or a missing listenerPath, is an error."""
    root = busybox_root(t)
    path = t.dir / "agent.sock"

    def change(config):
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "listenerMetadata": "for the agent",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}
        config["annotations"] = {"org.example.key": "value"}

    t.refused(oci(t, "true", change, root), "linux.seccomp.listenerPath", "connect", "ENOENT")
    agent = Agent(path, 0)
    agent.start()
    name = t.id()
    out = oci(t, "busybox mkdir /made && echo yes; busybox test -d /made || echo no", change, root,
              options=["--id", name]).good(0).out.split()
    agent.join(5)
    equal(out, ["yes", "no"], "what the program sees")
    state, count = agent.states[0]
    equal(count, 1, "descriptors in the first message")
    equal((state["fds"], state["metadata"], state["state"]["id"], state["state"]["status"],
           state["state"]["annotations"]), (["seccompFd"], "for the agent", name, "creating",
                                            {"org.example.key": "value"}), "state")
    equal(state["pid"], state["state"]["pid"], "pids")
    # The same with create and start.
    path.unlink()
    agent = Agent(path, 0)
    agent.start()

    def edit(config):
        change(config)
        config["process"]["args"] = ["busybox", "mkdir", "/made"]

    name = t.id()
    t.minirun("create", "--bundle", t.bundle(root, edit), name).good()
    t.minirun("start", name).good()
    agent.join(5)
    t.minirun("delete", "-f", name).good()
    equal(agent.states[0][0]["state"]["id"], name, "id after start")

    def silent(config):
        change(config)
        del config["linux"]["seccomp"]["listenerPath"], config["linux"]["seccomp"]["listenerMetadata"]

    t.refused(oci(t, "true", silent, root), "/linux/seccomp/listenerPath", "missing")


@test(both=True)
def oci_devices(t):
    """devices: c, b and a FIFO with mode and owner; another file at the path is an error; in a user namespace the host's
    node is bound only when it is the device that was asked for."""
    root = busybox_root(t)

    def listed(*entries):
        def change(config):
            config["linux"]["devices"] = list(entries)
        return change

    out = oci(t, "busybox stat -c '%F %t:%T %a %u:%g' /dev/my/null /dev/fifo /dev/blk", listed(
        {"type": "c", "path": "/dev/my/null", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6},
        {"type": "p", "path": "/dev/fifo", "fileMode": 0o640},
        {"type": "b", "path": "/dev/blk", "major": 7, "minor": 300, "fileMode": 0o660}), root).good().out.splitlines()
    equal(out, ["character special file 1:3 600 5:6", "fifo 0:0 640 0:0", "block special file 7:12c 660 0:0"], "nodes")
    (root / "node").write_text("a file")
    t.refused(oci(t, "true", listed({"type": "c", "path": "/node", "major": 1, "minor": 3}), root),
              "linux.devices[0]", "another file is there", "EEXIST")

    def inside(*entries):
        def change(config):
            userns(config)
            config["linux"]["devices"] = list(entries)
        return change

    root = owned_root(t) if False else root
    for path, dirs, files in os.walk(root):
        for entry in [".", *dirs, *files]:
            os.lchown(os.path.join(path, entry), 100000, 100000)
    os.chmod(t.dir, 0o711)
    equal(oci(t, "busybox stat -c %t:%T /dev/full /dev/null", inside(
        {"type": "c", "path": "/dev/full", "major": 1, "minor": 7}), root).good().out.split(), ["1:7", "1:3"], "bound")
    t.refused(oci(t, "true", inside({"type": "c", "path": "/dev/zero", "major": 1, "minor": 1}), root),
              "linux.devices[0]", "another file there", "ENODEV")


@test()
def annotations_keep_groups(t):
    """run.oci.keep_original_groups=1 leaves the caller's supplementary groups."""
    root = busybox_root(t)

    def change(config):
        config["annotations"] = {"run.oci.keep_original_groups": "1"}

    def groups():
        os.setgroups([4, 27])

    look = "busybox grep Groups /proc/self/status"
    equal(oci(t, look, change, root, preexec_fn=groups).good().out.split(), ["Groups:", "4", "27"], "with it")
    equal(oci(t, look, None, root, preexec_fn=groups).good().out.split(), ["Groups:"], "without it")


@test()
def keyring_is_not_squatted(t):
    """A session keyring that somebody made before under the container's plain name is not joined."""
    name = t.id()
    code = ("import ctypes, os, sys\n"
            "c = ctypes.CDLL(None, use_errno=True)\n"
            f"serial = c.syscall(250, 1, b'_ses.{name}')\n"
            "c.syscall(250, 5, serial, 0x3f3f3f3f)\n"
            "c.syscall(248, b'user', b'bait', b'x', 1, -3)\n"
            "print('ready', flush=True); sys.stdin.read()\n")
    squatter = subprocess.Popen(["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        equal(squatter.stdout.readline(), "ready\n", "the squatter")
        out = oci(t, "cat /proc/keys; id -u", lambda config: config["linux"].pop("maskedPaths"),
                  options=["--id", name]).good().out
    finally:
        squatter.stdin.close()
        squatter.wait(5)
    own = [line for line in out.splitlines() if f"_ses.{name}." in line]
    check(own, f"no keyring of its own: {out}")
    check("bait" not in out or all("empty" in line for line in own), f"the bait is in it: {own}")


@test()
def exec_failures_are_explained(t):
    """Why a program cannot be executed: interpreter, loader, architecture, noexec, execute bit, directory; the words that
    engines look for stay, and nothing of the message is left out for exec."""
    root = busybox_root(t)
    (root / "lib-less").mkdir()
    shutil.copy("/bin/bash", root / "bin/dynamic")
    files = {"noint": "#!/usr/bin/python9\nx", "crlf": "#!/bin/sh\r\ntrue\r\n", "text": "hello\n", "nox": "#!/bin/sh\n"}
    for name, content in files.items():
        (root / "bin" / name).write_text(content)
        (root / "bin" / name).chmod(0o644 if name == "nox" else 0o755)
    header = bytearray((root / "bin/busybox").read_bytes()[:4096])
    header[18:20] = (183 if header[18] == 62 else 62).to_bytes(2, "little")
    (root / "bin/foreign").write_bytes(header)
    (root / "bin/foreign").chmod(0o755)

    def program(name, **process):
        def change(config):
            config["process"]["args"] = [name]
            config["process"].update(process)
            config["mounts"].append({"destination": "/noexec", "type": "bind", "source": str(root / "bin"),
                                     "options": ["bind", "noexec"]})
        return change

    cases = (("/bin/noint", 127, "no such file or directory: its interpreter /usr/bin/python9"),
             ("noint", 127, "its interpreter /usr/bin/python9"),
             ("/bin/crlf", 127, "carriage return"),
             ("/bin/dynamic", 127, "its ELF loader /lib"),
             ("/bin/foreign", 126, "exec format error: /bin/foreign is a program for"),
             ("/bin/text", 126, "neither an ELF program nor a script"),
             ("/bin/nox", 126, "permission denied: /bin/nox has no execute bit (mode 0644)"),
             ("/noexec/busybox", 126, "is on a mount with noexec"),
             ("/bin", 126, "/bin is a directory"),
             ("/bin/missing", 127, "no such file or directory"),
             ("missing", 127, "executable file not found in $PATH"))
    for name, status, words in cases:
        t.refused(oci(t, "", program(name), root), "process.args", f'exec "{name}"', words, status=status)
    name = t.id()
    oci(t, "exec busybox sleep 60", None, root, options=["-d", "--id", name]).good()
    result = t.minirun("exec", name, "/bin/noint")
    t.minirun("delete", "-f", name).good()
    check("its interpreter /usr/bin/python9" in result.err, f"exec says {result.err!r}")


@test(both=True)
def user_namespace_fall_backs(t):
    """In a user namespace that does not own them, proc, sysfs and mqueue are the host's, with the options that were asked
    for; the same where the other namespace is joined by path."""
    root = owned_root(t)

    def shared(config):
        userns(config)
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"]
                                         if n["type"] not in ("network", "ipc", "pid")]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []

    out = oci(t, "cat /proc/self/mountinfo", shared, root).good().out
    for where, kind in (("/proc", "proc"), ("/sys", "sysfs"), ("/dev/mqueue", "mqueue")):
        check(f" - {kind} " in mount_line(out, where), f"{where}: {mount_line(out, where)}")
    check("ro," in mount_line(out, "/sys").split(" ")[5], "/sys is not read-only")

    def joined(config):
        userns(config)
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] in ("network", "uts"):
                namespace["path"] = f"/proc/{holder.pid}/ns/" + {"network": "net", "uts": "uts"}[namespace["type"]]
        del config["hostname"]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []

    holder = subprocess.Popen(["unshare", "--net", "--uts", "sleep", "60"])
    try:
        wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/uts") != os.readlink("/proc/self/ns/uts"), "the holder")
        out = oci(t, "for n in net uts; do readlink /proc/self/ns/$n; done; cat /proc/self/mountinfo", joined, root).good().out
        equal(out.splitlines()[:2], [os.readlink(f"/proc/{holder.pid}/ns/{name}") for name in ("net", "uts")],
              "namespaces")
        check(" - sysfs " in mount_line(out, "/sys"), f"/sys: {mount_line(out, '/sys')}")

        def joined_pid(config):
            joined(config)
            for namespace in config["linux"]["namespaces"]:
                if namespace["type"] == "pid":
                    namespace["path"] = "/proc/self/ns/pid"

        t.refused(oci(t, "true", joined_pid, root), "/linux/namespaces", "join its user namespace, too")
    finally:
        holder.kill()
        holder.wait()


@test()
def namespace_of_another_type(t):
    """A namespace path of another type, or that is no namespace, is an error; nothing is created."""
    def change(path):
        def edit(config):
            for namespace in config["linux"]["namespaces"]:
                if namespace["type"] == "ipc":
                    namespace["path"] = path
        return edit

    root = busybox_root(t)
    t.refused(oci(t, "true", change("/proc/self/ns/uts"), root), "linux.namespaces", "EINVAL", "not a namespace of this type")
    t.refused(oci(t, "true", change("/etc/hostname"), root), "linux.namespaces", "EINVAL")
    t.refused(oci(t, "true", change("/nonexistent"), root), "linux.namespaces", "ENOENT")


@test()
def rdt_without_resctrl(t):
    """intelRdt where resctrl is not mounted is an error that says so."""
    if " - resctrl " in read("/proc/self/mountinfo"):
        raise Skip("resctrl is mounted")

    def change(config):
        config["linux"]["intelRdt"] = {"closID": "x", "l3CacheSchema": "L3:0=f"}

    t.refused(oci(t, "true", change), "/linux/intelRdt", "no resctrl file system is mounted")


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout


@test()
def net_devices(t):
    """netDevices: moved with the new name, up, with the permanent addresses; not moved back at the end; back with its own
    name and addresses when the start fails; a missing device or a name that is taken is an error."""
    a, b = f"m{os.getpid()}a", f"m{os.getpid()}b"
    root = busybox_root(t)

    def unmake():
        for name in (a, b):
            ip("link", "del", name, check=False)
        # The end of a namespace takes its devices away, and their peers, a little later.
        wait_until(lambda: not {a, b} & set(os.listdir("/sys/class/net")), "the devices to be gone")

    def make():
        unmake()
        ip("link", "add", a, "type", "veth", "peer", "name", b)
        ip("addr", "add", "10.99.7.1/24", "dev", a)
        ip("addr", "add", "fd77::1/64", "dev", a, "nodad")
        ip("link", "set", a, "mtu", "1400")

    def device(inside, **more):
        def change(config):
            config["linux"]["netDevices"] = {a: {"name": inside}}
            config["process"].update(more)
        return change

    make()
    try:
        out = oci(t, "ip addr show dev inner; ip link", device("inner"), root).good().out
        for words in ("mtu 1400", "10.99.7.1/24", "fd77::1/64", "UP", "inner"):
            check(words in out, f"{words!r} is not in {out!r}")
        check(a not in ip("link"), "the device is on the host again")
        make()
        out = oci(t, "ip link", device("eth%d"), root).good().out
        check("eth0" in out, f"template: {out!r}")
        make()
        t.refused(oci(t, "", device("inner", args=["/missing"]), root), "process.args", status=127)
        check("10.99.7.1/24" in ip("addr", "show", "dev", a), "the device did not come back as it was")
        t.refused(oci(t, "true", device("lo"), root), f"linux.netDevices.{a}", "lo is taken", "EEXIST")
        check("10.99.7.1/24" in ip("addr", "show", "dev", a), "the device did not stay")
        unmake()
        t.refused(oci(t, "true", device("inner"), root), f"linux.netDevices.{a}", "ENODEV")
    finally:
        unmake()


@test()
def cgroup_of_the_containers_root(t):
    """With a writable cgroup mount and a new cgroup namespace the container's root can make cgroups, and cannot change its
    own limits."""
    def change(config):
        userns(config)
        for mount in config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"] = [o for o in mount["options"] if o != "ro"]

    out = oci(t, "busybox mkdir /sys/fs/cgroup/below && echo made; busybox stat -c %u /sys/fs/cgroup/cgroup.procs; "
              "busybox stat -c %u /sys/fs/cgroup/cgroup.freeze; busybox rmdir /sys/fs/cgroup/below",
              change, owned_root(t)).good().out.split()
    equal(out[0], "made", "a cgroup of the container's")
    equal(out[1], "0", "owner of cgroup.procs")
    check(out[2] != "0", f"cgroup.freeze belongs to the container: {out}")


@test()
def exec_at_the_limit_of_processes(t):
    """An exec that pids.max has no room for says so, with the limit."""
    needs("pids")
    name = t.id()
    spec = {"command": ["sh", "-c", "sleep 60 & sleep 60 & wait"], "resources": {"limits": {"pids": 3}}}
    t.run(spec, options=["-d", "--id", name]).good()
    pids = cgroup_mount() / "minirun" / name / "pids.current"
    wait_until(lambda: read(pids).strip() == "3", "three processes")
    result = t.minirun("exec", name, "true")
    t.minirun("delete", "-f", name).good()
    equal(result.status, 255, "status of exec")
    check("pids.max = 3 is reached" in result.err, f"exec says {result.err!r}")
