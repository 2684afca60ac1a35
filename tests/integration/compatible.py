"""What programs that were written for runc and crun rely on, and no specification says."""

import json
import os
import signal
import subprocess

from harness import check, equal, read, test, wait_until
from integration.bundles import busybox_root, command


def shell(script, **more):
    """A change of config.json: the command is a script, and `more` are other parts of the process."""
    def change(config):
        config["process"].update(args=["sh", "-c", script], **more)

    return change


def printed(t, root, change, *options):
    """What `run` of a bundle prints."""
    return t.minirun("run", *options, "--bundle", t.bundle(root, change), t.id()).good().out


@test()
def repeated_variables(t):
    """Of two variables with one name the last counts: for the program, for the search of it, for exec -e."""
    root = busybox_root(t)
    env = ["PATH=/nowhere", "A=first", "B=only", "A=second", "PATH=/bin"]
    out = printed(t, root, lambda config: config["process"].update(args=["cat", "/proc/self/environ"], env=env))
    equal(out.split("\0")[:3], ["B=only", "A=second", "PATH=/bin"], "the environment")
    name = t.id()
    t.minirun("run", "-d", "--bundle", t.bundle(root, shell("exec sleep 100", env=["PATH=/bin", "A=document"])), name).good()
    out = t.minirun("exec", "-e", "A=given", name, "cat", "/proc/self/environ").good().out
    equal([word for word in out.split("\0") if word.startswith("A=")], ["A=given"], "the variable in exec")
    t.refused(t.minirun("exec", "-e", "PATH=/nowhere", name, "cat"), "cat", "not found in $PATH", status=127)
    t.minirun("delete", "-f", name).good()


@test()
def read_only_comes_last(t):
    """What is read-only in the end may still get mounts, devices, the working directory and the console."""
    def change(config):
        shell("pwd; ls /dev/null; cat /run/secrets/s; touch /dev/x /run/x /x 2>&1 | grep -c Read-only")(config)
        config["root"]["readonly"] = True
        config["process"].update(cwd="/made/for/it", terminal=False)
        for mount in config["mounts"]:
            if mount["destination"] == "/dev":
                mount["options"].append("ro")
        config["mounts"] += [{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nosuid"]},
                             {"destination": "/run/secrets/s", "type": "bind", "source": str(t.write("s", "secret\n")),
                              "options": ["bind", "ro"]}]
    root = busybox_root(t)
    equal(printed(t, root, change).split(), ["/made/for/it", "/dev/null", "secret", "3"], "what the program sees")

    def below(config):
        command("pwd")(config)
        config["process"]["cwd"] = "/scratch/work"
        config["mounts"].append({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})
    root = t.dir / "busybox"
    (root / "bin/pwd").symlink_to("busybox")
    equal(printed(t, root, below).split(), ["/scratch/work"], "a working directory in a read-only tmpfs")


@test()
def remount_takes_no_data(t):
    """Options of the file system would reach all that share it: at a remount they are refused, not dropped."""
    def change(config):
        command("true")(config)
        config["mounts"] += [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]},
                             {"destination": "/tmp", "options": ["remount", "ro", "size=8k"]}]
    bundle = t.bundle(busybox_root(t), change)
    count = len(json.loads(read(bundle / "config.json"))["mounts"]) - 1
    t.refused(t.minirun("run", "--bundle", bundle, t.id()), f"/mounts/{count}/options", "size=8k")


@test()
def filter_that_refuses_everything(t):
    """The start fails; nothing goes round in circles."""
    def change(config):
        command("true")(config)
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}
    bundle = t.bundle(busybox_root(t), change)
    check(t.minirun("run", "--bundle", bundle, t.id(), timeout=20).status != 0, "it ran")
    name = t.id()
    t.minirun("create", "--bundle", bundle, name).good()
    t.minirun("start", name, timeout=20)
    t.minirun("delete", "-f", name).good()


@test()
def joined_user_namespace_with_its_maps(t):
    """containerd names the Pod's user namespace and its mappings once more: they must be the same."""
    holder = subprocess.Popen(["unshare", "--user", "--net", "sh", "-c", "read _; exec sleep 100"], stdin=subprocess.PIPE)
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
            pass
        for kind in ("uid", "gid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w", encoding="ascii") as file:
                file.write("0 100000 65536\n")
        mapping = {"containerID": 0, "hostID": 100000, "size": 65536}

        def change(config, **maps):
            shell("id -u; cat /proc/self/uid_map")(config)
            linux = config["linux"]
            linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] not in ("network", "user")]
            linux["namespaces"] += [{"type": "user", "path": f"/proc/{holder.pid}/ns/user"},
                                    {"type": "network", "path": f"/proc/{holder.pid}/ns/net"}]
            linux.update(maps)
        root = busybox_root(t)
        for maps in ({}, {"uidMappings": [mapping], "gidMappings": [mapping]}):
            equal(printed(t, root, lambda config: change(config, **maps)).split(), ["0", "0", "100000", "65536"], f"{maps}")
        hook = t.write("hook", f"#!/bin/sh\ntouch {t.dir}/hooked\n", 0o755)

        def wrong(config):
            change(config, uidMappings=[mapping], gidMappings=[{**mapping, "size": 1000}])
            config["hooks"] = {"createRuntime": [{"path": str(hook)}]}
        t.refused(t.minirun("run", "--bundle", t.bundle(root, wrong), t.id()), "linux.gidMappings", "0 100000 65536")
        check(not (t.dir / "hooked").exists(), "a hook ran")
    finally:
        holder.kill()
        holder.wait()


@test()
def null_is_absent(t):
    """Programs that write each property, also those that they have no value for, write null."""
    def change(config):
        command("echo", "good")(config)
        config.update(annotations=None, hooks=None, domainname=None)
        config["process"].update(rlimits=None, apparmorProfile=None, scheduler=None, consoleSize=None, oomScoreAdj=None)
        config["process"]["user"]["additionalGids"] = None
        config["process"]["capabilities"]["ambient"] = None
        config["linux"].update(resources=None, devices=None, sysctl=None, intelRdt=None, timeOffsets=None,
                               seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": None, "flags": None,
                                        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": None}]})
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": None})
    root = busybox_root(t)
    equal(printed(t, root, change), "good\n", "output")

    def without(config):
        config["root"] = None
    t.refused(t.minirun("run", "--bundle", t.bundle(root, without), t.id()), "/root", "missing")


@test()
def exec_makes_no_directory(t):
    """A working directory that is not there: run makes it, exec fails and changes nothing."""
    root = busybox_root(t)
    name = t.id()
    t.minirun("run", "-d", "--bundle", t.bundle(root, shell("exec sleep 100", cwd="/made")), name).good()
    check((root / "made").is_dir(), "run did not make the working directory")
    t.refused(t.minirun("exec", "--cwd", "/typo", name, "true"), "process.cwd", "/typo", status=255)
    check(not (root / "typo").exists(), "exec made a directory")
    t.minirun("delete", "-f", name).good()


@test()
def spellings_and_silence(t):
    """-q=true, -d=false; what is too much is said in a line; `run -d` with a bundle and an id prints nothing."""
    root = busybox_root(t)
    name = t.id()
    equal(t.minirun("run", "-d", "--bundle", t.bundle(root, command("sh", "-c", "exec sleep 100")), name).good().out, "",
          "output of run -d")
    check(name in t.minirun("list", "-q=true").good().out.split(), "list -q=true")
    for words in (("9", "--all"), ("KILL", "more"), ("--", "-")):
        t.refused(t.minirun("kill", name, *words), words[-1], status=1)
    t.refused(t.minirun("list", "-q=perhaps"), "perhaps", status=1)
    equal(t.minirun("exec", "-t=false", name, "echo", "x").good().out, "x\n", "exec -t=false")
    t.minirun("delete", "-f=true", name).good()
    equal(t.minirun("run", "-d=false", "--bundle", t.bundle(root, command("echo", "here")), name).good().out, "here\n",
          "run -d=false waits")
    t.refused(t.minirun("run", "-d", "--bundle", t.bundle(root, command("true")), ""), "id")


@test()
def shared_mounts_get_no_writable_copy(t):
    """A read-only tmpfs below a shared mount is read-only from the start: its copies in the peers are what it was then.
    And a later remount has the last word."""
    host = t.dir / "shared"
    host.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "t", host], check=True)
    subprocess.run(["mount", "--make-shared", host], check=True)

    def change(config):
        shell("touch /one/t/x 2>&1 | grep -c Read-only; touch /two/t/x 2>&1 | grep -c Read-only")(config)
        for place in ("/one", "/two"):
            config["mounts"].append({"destination": place, "type": "bind", "source": str(host), "options": ["rbind", "rshared"]})
        config["mounts"].append({"destination": "/one/t", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})

    def remounted(config):
        shell("touch /tmp/x && echo writable")(config)
        config["mounts"] += [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
                             {"destination": "/tmp", "options": ["remount", "rw"]}]
    root = busybox_root(t)
    try:
        equal(printed(t, root, change).split(), ["1", "1"], "refusals in both peers")
        equal(printed(t, root, remounted), "writable\n", "after the remount")
    finally:
        subprocess.run(["umount", "-R", "--lazy", host], check=False)


@test()
def signal_for_a_program_that_ended(t):
    """It does not reach the hooks that come then."""
    hook = t.write("hook", f"#!/bin/sh\nsleep 0.3\necho done > {t.dir}/hooked\n", 0o755)

    def change(config):
        command("sleep", "100")(config)
        config["hooks"] = {"poststop": [{"path": str(hook)}]}
    name = t.id()
    root = busybox_root(t)
    (root / "bin/sleep").symlink_to("busybox")
    runner = subprocess.Popen(t.command("run", "--bundle", t.bundle(root, change), name), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: state_of(t, name) == "running", "the program")
    pid = json.loads(t.minirun("state", name).good().out)["pid"]
    runner.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    runner.send_signal(signal.SIGTERM)
    runner.send_signal(signal.SIGCONT)
    equal((runner.communicate(timeout=20)[1], runner.returncode), ("", 137), "standard error and status")
    equal(read(t.dir / "hooked"), "done\n", "what the hook wrote")


def state_of(t, name):
    found = t.minirun("state", name)
    return json.loads(found.out)["status"] if found.status == 0 else ""
