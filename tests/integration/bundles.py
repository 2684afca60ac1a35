"""OCI bundles: a Debian root from mmdebstrap and a busybox root, with the config.json of `minirun spec`."""

import json
import os
import pathlib
import re
import shutil
import subprocess

from harness import CACHE, check, equal, read, test


def debian_root():
    """A minimal Debian, made once; in the VM the one of the host is seen."""
    root = CACHE / "debian"
    if (root / "etc/debian_version").exists():
        return root
    part = pathlib.Path(f"{root}.part")
    shutil.rmtree(part, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    # With the package sources and the proxy of this machine.
    sources = [str(p) for p in sorted(pathlib.Path("/etc/apt").glob("sources.list*")) if p.is_file()]
    sources += [str(p) for p in sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*.*"))]
    subprocess.run(["mmdebstrap", "--variant=minbase", "--quiet", *apt_options(), "bookworm", str(part), *sources],
                   check=True, stdin=subprocess.DEVNULL, timeout=280)
    part.rename(root)
    return root


def apt_options():
    """How this machine's own apt reaches its sources."""
    out = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return [f"--aptopt={line.rstrip(';')}" for line in out.splitlines()
            if re.match(r'Acquire::(https?|ForceIPv|Retries|Check-).* ".+";', line)]


def busybox_root(t):
    root = t.dir / "busybox"
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in ("sh", "ls", "cat", "echo", "id", "mount", "hostname", "readlink", "ps", "touch", "true", "ip"):
        (root / "bin" / applet).symlink_to("busybox")
    return root


def command(*words):
    def change(config):
        config["process"]["args"] = list(words)

    return change


@test()
def default_config(t):
    """`minirun spec` writes a default config.json, and does not write over one."""
    t.minirun("spec", "--bundle", t.dir).good()
    config = json.loads(read(t.dir / "config.json"))
    equal(config["process"]["args"], ["sh"], "command")
    equal(sorted(n["type"] for n in config["linux"]["namespaces"]),
          ["cgroup", "ipc", "mount", "network", "pid", "uts"], "namespaces")
    equal(config["root"]["readonly"], True, "root.readonly")
    t.refused(t.minirun("spec", "--bundle", t.dir), "exists already", status=1)


@test(limit=300)
def debian_bundle(t):
    """Natively: a Debian root from mmdebstrap runs as an OCI bundle."""
    root = debian_root()
    bundle = t.bundle(root, command("sh", "-c", "cat /etc/debian_version; dpkg-query -W bash | cut -f1; echo $$; "
                                    "touch /x 2>&1; hostname; perl -e 'print 6*7, qq(\\n)'"))
    out = t.run(bundle).good().out.splitlines()
    check(out[0].startswith("12"), f"version {out[0]}")
    equal(out[1:3], ["bash", "1"], "package and pid")
    check("Read-only file system" in out[3], f"the root is writable: {out[3]}")
    equal(out[5], "42", "perl")


@test()
def busybox_bundle(t):
    """A busybox root runs as an OCI bundle: by directory, by config.json, by `-b BUNDLE ID`, from inside of it."""
    script = "id; echo $$; ls /; cat /proc/mounts; ip addr"
    bundle = t.bundle(busybox_root(t), command("sh", "-c", script))
    out = t.run(bundle).good().out
    check(out.startswith("uid=0"), "id")
    check("\n1\n" in out, "pid")
    for mounted in ("proc /proc ", "tmpfs /dev ", "devpts /dev/pts ", "mqueue /dev/mqueue ", "sysfs /sys ",
                    "cgroup2 /sys/fs/cgroup "):
        check(mounted.split()[1] in out, f"{mounted} is not mounted")
    equal(t.run(bundle / "config.json").good().out.splitlines()[0], out.splitlines()[0], "by its config.json")
    equal(t.minirun("run", "--bundle", bundle, t.id()).good().status, 0, "as runc")
    equal(t.minirun("run", t.id(), cwd=bundle).good().status, 0, "from inside")


@test()
def oci_writable_root(t):
    """A root that is not read-only keeps what is written: it is a plain directory."""
    root = busybox_root(t)

    def change(config):
        command("touch", "/etc/kept")(config)
        config["root"]["readonly"] = False

    t.run(t.bundle(root, change)).good()
    check((root / "etc/kept").exists(), "the file is not there")


@test(both=True)
def oci_mount_options(t):
    """OCI mounts in order with their options: bind, rbind, ro, recursive, tmpcopyup, size, propagation."""
    root = busybox_root(t)
    (root / "etc/file").write_text("copied up\n")
    (t.dir / "src").mkdir()
    (t.dir / "src/file").write_text("bound\n")

    def change(config):
        command("sh", "-c", "cat /data/file /etc/file; touch /data/x 2>/dev/null || echo ro; cat /proc/self/mountinfo"
                )(config)
        config["mounts"] += [
            {"destination": "/data", "type": "bind", "source": str(t.dir / "src"),
             "options": ["rbind", "ro", "nosuid", "nodev", "noexec", "rslave"]},
            {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m", "ro"]},
            {"destination": "/many/new/dirs", "type": "tmpfs", "options": ["nosuid", "strictatime", "mode=700"]}]
        config["root"]["readonly"] = False

    out = t.run(t.bundle(root, change)).good().out.splitlines()
    equal(out[:3], ["bound", "copied up", "ro"], "files")
    table = {line.split()[4]: line for line in out[3:]}
    for where, words in (("/data", "ro,nosuid,nodev,noexec"), ("/etc", "size=1024k"), ("/many/new/dirs", "mode=700")):
        check(words in table[where], f"{words} is not in {table[where]!r}")


@test()
def oci_process(t):
    """process: user, additional groups, capabilities in five sets, rlimits, umask, cwd, oomScoreAdj."""
    def change(config):
        command("sh", "-c", "id -u; id -g; id -G; cat /proc/self/oom_score_adj; "
                "while read a b; do case $a in Cap*) echo $a $b;; esac; done </proc/self/status; umask; pwd")(config)
        config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o77}
        config["process"]["capabilities"] = {
            "bounding": ["CAP_NET_RAW", "CAP_KILL"], "permitted": ["CAP_NET_RAW"], "effective": ["CAP_NET_RAW"],
            "inheritable": ["CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"]}
        config["process"]["oomScoreAdj"] = 321
        config["process"]["cwd"] = "/tmp"

    out = t.run(t.bundle(busybox_root(t), change)).good().out.split()
    raw, both = f"{1 << 13:016x}", f"{1 << 13 | 1 << 5:016x}"
    equal(out, ["1000", "1001", "1001", "5", "6", "321", "CapInh:", raw, "CapPrm:", raw, "CapEff:", raw,
                "CapBnd:", both, "CapAmb:", raw, "0077", "/tmp"], "the process")


@test()
def rootfs_is_not_the_host(t):
    """pivot_root: nothing of the host's file system can be reached from inside."""
    root = busybox_root(t)
    out = t.run(t.bundle(root, command("sh", "-c", "ls /; ls /proc/1/root/; readlink /proc/1/root; cat /proc/mounts"))
                ).good().out
    for name in ("home", "usr", "boot", "work", "var"):
        check(name not in out.split("\n"), f"/{name} of the host is in sight")
    check(os.path.realpath(root) not in out, "the path of the root is in the table of mounts")
