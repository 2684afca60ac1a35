"""What the payload may ask of the kernel: sysctls, cgroups, devices, system calls, leaks; and
whether a container that cannot be protected is started all the same."""
import json
import os
import re
import shutil
import subprocess

import harness
from harness import check, Skipped
from attacks_files import mount, short_form, mounts_of


def started(answer):
    return "started" in answer.out


# ---------------------------------------------------------------- sysctls

def test_42_sysctls_of_the_host(lab):
    for key in ("kernel.core_pattern", "net.ipv4.../../../kernel.core_pattern",
                "net/../kernel/core_pattern", "net.ipv4/../../kernel/core_pattern", "fs.mqueue.../../x",
                "", "net.", "net", "x" * 4096, "kernel.shmmax\u0000", "kernel/../kernel/core_pattern",
                "/proc/sys/kernel/core_pattern", "vm.swappiness", "kernel.hostname",
                "kernel.yama.ptrace_scope", "./kernel.core_pattern", "net..ipv4"):
        config = lab.config("echo", "started")
        # the value of today: even a hole in the check changes nothing
        config["linux"]["sysctl"] = {key: harness.read("/proc/sys/kernel/core_pattern").strip()}
        answer = lab.run(config)
        check(not started(answer), f"sysctl {key[:40]!r} was accepted")
        check(answer.status == 125, f"sysctl {key[:40]!r}: status {answer.status}")
    config = lab.config("get", "/proc/sys/net/ipv4/ip_forward")
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    check(lab.run(config).out.strip() == "1", "a sysctl of the container is not set")


def test_42_sysctls_of_a_joined_host_namespace(lab):
    """A namespace that is joined by path and is the caller's own makes them the caller's. The
    caller here sits in namespaces made for this test, not in those of the machine."""
    for kind, flag, path, read in (
            ("network", "-n", "net", "net/ipv4/ip_forward"), ("ipc", "-i", "ipc", "kernel/msgmni")):
        config = lab.config("echo", "started")
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == kind:
                namespace["path"] = f"/proc/self/ns/{path}"
        key = read.replace("/", ".")
        config["linux"]["sysctl"] = {key: "1"}
        folder = lab.bundle(config)
        name = lab.new_id()
        script = (f"cat /proc/sys/{read}; {lab.binary} --root {lab.state} run --id {name} {folder};"
                  f" echo; cat /proc/sys/{read}")
        answer = lab.command(["unshare", flag, "sh", "-c", script])
        values = [line for line in answer.out.splitlines() if line.isdigit()]
        check(len(values) == 2 and values[0] == values[1],
              f"{key} of the caller was changed: {values}")
        check(not started(answer), f"{key} of the caller's namespace was accepted")


def test_42_names_of_a_joined_host_namespace(lab):
    config = lab.config("echo", "started")
    for namespace in config["linux"]["namespaces"]:
        if namespace["type"] == "uts":
            namespace["path"] = "/proc/self/ns/uts"
    config["hostname"] = "changed-by-test"
    script = (f"{lab.binary} --root {lab.state} run --id {lab.new_id()} {lab.bundle(config)};"
              " cat /proc/sys/kernel/hostname")
    answer = lab.command(["unshare", "-u", "sh", "-c", script])
    check("changed-by-test" not in answer.out, "the caller's host name was changed")


# ---------------------------------------------------------------- cgroups and devices

def own_cgroups(lab):
    return os.path.join(harness.cgroup2_mount() or "/nonexistent", "minirun")


def test_44_cgroup_from_inside(lab):
    """{cgroup namespace or none} x {ro, rw}: only our own subtree, and only when rw is asked for."""
    for namespace in (True, False):
        for writable in (False, True):
            config = lab.config("cgroup", "/sys/fs/cgroup")
            if not namespace:
                config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"]
                                                 if n["type"] != "cgroup"]
            for entry in config["mounts"]:
                if entry["destination"] == "/sys/fs/cgroup":
                    entry["options"] = [o for o in entry["options"] if o != "ro"]
                    entry["options"].append("rw" if writable else "ro")
            what = f"cgroup namespace {namespace}, writable {writable}"
            answer = lab.run(config)
            rows = answer.rows()
            check("cgroup.procs" in rows, f"{what}: {answer.tail()}")
            if not writable:
                bad = [k for k, v in rows.items() if v[0] == "ok"]
                check(not bad, f"{what}: can be opened for writing: {bad}")
            else:
                check(rows["mkdir"] == ["ok"], f"{what}: own subtree is {rows['mkdir']}")
            config["process"]["args"] = ["/probe", "list", "/sys/fs/cgroup"]
            listed = lab.run(config).out.split()
            check("cgroup.procs" in listed, f"{what}: {listed[:5]}")
            others = [n for n in listed if n in ("minirun", "system.slice", "user.slice", "init.scope")]
            check(not others, f"{what}: the whole hierarchy is shown: {others}")
            check("cgroup.type" in listed, f"{what}: the root of the hierarchy is shown")


def test_44_cgroup_namespace_is_rooted_at_the_container(lab):
    answer = lab.run(lab.config("get", "/proc/self/cgroup"))
    check("\n0::/\n" in "\n" + answer.out, f"/proc/self/cgroup: {answer.out!r}")
    listed = lab.run(lab.config("get", "/proc/self/mountinfo")).out
    row = [line for line in listed.splitlines() if " - cgroup2 " in line]
    check(row and row[0].split()[3] == "/", f"cgroup2 mount: {row}")


def test_43_release_agent(lab):
    """CVE-2022-0492, from a container with the default rights and from one with CAP_SYS_ADMIN
    missing only."""
    rows = lab.run(lab.config("legacy-cgroup")).rows()
    check(rows["mount"][0] != "ok" and rows["mount2"][0] != "ok", f"a cgroup mount: {rows}")


def test_45_cgroup_paths(lab):
    before = cgroup_names()
    for path in ("../x", "..", "/../..", "a/../../b", "/minirun/../../x", "/", ".", "./.", "//",
                 "a\nb", "x" * 256, "/cgroup.procs", "/minirun/cgroup.procs", "/cgroup.procs/x"):
        config = lab.config("echo", "started")
        config["linux"]["cgroupsPath"] = path
        answer = lab.run(config)
        check(not started(answer) and answer.status == 125, f"cgroupsPath {path[:20]!r} was taken")
    check(cgroup_names() == before, "a cgroup was left")


def cgroup_names():
    """The cgroups at the top of the hierarchy."""
    top = harness.cgroup2_mount()
    return sorted(n for n in os.listdir(top) if os.path.isdir(os.path.join(top, n))) if top else []


def test_46_device_filter(lab):
    config = lab.config("devices")
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind] += ["CAP_SYS_RAWIO", "CAP_SYS_ADMIN"]
    config["mounts"][1]["options"] = ["mode=755"]
    rows = lab.run(config).rows()
    for name in ("null", "zero", "full", "random", "urandom"):
        check(rows[name][1] == "ok", f"{name}: {rows[name]}")
    for name in ("mem", "kmsg", "kvm", "fuse", "disk", "loop"):
        check(rows[name][1] == "EPERM" or rows[name] == ["EPERM", "ENOENT"],
              f"{name} can be opened: {rows[name]}")


def strace(lab, words, config, *inject):
    if not shutil.which("strace"):
        raise Skipped("strace is not installed")
    return lab.command(["strace", "-f", "-o", os.path.join(lab.dir, "trace"), *words, *inject,
                        lab.binary, "--root", lab.state, "run", "--id", lab.new_id(),
                        lab.bundle(config)])


def test_46_no_filter_no_start(lab):
    """bpf(2) that fails is fatal."""
    config = lab.config("echo", "started")
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    answer = strace(lab, ["-e", "trace=bpf"], config, "-e", "inject=bpf:error=EPERM")
    check(answer.status == 125 and not started(answer), f"started without: {answer.tail()}")


def test_47_limits_before_the_clone(lab):
    config = lab.config("true")
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    if "pids" in open(os.path.join(harness.cgroup2_mount(), "cgroup.controllers"),
                      encoding="ascii").read().split():
        config["linux"]["resources"]["pids"] = {"limit": 20}
    answer = strace(lab, ["-e", "trace=bpf,clone3,openat,openat2,write"], config)
    check(answer.status == 0, answer.tail())
    lines = harness.read(os.path.join(lab.dir, "trace")).splitlines()
    clone = [i for i, line in enumerate(lines) if "clone3(" in line]
    attach = [i for i, line in enumerate(lines) if "BPF_PROG_ATTACH" in line]
    limits = [i for i, line in enumerate(lines) if re.search(r'"pids\.max"|"memory\.max"', line)]
    check(clone and "CLONE_INTO_CGROUP" in lines[clone[0]], "not cloned into the cgroup")
    check(attach and max(attach) < clone[0], "the device filter comes after the clone")
    check(not limits or max(limits) < clone[0], "a limit comes after the clone")


# ---------------------------------------------------------------- fail closed

# Calls of the set-up whose failure must keep the program from running. EPERM at every place.
CLOSED = {"seccomp": None, "capset": None, "setgroups": None, "setresuid": None, "setresgid": None,
          "pivot_root": None, "umount2": None, "close_range": None, "mount_setattr": None,
          "move_mount": None, "fsmount": None, "fsconfig": None, "fsopen": None, "open_tree": None,
          "keyctl": None, "setsid": "EPERM is allowed there", "prctl": None, "sethostname": None,
          "openat2": None, "mknodat": None, "symlinkat": None, "fchdir": None, "statx": None}


def test_65_every_failure_is_fatal(lab):
    config = lab.config("echo", "started", user={"uid": 1000, "gid": 1000})
    config["process"]["env"].append("HOME=/")  # a look into /etc/passwd may fail
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}
    base = strace(lab, ["-e", "trace=" + ",".join(CLOSED)], config)
    check(started(base), base.tail())
    lines = harness.read(os.path.join(lab.dir, "trace")).splitlines()
    first = lines[0].split()[0]
    after = [line for line in lines if line.split()[0] != first]
    count = {}
    for line in after:
        found = re.match(r"\d+ +(\w+)\(", line)
        if found:
            count[found.group(1)] = count.get(found.group(1), 0) + 1
    check(count.get("capset"), f"the child's calls were not seen: {count}")
    for call, why in CLOSED.items():
        if why or not count.get(call):
            continue
        # the last one and the first one; `when` counts per process
        for place in sorted({1, (count[call] + 1) // 2, count[call]}):
            answer = strace(lab, ["-e", f"trace={call}"], config, "-e",
                            f"inject={call}:error=EACCES:when={place}")
            check(not started(answer), f"{call} number {place} of {count[call]} failed and it started")


# ---------------------------------------------------------------- system calls

def default_filter(lab, *args):
    """The short form, which has the default filter."""
    return lab.minirun("run", "--id", lab.new_id(), short_form(lab, lab.rootfs(), *args))


def test_55_default_filter(lab):
    """What the default profile must refuse, asked from inside, and what it must let through."""
    rows = {k: v[0] for k, v in default_filter(lab, "calls").rows().items()}
    check(len(rows) > 40, f"no answer: {rows}")
    for name in ("io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd",
                 "open_by_handle_at", "keyctl", "add_key", "request_key", "bpf", "perf_event_open",
                 "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
                 "mount", "umount2", "fsopen", "fsmount", "fsconfig", "fspick", "open_tree",
                 "move_mount", "mount_setattr", "pivot_root", "setns", "unshare", "swapon", "reboot",
                 "settimeofday", "clock_settime", "sethostname", "acct", "quotactl", "clone_newuser"):
        check(rows[name] in ("EPERM", "ENOSYS"), f"{name}: {rows[name]}")
    for name in ("socket_inet", "socket_unix", "personality"):
        check(rows[name] == "ok", f"{name}: {rows[name]}")
    for name in ("socket_alg", "socket_vsock"):
        check(rows[name] in ("EPERM", "EAFNOSUPPORT", "ENOSYS", "EINVAL"), f"{name}: {rows[name]}")
    check(rows["unknown_9999"] == "ENOSYS", f"an unknown call: {rows['unknown_9999']}")


def test_58_other_architectures(lab):
    """The calls of 32 bits go through the same filter: AF_ALG by socketcall, and mount."""
    source, binary = os.path.join(lab.dir, "probe32.c"), os.path.join(lab.dir, "probe32")
    with open(source, "w", encoding="utf-8") as file:
        file.write(r"""
long call(long n, long a, long b, long c) { long r;
  __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return r; }
static long sys(long n, long a, long b, long c) { long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return r; }
static void say(const char* name, long r) { char t[64]; int n = 0; while (*name) t[n++] = *name++;
  t[n++] = ' '; if (r < 0) { t[n++] = '-'; r = -r; } char d[20]; int k = 0;
  do d[k++] = (char)('0' + r % 10); while (r /= 10); while (k) t[n++] = d[--k]; t[n++] = '\n';
  sys(1, 1, (long)t, n); }
void _start(void) {
  int* low = (int*)sys(9, 0x10000000, 4096, 3); (void)low;
  say("i386_getpid", call(20, 0, 0, 0));
  say("i386_socket_alg", call(359, 38, 5, 0));
  say("i386_mount", call(21, 0, 0, 0));
  say("i386_keyctl", call(288, 6, -3, 0));
  say("i386_unshare", call(310, 0x10000000, 0, 0));
  say("x32_keyctl", sys(0x40000000 | 250, 6, -3, 0));
  say("x32_mount", sys(0x40000000 | 165, 0, 0, 0));
  sys(60, 0, 0, 0); }
""")
    subprocess.run(["gcc", "-O1", "-w", "-nostdlib", "-static", "-fno-stack-protector", "-o", binary,
                    source], check=True, timeout=60)
    root = lab.rootfs()
    shutil.copy2(binary, os.path.join(root, "probe32"))
    path = short_form(lab, root)
    spec = json.loads(harness.read(path))
    spec["command"] = ["/probe32"]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(spec, file)
    answer = lab.minirun("run", "--id", lab.new_id(), path)
    rows = {k: int(v[0]) for k, v in answer.rows().items()}
    if not rows:
        check(answer.status == 128 + 31, f"status {answer.status}: {answer.tail()}")
        return  # killed at the first call of another architecture
    for name in ("i386_socket_alg", "i386_mount", "i386_keyctl", "i386_unshare", "x32_keyctl",
                 "x32_mount"):
        if name in rows:
            # EPERM, ENOSYS, EAFNOSUPPORT; 14 (EFAULT) would come from the call itself
            check(rows[name] in (-1, -38, -97), f"{name}: {rows[name]}")


# ---------------------------------------------------------------- masks and leaks

def test_64_masks_cannot_be_filled_or_lifted(lab):
    config = lab.config("mask", *lab.template["linux"]["maskedPaths"])
    caps = [c for c in ("CAP_DAC_OVERRIDE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_FOWNER",
                        "CAP_CHOWN", "CAP_MKNOD", "CAP_SYS_CHROOT")
            if c != "CAP_SYS_RESOURCE"]
    config["process"]["capabilities"] = {k: caps for k in ("bounding", "permitted", "effective")}
    answer = lab.run(config)
    found = 0
    for line in answer.out.splitlines():
        words = line.split()
        if words[1] == "absent":
            continue
        found += 1
        check(words[1] in ("dir", "null"), f"not masked: {line}")
        check(words[2] == "0", f"shows something: {line}")
        check(words[1] == "null" or words[3] in ("EROFS", "EPERM", "EACCES"), f"written: {line}")
        check(words[4] != "ok" and words[5] != "ok", f"can be lifted: {line}")
    check(found >= 3, f"nothing is masked here: {answer.tail()}")


UNION = """/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list
/proc/timer_stats /proc/sched_debug /proc/scsi /proc/interrupts /sys/firmware
/sys/devices/virtual/powercap""".split()


def test_65_information_of_the_host(lab):
    missing = [p for p in UNION if p not in lab.template["linux"]["maskedPaths"]]
    check(not missing, f"`minirun spec` does not mask {missing}")
    read_only = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()
    missing = [p for p in read_only if p not in lab.template["linux"]["readonlyPaths"]]
    check(not missing, f"`minirun spec` leaves {missing} writable")
    for path in UNION:
        for kind in ("oci", "short"):
            answer = lab.run(lab.config("get", path)) if kind == "oci" else \
                default_filter(lab, "get", path)
            check(answer.out in ("", "open ENOENT\n", "read EISDIR\n", "open EACCES\n"),
                  f"{kind}: {path} shows {answer.out[:60]!r}")
    for path in read_only:
        answer = lab.run(lab.config("touch", path + "/x"))
        check(answer.status != 0, f"{path} can be written")
    config = lab.config("get", "/proc/self/mountinfo")
    config["process"]["env"] = ["PATH=/"]
    text = lab.run(config).out
    leaked = [row[4] for row in mounts_of(text) if row[3].startswith("/root/") or "/home/" in row[3]]
    check(not leaked, f"mountinfo names the host's folders: {leaked}")


# ---------------------------------------------------------------- nothing silently dropped

def test_24_protections_are_not_dropped_silently(lab):
    """What this version or this host cannot do is refused, not left out."""
    changes = {
        "apparmorProfile": lambda c: c["process"].update(apparmorProfile="no-such-profile"),
        "selinuxLabel": lambda c: c["process"].update(selinuxLabel="system_u:system_r:none_t:s0"),
        "createRuntime hook": lambda c: c.update(hooks={"createRuntime": [{"path": "/bin/false"}]}),
        "prestart hook": lambda c: c.update(hooks={"prestart": [{"path": "/bin/false"}]}),
        "createContainer hook": lambda c: c.update(hooks={"createContainer": [{"path": "/bin/false"}]}),
        "startContainer hook": lambda c: c.update(hooks={"startContainer": [{"path": "/nosuch"}]}),
        "device in /proc": lambda c: c["mounts"].append(mount("/proc/sys/x")),
        "mountLabel": lambda c: c["linux"].update(mountLabel="system_u:object_r:none_t:s0"),
    }
    bad = []
    for name, change in changes.items():
        config = lab.config("echo", "started")
        change(config)
        if started(lab.run(config)):
            bad.append(name)
    check(not bad, f"started without: {', '.join(bad)}")


def test_54_time_offsets(lab):
    """A first process that is made in two steps must not be taken for a process of the host."""
    config = lab.config("get", "/proc/self/timens_offsets")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 7000, "nanosecs": 0}}
    answer = lab.run(config)
    check("7000" in answer.out, f"status {answer.status}: {answer.tail()}")


def test_25_joined_mount_namespace(lab):
    """The mounts of whoever is in a mount namespace that is joined by path stay as they are."""
    victim = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "30"])
    try:
        while os.readlink(f"/proc/{victim.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            pass
        before = harness.read(f"/proc/{victim.pid}/mountinfo")
        config = lab.config("echo", "started")
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "mount":
                namespace["path"] = f"/proc/{victim.pid}/ns/mnt"
        answer = lab.run(config)
        check(harness.read(f"/proc/{victim.pid}/mountinfo") == before, "its mounts were changed")
        check(not started(answer), "started in the joined mount namespace")
    finally:
        victim.kill()
        victim.wait()
