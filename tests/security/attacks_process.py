"""The processes: the binary behind /proc/PID/exe, descriptors, identity, what callers pass on."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time

import harness
from harness import check, Skipped


def both(lab, config, words=("info",), options=(), caller=None):
    """The answers of a run and of an exec in a container of the same configuration."""
    config["process"]["args"] = ["/probe", *words]
    yield "run", lab.run(config, caller=caller)
    config["process"]["args"] = ["/probe", "pause"]
    name = lab.start(config, caller=caller)
    lab.wait_log(name, "up")
    yield "exec", lab.exec(name, "/probe", *words, options=options, caller=caller)
    lab.delete(name)


# ---------------------------------------------------------------- the binary

def racer_against(lab, attack):
    name = lab.start(lab.config("racer", "2.5"))
    lab.wait_log(name, "up")
    attack(name)
    lab.wait_log(name, "{", 15)
    lab.delete(name)
    return json.loads(lab.log(name).splitlines()[-1])


def test_01_binary_cannot_be_overwritten(lab):
    """CVE-2019-5736: exec of /proc/self/exe, and a script whose interpreter is /proc/self/exe."""
    root = lab.rootfs()
    for path, text in (("shebang", "#!/proc/self/exe\n"), ("shebang2", "#!/proc/1/exe x\n")):
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(os.path.join(root, path), 0o755)

    def attack(name):
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for words in (("/proc/self/exe",), ("/shebang",), ("/probe", "sleep", "0.02")):
                lab.exec(name, *words)
    before = harness.digest(lab.binary)
    for _ in range(4):  # on a busy machine the racer may never run beside an exec
        name = lab.start(lab.config("racer", "3"), root)
        lab.wait_log(name, "up")
        attack(name)
        lab.wait_log(name, "{", 15)
        result = json.loads(lab.log(name).splitlines()[-1])
        if result["handles"] > 0:
            break
    check(result["handles"] > 0, "the attacker never saw a process of minirun: nothing was tested")
    check(result["writes"] == 0, f"wrote into a program: {result}")
    check(result["unsealed"] == 0 and result["foreign"] == 0, f"not a sealed memory file: {result}")
    check(harness.digest(lab.binary) == before, "minirun's binary has changed")
    for words in (["/proc/self/exe"], ["/shebang"]):
        config = lab.config()
        config["process"]["args"] = words
        answer = lab.run(config, lab.rootfs() if words[0] != "/shebang" else root, limit=5)
        check(answer.status != 0, f"{words}: status 0")
        check(harness.digest(lab.binary) == before, f"{words}: minirun's binary has changed")


def test_02_first_process_is_no_file_of_the_host(lab):
    """CVE-2022-0847: not even the page cache of the binary is shared with what runs inside."""
    trace = lab.command(["strace", "-f", "-e", "trace=execve,execveat,memfd_create,fcntl", lab.binary,
                         "--root", lab.state, "run", "--id", lab.new_id(),
                         lab.bundle(lab.config("true"))]) if shutil.which("strace") else None
    if trace is None:
        raise Skipped("strace is not installed")
    check(re.search(r'execveat\(\d+, "", \["minirun-stage"', trace.err), "no stage was executed")
    check("F_SEAL_WRITE" in trace.err, "the stage was not sealed")


# ---------------------------------------------------------------- descriptors and ptrace

def spy_on(lab, capabilities, terminal=False, **process):
    config = lab.config("spy", "4", **process)
    sets = config["process"]["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = sets[kind] + capabilities
    name = lab.start(config)
    lab.wait_log(name, "up")
    end = time.monotonic() + 2
    count = 0
    while time.monotonic() < end:
        if terminal:
            in_terminal([lab.binary, "--root", lab.state, "exec", "-t", name, "/probe", "true"])
        else:
            answer = lab.exec(name, "/probe", "true", caller=f"chdir={lab.canary} leak=12")
            check(answer.status == 0, answer.tail())
        count += 1
    lab.wait_log(name, '"end"', 10)
    lab.delete(name)
    rows = [json.loads(line) for line in lab.log(name).splitlines() if line.startswith("{")]
    end = rows.pop()
    return rows, end, sum(1 << capability_numbers()[c] for c in sets["permitted"])


def capability_numbers():
    listed = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
    SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()
    return {"CAP_" + word: number for number, word in enumerate(listed)}


def test_03_exec_cannot_be_spied_on(lab):
    """CVE-2016-9962: a process that joins shows no descriptor and cannot be attached to."""
    rows, end, _ = spy_on(lab, [])
    check(end["looked"] > 0, "the spy saw no process of exec")
    check(not rows, f"seen without CAP_SYS_PTRACE: {rows[:4]}")


def shows_nothing_to_ptrace(lab, **how):
    rows, end, permitted = spy_on(lab, ["CAP_SYS_PTRACE"], **how)
    if end["looked"] == 0:
        raise Skipped("the spy never caught the stage in time")
    harmless = re.compile(r"^(socket:|pipe:|/dev/null$|/dev/pts/|anon_inode:\[pidfd\]|pidfd:)")
    for row in rows:
        if row["what"] == "fd":
            check(harmless.match(row["target"]) or row["fd"] < 3, f"descriptor in reach: {row}")
        elif row["what"] == "ptrace":
            check(int(row["target"], 16) & ~permitted == 0, f"can be made to act with {row['target']}")
        else:
            check(False, f"in reach: {row}")


def test_03_exec_shows_nothing_even_to_ptrace(lab):
    """With CAP_SYS_PTRACE: no directory, mount, cgroup or file, and no more capabilities."""
    shows_nothing_to_ptrace(lab)


def test_03_exec_without_no_new_privileges_shows_nothing(lab):
    """The same where a filter is loaded with CAP_SYS_ADMIN, as engines have it by default."""
    shows_nothing_to_ptrace(lab, noNewPrivileges=False)


def test_03_exec_with_a_terminal_shows_nothing(lab):
    for no_new_privileges in (True, False):
        shows_nothing_to_ptrace(lab, terminal=True, noNewPrivileges=no_new_privileges)


def test_05_leaked_descriptors(lab):
    config = lab.config(rlimits=[])
    for caller in ("leak=200", "leak=200 free=80 nofile=100"):
        for kind, answer in both(lab, config, caller=caller):
            found = answer.json()
            check(set(found["fds"]) == {"0", "1", "2"}, f"{kind} with {caller}: {found['fds']}")
            if kind == "run":
                check(set(found["fds1"]) == {"0", "1", "2"} | (set(found["fds1"]) & {"3"}),
                      f"init with {caller}: {found['fds1']}")


def test_05_preserved_descriptors_are_only_the_callers(lab):
    """--preserve-fds N with nothing there must not hand out minirun's own: it is refused."""
    for count in (1, 4, 20, 60):
        answer = lab.run(lab.config("info"), words=("--preserve-fds", str(count)), limit=8)
        check(answer.status == 125 and "descriptor 3 is not open" in answer.err and not answer.out,
              f"--preserve-fds {count}: {answer.tail()}")


def test_05_joined_pid_namespace_shows_nothing(lab):
    """A pod's second container starts while a process of the first one looks."""
    config = lab.config("spy", "4")
    first = lab.start(config)
    lab.wait_log(first, "up")
    pid = json.loads(lab.minirun("state", first).out)["pid"]
    config = lab.config("true")
    for namespace in config["linux"]["namespaces"]:
        if namespace["type"] == "pid":
            namespace["path"] = f"/proc/{pid}/ns/pid"
    folder = lab.bundle(config)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        answer = lab.minirun("run", "--id", lab.new_id(), folder)
        check(answer.status == 0, answer.tail())
    lab.wait_log(first, '"end"', 10)
    rows = [json.loads(line) for line in lab.log(first).splitlines() if line.startswith("{")]
    check(len(rows) == 1, f"seen from the first container: {rows[:4]}")
    check(rows[-1]["looked"] > 0, "the spy saw no process of the second container")


def test_07_closed_standard_streams(lab):
    for subset in range(8):
        closed = "".join(str(fd) for fd in range(3) if subset >> fd & 1)
        out = os.path.join(lab.dir, f"closed{closed}")
        config = lab.config("info")
        with open(out, "w", encoding="utf-8") as file:
            answer = lab.run(config, caller="close=" + closed, stdout=file)
        if "1" in closed:
            check(answer.status in (0, 125), f"{closed} closed: status {answer.status}")
            config = lab.config("touch", "/vol/ran")
            answer = lab.run(config, caller="close=" + closed)
            check(answer.status == 0, f"{closed} closed: status {answer.status}")
            continue
        found = json.loads(harness.read(out))["fds"]
        check(set(found) == {"0", "1", "2"}, f"{closed} closed: {found}")
        for fd in closed:
            check(found[fd] == "/dev/null", f"{closed} closed: {fd} is {found[fd]}")


def test_08_no_library_of_the_image(lab):
    """CVE-2019-14271: nothing of the image is loaded by minirun, however its names look."""
    if not shutil.which("strace"):
        raise Skipped("strace is not installed")
    root = lab.rootfs()
    os.makedirs(os.path.join(root, "lib/x86_64-linux-gnu"))
    for path in ("lib/x86_64-linux-gnu/libnss_files.so.2", "etc/ld.so.preload", "etc/nsswitch.conf"):
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write("passwd: evil\n")
    config = lab.config("true")
    config["process"]["env"] = ["PATH=/bin"]
    answer = lab.command(["strace", "-f", "-e", "trace=open,openat,openat2,execve,execveat",
                          lab.binary, "--root", lab.state, "run", "--id", lab.new_id(),
                          lab.bundle(config, root)])
    check(answer.status == 0, answer.tail())
    opened = re.findall(r'open(?:at2?)?\([^"]*"([^"]*)"', answer.err)
    bad = [p for p in opened if re.search(r"nss|ld\.so|gconv|locale|libc\.so|resolv|hosts|localtime", p)]
    check(opened and not bad, f"opened {bad}")


# ---------------------------------------------------------------- identity

def test_30_capability_sets(lab):
    """Inheritable is empty unless asked for, whatever the caller has; the others are exact."""
    numbers = capability_numbers()
    full = sum(1 << n for n in numbers.values())
    everything = int(harness.read("/proc/self/status").split("CapBnd:\t")[1].split()[0], 16)
    cases = [{}, {kind: [] for kind in ("bounding", "permitted", "effective")}]
    for name, number in numbers.items():
        if everything >> number & 1:
            cases.append({kind: [name] for kind in ("bounding", "permitted", "effective")})
    cases.append({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
                  "ambient": ["CAP_KILL"]})
    cases.append({"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_CHOWN"]})
    for uid in (0, 1000):
        for i, case in enumerate(cases):
            config = lab.config("info", user={"uid": uid, "gid": uid}, capabilities=case)
            found = lab.run(config, caller="inherit=all").json()
            want = {kind: sum(1 << numbers[c] for c in case.get(kind, []))
                    for kind in ("bounding", "permitted", "effective", "inheritable", "ambient")}
            got = {kind: int(found[field], 16) for kind, field in (
                ("bounding", "CapBnd"), ("permitted", "CapPrm"), ("effective", "CapEff"),
                ("inheritable", "CapInh"), ("ambient", "CapAmb"))}
            for kind in ("bounding", "inheritable", "ambient"):
                check(got[kind] == want[kind], f"uid {uid} case {i}: {kind} {got[kind]:x}")
            # what execve makes of it under no_new_privs: capabilities(7)
            after = want["ambient"] if uid else want["bounding"] & want["permitted"]
            check(got["permitted"] == after, f"uid {uid} case {i}: permitted {got['permitted']:x}")
            check(got["effective"] & ~got["permitted"] == 0 and got["bounding"] & ~full == 0,
                  f"uid {uid} case {i}: {got}")
            check(found["keepcaps"] == 0 and found["securebits"] == 0, f"uid {uid}: securebits")


def test_30_capabilities_of_exec(lab):
    config = lab.config(user={"uid": 1000, "gid": 1000})
    found = dict(both(lab, config, caller="inherit=all"))
    run, execed = found["run"].json(), found["exec"].json()
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups",
                  "Uid", "Gid", "Umask", "SigBlk", "SigIgn", "cwd", "env", "nice"):
        check(run[field] == execed[field], f"{field}: run {run[field]!r}, exec {execed[field]!r}")
    check(int(run["CapInh"], 16) == 0, "CapInh is not empty")


def test_32_impossible_ids(lab):
    for value in (-1, 4294967295, 4294967296, 10**20, 1.5, "0", [], True):
        for key in ("uid", "gid", "additionalGids"):
            user = {"uid": 0, "gid": 0}
            user[key] = [value] if key == "additionalGids" else value
            answer = lab.run(lab.config("echo", "started", user=user))
            check("started" not in answer.out and answer.status == 125,
                  f"{key} {value!r}: status {answer.status}")
    for value in (2147483648, 4294967294):
        user = {"uid": value, "gid": value}
        found = lab.run(lab.config("info", user=user)).json()
        check(found["Uid"].split() == [str(value)] * 4, f"uid {value}: {found['Uid']}")
        check(found["Gid"].split() == [str(value)] * 4, f"gid {value}: {found['Gid']}")


def test_33_user_of_exec(lab):
    root = lab.rootfs()
    with open(os.path.join(root, "etc/passwd"), "w", encoding="utf-8") as file:
        file.write("1000:x:0:0::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n")
    name = lab.start(lab.config("sleep", "60"), root)
    for text, uid in (("1", "1"), ("1000", "1000"), ("1:2", "1")):
        found = lab.exec(name, "/probe", "info", options=("-u", text)).json()
        check(found["Uid"].split() == [uid] * 4, f"-u {text}: {found['Uid']}")
    for text in (":5", "0x1", " 1", "1 ", "1:", "4294967295", "-1", "1:-1", "4294967296", "1:2:3"):
        answer = lab.exec(name, "/probe", "info", options=("--user=" + text,))
        check(answer.status == 255, f"-u {text!r}: status {answer.status}")


def test_34_groups_of_the_caller(lab):
    for groups in ([], [5], [7, 9]):
        config = lab.config(user={"uid": 0, "gid": 0, "additionalGids": groups})
        for kind, answer in both(lab, config, caller="groups=4,27,999"):
            found = answer.json()
            check(sorted(found["Groups"].split()) == sorted(str(g) for g in groups),
                  f"{kind}, asked for {groups}: {found['Groups']}")


def test_39_no_new_privileges(lab):
    for wanted in (False, True):
        config = lab.config(noNewPrivileges=wanted)
        for kind, answer in both(lab, config):
            check(answer.json()["NoNewPrivs"] == str(int(wanted)), f"{kind} with {wanted}")


def filter_that_kills(*names):
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": list(names), "action": "SCMP_ACT_KILL_PROCESS"}]}


def test_40_filter_in_run_and_exec(lab):
    config = lab.config()
    config["linux"]["seccomp"] = filter_that_kills("reboot")
    for wanted in (True, False):
        config["process"]["noNewPrivileges"] = wanted
        for kind, answer in both(lab, config):
            check(answer.json()["Seccomp"] == "2", f"{kind}, no_new_privs {wanted}: no filter")
    # with no_new_privs nothing but execve follows the filter
    config["linux"]["seccomp"] = filter_that_kills(
        "setresuid", "setresgid", "setgroups", "capset", "close_range", "openat", "openat2", "sendmsg",
        "rt_sigaction", "rt_sigprocmask", "read", "chdir", "fchdir", "umask", "prctl", "statx")
    config["process"]["noNewPrivileges"] = True
    for kind, answer in both(lab, config, words=("true",)):
        check(answer.status == 0, f"{kind}: something follows the filter: {answer.status}")
        break  # exec needs a running container, and `pause` prints


# ---------------------------------------------------------------- keyring, terminal

def test_36_session_keyring(lab):
    """The caller's session keyring, with a key in it, is not what the container has."""
    config = lab.config()
    seen = []
    for kind, answer in both(lab, config, caller="keyring"):
        found = answer.json()
        check(found["key_search"] != "ok", f"{kind}: the caller's key was found")
        if found["keyring"] == "ENOSYS":
            raise Skipped("this kernel has no keys")
        if "keyring_id" in found:
            seen.append(found["keyring_id"])
            check("_ses.atk-" in found["keyring"], f"{kind}: {found['keyring']}")
    config["linux"].pop("seccomp", None)
    check(len(seen) == len(set(seen)) or len(seen) == 2, f"keyrings {seen}")


def in_terminal(argv, seconds=8):
    """Runs `argv` as the leader of a session on a new terminal; what it printed."""
    pid, master = pty.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    text, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
    os.close(master)
    os.waitpid(pid, 0)
    return text.decode(errors="replace")


def test_37_typing_into_the_callers_terminal(lab):
    """CVE-2017-5226: TIOCSTI on a terminal that is standard input, and /dev/tty."""
    config = lab.config("inject")
    argv = [lab.binary, "--root", lab.state, "run", "--id", lab.new_id(), lab.bundle(config)]
    texts = {"run": in_terminal(argv)}
    name = lab.start(lab.config("sleep", "30"))
    texts["exec"] = in_terminal([lab.binary, "--root", lab.state, "exec", name, "/probe", "inject"])
    for kind, text in texts.items():
        rows = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) == 2)
        check("tiocsti" in rows, f"{kind}: no answer: {text!r}")
        for word in ("tiocsti", "tiocsti_high", "tty"):
            check(rows.get(word) not in ("ok", None), f"{kind}: {word} succeeded: {text!r}")


# ---------------------------------------------------------------- hostile images

def hostile_passwd(lab, how):
    root = lab.rootfs()
    for name in ("passwd", "group"):
        path = os.path.join(root, "etc", name)
        if how == "fifo":
            os.mkfifo(path)
        elif how == "dir":
            os.mkdir(path)
        elif how == "socket":
            subprocess.run(["python3", "-c", "import socket,sys;"
                            "socket.socket(socket.AF_UNIX).bind('s')"], cwd=os.path.join(root, "etc"),
                           check=True, timeout=10)
            os.rename(os.path.join(root, "etc/s"), path)
        elif how == "sparse":
            with open(path, "wb") as file:
                file.truncate(10 << 30)
        elif how == "long":
            with open(path, "wb") as file:
                for _ in range(100):
                    file.write(b"x" * (1 << 20))
        elif how == "binary":
            with open(path, "wb") as file:
                file.write(os.urandom(100000))
        elif how == "crlf":
            with open(path, "wb") as file:
                file.write(b"root:x:0:0:root:/r:/bin/sh\r\nx:x:99999999999999999999:0::/h:/b")
        elif how == "zero-device":
            os.mknod(path, 0o20666, os.makedev(1, 5))
        else:
            os.symlink(how, path)
    return root


def test_51_hostile_passwd(lab):
    """RD, CD and RM hang for ever on a FIFO."""
    for how in ("fifo", "dir", "socket", "sparse", "long", "binary", "crlf", "zero-device",
                "/dev/zero", "/proc/kmsg", "/dev/full", "/proc/self/mem", "passwd", "/dev/tty",
                "../" * 12 + lab.canary.lstrip("/") + "/file"):
        root = hostile_passwd(lab, how)
        config = lab.config("info")
        config["process"]["env"] = ["PATH=/"]
        times = []
        for _ in range(3):
            answer = lab.run(config, root, limit=5)
            check(answer.status == 0, f"{how}: {answer.tail()}")
            times.append(answer.seconds)
        home = [e for e in answer.json()["env"] if e.startswith("HOME=")]
        check(home in (["HOME=/"], ["HOME=/r"]), f"{how}: {home}")
        limit = float(os.environ.get("SECURITY_SLOW", "0.2"))
        check(min(times) < limit, f"{how}: {min(times):.3f} s")
        if how in ("sparse", "long"):
            os.unlink(os.path.join(root, "etc/passwd"))
            os.unlink(os.path.join(root, "etc/group"))


def test_52_program_that_is_none(lab):
    root = lab.rootfs()
    os.mkfifo(os.path.join(root, "bin/fifo"), 0o777)
    os.mkdir(os.path.join(root, "bin/dir"))
    os.symlink("loop", os.path.join(root, "bin/loop"))
    with open(os.path.join(root, "bin/plain"), "w", encoding="utf-8") as file:
        file.write("#!/nowhere\n")
    with open(os.path.join(root, "bin/script"), "w", encoding="utf-8") as file:
        file.write("#!/nowhere\n")
    os.chmod(os.path.join(root, "bin/script"), 0o755)
    for path, wanted in (("/bin/fifo", {126}), ("/bin/dir", {126}), ("/bin/loop", {126, 127}),
                         ("/bin/plain", {126}), ("/bin/script", {126, 127}), ("/none", {127}),
                         ("none", {127}), ("fifo", {126, 127}), ("loop", {126, 127}),
                         ("/proc/self/fd/0", {126, 127}), ("/proc/self/fd", {126}), ("/", {126}),
                         ("/bin/plain/x", {126, 127})):
        config = lab.config()
        config["process"]["args"] = [path]
        config["process"]["env"] = ["PATH=/bin:/proc/self/fd:"]
        answer = lab.run(config, root, limit=4)
        check(answer.status in wanted, f"{path}: status {answer.status}: {answer.tail()}")


def test_51_passwd_takes_no_kernel_messages(lab):
    """/etc/passwd -> /proc/kmsg: what is read there is lost for the host's log."""
    if not shutil.which("strace"):
        raise Skipped("strace is not installed")
    config = lab.config("true")
    config["process"]["env"] = ["PATH=/"]
    answer = lab.command(["strace", "-f", "-y", "-e", "trace=openat2,read", lab.binary, "--root",
                          lab.state, "run", "--id", lab.new_id(),
                          lab.bundle(config, hostile_passwd(lab, "/proc/kmsg"))])
    check("kmsg>" in answer.err or "etc/passwd" in answer.err, f"not looked at: {answer.tail()}")
    check(not re.search(r"read\(\d+<[^>]*kmsg>", answer.err), "read /proc/kmsg")


# ---------------------------------------------------------------- the caller's state

def test_53_signals_of_the_caller(lab):
    for kind, answer in both(lab, lab.config(), caller="signals"):
        found = answer.json()
        for field in ("SigBlk", "SigIgn", "SigCgt", "SigPnd"):
            check(int(found[field], 16) == 0, f"{kind}: {field} {found[field]}")
    answer = lab.run(lab.config("exit", "7"), caller="signals")
    check(answer.status == 7, f"status {answer.status} instead of 7")


def test_54_attributes_of_the_caller(lab):
    """What the configuration decides is as it says; the rest is the caller's, as documented."""
    config = lab.config()
    config["process"]["user"]["umask"] = 0o27
    caller = f"umask=0 chdir={lab.canary} core"
    for kind, answer in both(lab, config, caller=caller):
        found = answer.json()
        check(found["Umask"] == "0027", f"{kind}: umask {found['Umask']}")
        check(found["cwd"] == "/", f"{kind}: cwd {found['cwd']}")
        check(found["rlimit7"] == [1024, 1024], f"{kind}: RLIMIT_NOFILE {found['rlimit7']}")
        extra = [e for e in found["env"] if e.split("=")[0] not in ("PATH", "TERM", "HOME")]
        check(not extra, f"{kind}: environment {extra}")
        check(found["deathsig"] == (9 if kind == "run" else found["deathsig"]), f"{kind}: deathsig")
    config = lab.config("info", oomScoreAdj=500)
    lab.run(config, caller="oom=300")
    config["process"]["args"] = ["/probe", "get", "/proc/self/oom_score_adj"]
    check(lab.run(config, caller="oom=300").out.strip() == "500", "oom_score_adj is not 500")


def test_57_no_set_user_id(lab):
    copy = os.path.join(lab.dir, "setuid-minirun")
    shutil.copy(lab.binary, copy)
    os.chown(copy, 0, 0)
    os.chmod(copy, 0o4755)
    os.chmod(lab.dir, 0o755)
    try:
        answer = subprocess.run([copy, "list"], user=65534, group=65534, extra_groups=[], timeout=10,
                                capture_output=True, text=True, check=False)
        check(answer.returncode == 125 and "set-user-ID" in answer.stderr, answer.stderr)
    finally:
        os.chmod(lab.dir, 0o711)


def test_59_program_that_looks_like_the_stage(lab):
    """Its name does not put it out of reach of kill, exec and delete."""
    root = lab.rootfs()
    shutil.copy2(lab.probe, os.path.join(root, "memfd:minirun-stage"))
    config = lab.config("sleep", "60")
    config["process"]["args"][0] = "/memfd:minirun-stage"
    name = lab.start(config, root)
    state = json.loads(lab.minirun("state", name).out)
    check(state["status"] == "running", f"status {state['status']}")
    check(lab.exec(name, "/probe", "true").status == 0, "exec is refused")
    answer = lab.minirun("kill", name, "KILL")
    check(answer.status == 0, f"kill is refused: {answer.err}")


def test_59_reused_pid(lab):
    """A state file that points to somebody else: never a signal to a stranger."""
    victim = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.1)  # start times are counted in hundredths of a second
        name = lab.start(lab.config("sleep", "60"))
        path = os.path.join(lab.state, name, "init.json")
        state = json.loads(os.readlink(path))

        def name_victim(start):
            os.remove(path)
            os.symlink(json.dumps({"pid": victim.pid, "startTime": start}), path)
        for start in (state["startTime"], 1, 2**63):
            name_victim(start)
            for words in (("kill", name, "KILL"), ("kill", "--all", name, "KILL"),
                          ("exec", name, "/probe", "true"), ("delete", name), ("state", name)):
                lab.minirun(*words)
                check(victim.poll() is None, f"{words[0]} killed a stranger")
                if not os.path.lexists(path):
                    break
            if not os.path.lexists(path):
                name = lab.start(lab.config("sleep", "60"))
                path = os.path.join(lab.state, name, "init.json")
        name_victim(1)
        answer = lab.delete(name)
        check(answer.status == 0 and victim.poll() is None, "delete -f killed a stranger")
        check(not subprocess.run(["pgrep", "-f", "^/probe sleep 60$"], capture_output=True, timeout=10,
                                 check=False).stdout, "delete -f left the container's process")
    finally:
        victim.kill()
        victim.wait()
