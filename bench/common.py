"""What the benchmarks share: the machine, the container, the statistics.

Owns: the private view of cgroup2, the OCI configuration that all contenders get, ratios of medians.
Must not: take a time (spawner.c does), or know which contenders there are.
"""
import json
import os
import random
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(HERE)
WORK = os.path.join(TREE, "build", "bench")
STATE = os.path.join(WORK, "state")
CGROUPS = "/sys/fs/cgroup"
RUN_LIMIT = 900  # seconds for one variant, against a contender that hangs


def say(text=""):
    print(text, flush=True)


def stop(text):
    sys.exit(f"bench: error: {text}")


def install_missing(names):
    programs = {"crun": "crun", "runc": "runc", "bwrap": "bubblewrap", "strace": "strace"}
    missing = [package for program, package in programs.items()
               if (program in names or program == "strace") and not shutil.which(program)]
    if missing:
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
                       check=True, stdout=subprocess.DEVNULL)


def enter_private_view():
    """A mount namespace of our own in which /sys/fs/cgroup is cgroup2, as crun and runc need it.
    Also where the machine has it so: the number of mounts is then the same. Re-executes the
    script inside."""
    if os.environ.get("MINIRUN_BENCH_VIEW"):
        # State is on a tmpfs, as /run is on most machines: on ext4 the removal of one directory
        # costs 0.1 ms.
        os.makedirs(STATE, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", STATE], check=True)
        return
    os.environ["MINIRUN_BENCH_VIEW"] = "1"
    script = f'umount -R {CGROUPS} && mount -t cgroup2 none {CGROUPS} && exec "$@"; exit 1'
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh",
                          sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def build(source, *flags, target=None):
    """Compiles a source of this folder to build/bench, if it is not there yet."""
    target = os.path.join(WORK, target or source.removesuffix(".c"))
    source = os.path.join(HERE, source)
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", target, source, *flags],
                       check=True)


def build_spawner():
    build("spawner.c", "-static")


def build_payload(target, *defines):
    build("true.c", "-static", "-nostdlib", "-fno-stack-protector", "-s", *defines, target=target)


def installed(name, path):
    """A copy of a build of ours, as `make install` makes it and as the opponents come from their
    packages. A linker writes its file piece by piece: it lies in small pages of the page cache, and
    starts 4 % slower."""
    copy = os.path.join(WORK, "installed", name)
    subprocess.run(["install", "-D", "-m", "755", path, copy], check=True)
    return copy


def versions(names, binaries):
    first_line = {"crun": "--version", "runc": "--version", "bwrap": "--version"}
    found = {}
    for name in names:
        if name in first_line:
            output = subprocess.run([binaries[name], first_line[name]], capture_output=True,
                                    text=True, check=False).stdout
            found[name] = output.splitlines()[0] if output else "unknown"
        else:
            found[name] = f"{os.path.getsize(binaries[name])} bytes"
    return found


def oci_config(seccomp):
    """`runc spec` (1.2 and later, on cgroup v2): no terminal, our program, and no device rules,
    because crun's device filter needs to raise RLIMIT_MEMLOCK, which some machines refuse. minirun
    and runc load their default device filter all the same (about 0.1 ms), crun and floor none."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    closed = ["nosuid", "noexec", "nodev"]

    def mount(target, kind, *mount_options, source=None):
        entry = {"destination": target, "type": kind, "source": source or kind}
        return {**entry, "options": list(mount_options)} if mount_options else entry
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["/true"], "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "TERM=xterm"],
            "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True},
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc"),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
                  "mode=0620", "gid=5"),
            mount("/dev/shm", "tmpfs", *closed, "mode=1777", "size=65536k", source="shm"),
            mount("/dev/mqueue", "mqueue", *closed),
            mount("/sys", "sysfs", *closed, "ro"),
            mount("/sys/fs/cgroup", "cgroup", *closed, "relatime", "ro")],
        "linux": {
            "namespaces": [{"type": kind} for kind in
                           ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                            "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                            "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                              "/proc/sysrq-trigger"]}}
    if seccomp:
        config["linux"]["seccomp"] = seccomp
    return config


def cgroups():
    return {path for path, _, _ in os.walk(CGROUPS)}


def spawn(lines, rounds, warmup, settle, seed, prefix, realtime=False):
    """Runs the contenders (see spawner.c), one list of fields each; yields round, index,
    microseconds, wait status and maximum resident size in kB of each run."""
    text = "".join("\t".join(line) + "\n" for line in lines)
    try:
        result = subprocess.run(
            [*(["chrt", "-f", "50"] if realtime else []), os.path.join(WORK, "spawner"),
             str(rounds), str(warmup), str(settle), str(seed), prefix], input=text,
            capture_output=True, text=True, timeout=RUN_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        stop(f"a contender hangs: not finished after {RUN_LIMIT} s")
    if result.returncode != 0:
        stop(f"the spawner ended with {result.returncode}")
    for line in result.stdout.splitlines():
        turn, index, nanoseconds, status, rss = map(int, line.split())
        yield turn, index, nanoseconds / 1000, status, rss


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def ratio_of_medians(ours, theirs, generator, resamples=1000):
    """The ratio, and its 95 % interval: whole rounds are drawn, so that what slows a round down
    slows both sides."""
    size = len(ours)
    drawn = []
    for _ in range(resamples):
        rounds = generator.choices(range(size), k=size)
        drawn.append(statistics.median([ours[i] for i in rounds]) /
                     statistics.median([theirs[i] for i in rounds]))
    return {"ratio": statistics.median(ours) / statistics.median(theirs),
            "low": percentile(drawn, 0.025), "high": percentile(drawn, 0.975)}
