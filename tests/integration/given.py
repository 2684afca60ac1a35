"""What a process is given, all of it and not one by one: descriptors, arguments, environment, signals, ids, groups, keyring,
session, terminal, capabilities, seccomp, limits, priorities. `look.c` says it from inside. Must not: test what the fields
mean (fields.py, bundles.py)."""

import array
import ctypes
import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

from harness import CACHE, Failure, REPOSITORY, SLOW, check, equal, libc, read, test, wait_until
from integration.bundles import busybox_root

CHOWN, KILL, NET_RAW, BIND = 0, 5, 13, 10
BATCH, IO_BEST_EFFORT, LINUX32 = 3, 2, 8
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
HOST = {"uid": "0 0 0", "gid": "0 0 0", "umask": "177", "groups": "4 27", "status.Seccomp:": "0", "prctl.no_new_privs": "0",
        "personality": "0", "scheduler": "0 nice 0", "ioprio": "0"}
FIRST = ["/look", "/out/answer", "--flag", "two words", ""]
ENVIRONMENT = ["A=1", "PATH=/bin", "EMPTY=", "B=x y", "HOME=/h"]


def capabilities(*numbers):
    return f"{sum(1 << n for n in numbers):016x}"


def ask(config):
    """Everything that can be asked for, each with a value that nobody has by chance."""
    config["process"].update(
        args=FIRST, env=ENVIRONMENT, cwd="/tmp", noNewPrivileges=True, oomScoreAdj=321,
        user={"uid": 1000, "gid": 1001, "additionalGids": [6, 5], "umask": 0o27},
        capabilities={"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"],
                      "permitted": ["CAP_KILL", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"],
                      "effective": ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"],
                      "inheritable": ["CAP_KILL", "CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"]},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        scheduler={"policy": "SCHED_BATCH", "nice": 3}, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 5})
    config["linux"]["personality"] = {"domain": "LINUX32"}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}
    config["root"]["readonly"] = False


def asked_for():
    """The same in the words of look.c. A program with ambient capabilities has those as its effective ones, too."""
    stack = resource.getrlimit(resource.RLIMIT_STACK)
    return {
        "fd": ["0 char", "1 file", "2 file"], "uid": "1000 1000 1000", "gid": "1001 1001 1001", "groups": "5 6",
        "umask": "027", "session": "own leader", "tty": ["controlling ENXIO"], "cwd": "/tmp", "root": "/",
        "signals": ["blocked", "not_default", "pending", "stack none"], "personality": str(LINUX32),
        "scheduler": f"{BATCH} nice 3", "ioprio": str(IO_BEST_EFFORT << 13 | 5), "oom_score_adj": "321",
        "prctl.no_new_privs": "1", "prctl.securebits": "0", "prctl.dumpable": "1", "prctl.keepcaps": "0",
        "prctl.subreaper": "0", "prctl.thp_disable": "0", "prctl.timerslack": "50000", "prctl.pdeathsig": "0",
        "arg": [f"{i} {word}".strip() for i, word in enumerate(FIRST)],
        "env": [f"{i} {word}" for i, word in enumerate(ENVIRONMENT)],
        "timer": ["0 none", "1 none", "2 none"],
        "rlimit.7": "99 100", "rlimit.4": "0 0", "rlimit.3": f"{4 << 20} {stack[1] & (1 << 64) - 1}",
        "status.CapBnd:": capabilities(CHOWN, KILL, NET_RAW, BIND), "status.CapPrm:": capabilities(NET_RAW),
        "status.CapEff:": capabilities(NET_RAW), "status.CapInh:": capabilities(KILL, NET_RAW),
        "status.CapAmb:": capabilities(NET_RAW), "status.Seccomp:": "2", "status.Seccomp_filters:": "1",
        "status.TracerPid:": "0"}


def spoil():
    """A caller that has everything that must not reach a container."""
    os.setgroups([4, 27])
    os.umask(0o177)
    os.chdir("/usr/share")
    for fd in range(5, 9):
        os.dup2(0, fd, inheritable=True)
    libc.syscall(250, 1, b"of-the-caller")  # keyctl(KEYCTL_JOIN_SESSION_KEYRING)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("200")
    for sign in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTSTP, 33, 64):
        libc.signal(int(sign), ctypes.c_void_p(1))
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))


def parse(text):
    """Lines "key value"; those with a number or a list behind a dot become one list."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        head, _, rest = key.partition(".")
        if head in ("fd", "tty", "signals", "arg", "env", "timer"):
            found.setdefault(head, []).append(f"{rest} {value}".strip())
        elif head == "status":
            key, _, value = line.partition("\t")
            found[key] = value.strip()
        elif head == "cgroup":
            found.setdefault(head, []).append(value)
        else:
            found[key] = value.strip()
    return found


def look():
    """look.c, compiled once: in the VM, which sees what was made on the host, the compiler takes as long as all the rest."""
    source, program = REPOSITORY / "tests/integration/look.c", CACHE / "look"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        part = CACHE / f"look.{os.getpid()}"
        subprocess.run(["gcc", "-static", "-O1", "-o", part, source], check=True, timeout=50 * SLOW)
        part.rename(program)
    return program


class Container:
    """A bundle with look.c as /look, and the answers that it leaves in /out."""

    def __init__(self, t, change=None):
        self.t, self.root = t, busybox_root(t)
        shutil.copy(look(), self.root / "look")
        (self.root / "out").mkdir()
        (self.root / "out").chmod(0o777)
        t.dir.chmod(0o711)
        self.change = change or (lambda config: None)

    def bundle(self, *args):
        def edit(config):
            ask(config)
            self.change(config)
            if args:
                config["process"]["args"] = list(args)
        return self.t.bundle(self.root, edit)

    def answer(self, name="answer"):
        path = self.root / "out" / name
        wait_until(lambda: path.exists() and path.read_text().endswith("end\n"), f"the answer in {path}")
        text = path.read_text()
        path.unlink()
        print(text)
        return parse(text)


def differences(found, expected, what):
    words = [f"{key}: {found.get(key)!r} instead of {value!r}" for key, value in expected.items() if found.get(key) != value]
    if words:
        raise Failure(f"{what}: " + "; ".join(words))


def the_ways(t, box):
    """(name, id, answer) of each way to start a program in a container with one and the same configuration."""
    name = t.id()
    t.minirun("run", "-b", box.bundle(), name, preexec_fn=spoil, close_fds=False).good()
    yield "run", name, box.answer()
    name = t.id()
    t.minirun("run", "-d", "-b", box.bundle(), name, preexec_fn=spoil, close_fds=False).good()
    yield "run -d", name, box.answer()
    t.minirun("delete", "-f", name).good()
    name = t.id()
    t.minirun("create", "-b", box.bundle(), name, preexec_fn=spoil, close_fds=False).good()
    t.minirun("start", name, preexec_fn=spoil, close_fds=False).good()
    yield "create and start", name, box.answer()
    t.minirun("delete", "-f", name).good()
    name, directory = t.id(), box.bundle("/bin/busybox", "sleep", "1000")
    t.minirun("run", "-d", "-b", directory, name).good()
    document = {**json.loads(read(directory / "config.json"))["process"], "args": FIRST}
    path = t.write("process.json", document)
    for way, words in (("exec", [name, *FIRST]), ("exec -d", ["-d", name, *FIRST]),
                       ("exec --process", ["--process", path, name]), ("exec -d --process", ["-d", "--process", path, name])):
        t.minirun("exec", *words, preexec_fn=spoil, close_fds=False).good()
        yield way, name, box.answer()
    t.minirun("delete", "-f", name).good()


@test(limit=90, both=True)
def given_in_every_way(t):
    """run, run -d, create and start, exec by flags and by document: the program has exactly what the configuration asks for,
    all of it, and nothing of a caller with blocked signals, groups, descriptors, a keyring and a umask of its own."""
    box = Container(t)
    first, rings = None, {}
    for way, name, found in the_ways(t, box):
        expected = asked_for()
        if way in ("run", "exec", "exec --process"):
            expected["prctl.pdeathsig"] = "9"  # in the foreground minirun and the program die together
        differences(found, expected, way)
        ring, _, label = found.pop("keyring").partition(" ")
        check(label.startswith(f"_ses.{name}."), f"{way}: the session keyring is {label!r}")
        rings.setdefault(name, set()).add(ring)
        found.pop("prctl.pdeathsig")
        first = first or found
        differences(found, first, f"{way}, beside run")
        equal(set(found), set(first), f"{way}: keys")
    equal([len(ring) for ring in rings.values()], [1] * 4, "session keyrings of each container")


@test()
def given_nothing_asked(t):
    """A minimal process: no capability, umask 022, no groups, no filter; oom_score_adj and limits stay the caller's, the
    keyring too with --no-new-keyring; consoleSize without a terminal is ignored."""
    def least(config):
        config["process"] = {"cwd": "/", "args": FIRST, "consoleSize": {"height": 20, "width": 10}}
        for key in ("seccomp", "personality", "resources"):
            config["linux"].pop(key, None)

    box = Container(t, least)
    none = capabilities()
    expected = {**asked_for(), "uid": "0 0 0", "gid": "0 0 0", "groups": "", "umask": "022", "cwd": "/", "personality": "0",
                "scheduler": "0 nice 0", "ioprio": "0", "oom_score_adj": "200", "prctl.no_new_privs": "0",
                "env": ["0 HOME=/"], "rlimit.7": " ".join(map(str, resource.getrlimit(resource.RLIMIT_NOFILE))),
                "status.CapBnd:": none, "status.CapPrm:": none, "status.CapEff:": none, "status.CapInh:": none,
                "status.CapAmb:": none, "status.Seccomp:": "0", "status.Seccomp_filters:": "0"}
    del expected["rlimit.4"]
    name = t.id()
    t.minirun("create", "--no-new-keyring", "-b", box.bundle(), name, preexec_fn=spoil, close_fds=False).good()
    t.minirun("start", name).good()
    found = box.answer()
    differences(found, expected, "the program")
    check(found["keyring"].endswith(" of-the-caller"), f"the keyring is {found['keyring']!r}")
    t.minirun("delete", "-f", name).good()


def terminals(t, box):
    """(way, answer) of each way to get a terminal: by a socket and in the foreground, for a container and for an exec."""
    socket_path = t.dir / "console"

    def received(*words):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(socket_path))
            listener.listen(1)
            t.minirun(*words, preexec_fn=spoil, close_fds=False).good()
            listener.settimeout(10)
            with listener.accept()[0] as connection:
                _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        socket_path.unlink()
        return array.array("i", ancillary[0][2][:4])[0]

    def in_front(*words):
        pid, master = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
            for fd in range(5, 9):
                os.dup2(0, fd, inheritable=True)
            os.execv(t.command()[0], t.command(*words))
        found = box.answer()
        _, status = os.waitpid(pid, 0)
        os.close(master)
        equal(status, 0, f"status of {words[0]}")
        return found

    name = t.id()
    master = received("create", "--console-socket", socket_path, "-b", box.bundle(), name)
    t.minirun("start", name, preexec_fn=spoil, close_fds=False).good()
    yield "create and start", box.answer()
    os.close(master)
    t.minirun("delete", "-f", name).good()
    yield "run", in_front("run", "-b", box.bundle(), t.id())
    name = t.id()
    box.change = lambda config: None
    t.minirun("run", "-d", "-b", box.bundle("/bin/busybox", "sleep", "1000"), name).good()
    document = {**json.loads(read(box.bundle() / "config.json"))["process"], "terminal": True}
    document["consoleSize"] = {"height": 33, "width": 77}
    path = t.write("process.json", document)
    master = received("exec", "-d", "--console-socket", socket_path, "--process", path, name)
    yield "exec -d", box.answer()
    os.close(master)  # not before: the hangup would end the program
    yield "exec -t", in_front("exec", "-t", name, *FIRST)
    t.minirun("delete", "-f", name).good()


@test(limit=90, both=True)
def given_a_terminal(t):
    """With a terminal: a controlling one of the container's own devpts with the size that was asked for, on all three
    descriptors, in the foreground of a session of its own; the rest is as without one."""
    def change(config):
        config["process"].update(terminal=True, consoleSize={"height": 33, "width": 77})

    box = Container(t, change)
    for way, found in terminals(t, box):
        expected = asked_for()
        expected.update(fd=["0 char", "1 char", "2 char"], session="own leader")
        place = found["tty"][0].split()[1]
        check(place.startswith("/dev/pts/"), f"{way}: the terminal is {place}")
        expected["tty"] = [f"{fd} {place} 77x33" for fd in range(3)] + ["controlling foreground"]
        for key in ("prctl.pdeathsig", "rlimit.3"):
            expected.pop(key)
        differences(found, expected, way)


@test(limit=90, both=True)
def given_to_hooks(t):
    """Hooks on the host have what their entry asks for and nothing of the container's; startContainer has all that the
    program has, but for its own words: ids, capabilities, filter, limits."""
    def change(config):
        place = {"startContainer": "/out"}
        config["hooks"] = {kind: [{"path": "/look" if kind == "startContainer" else str(box.root / "look"),
                                   "args": ["hook", f"{place.get(kind, box.root / 'out')}/{kind}"], "env": ["H=1"]}]
                           for kind in HOOKS}

    box = Container(t)
    box.change = change
    name = t.id()
    t.minirun("create", "-b", box.bundle(), name, preexec_fn=spoil, close_fds=False).good()
    t.minirun("start", name, preexec_fn=spoil, close_fds=False).good()
    program = box.answer()
    t.minirun("delete", "-f", name, preexec_fn=spoil, close_fds=False).good()
    # A hook dies with its minirun.
    asked, every = asked_for(), {"env": ["0 H=1"], "tty": ["controlling ENXIO"], "prctl.pdeathsig": "9"}
    every.update({key: asked[key] for key in ("signals", "timer", "prctl.securebits", "prctl.keepcaps",
                                              "prctl.dumpable", "prctl.subreaper", "status.TracerPid:")})
    for kind in HOOKS:
        found = box.answer(kind)
        where = "/out" if kind == "startContainer" else str(box.root / "out")
        expected = {**every, "arg": ["0 hook", f"1 {where}/{kind}"]}
        check([entry.split()[0] for entry in found["fd"]] == ["0", "1", "2"], f"{kind} has descriptors {found['fd']}")
        check("cloexec" not in str(found["fd"]), f"{kind}: {found['fd']}")
        if kind == "startContainer":
            same = set(program) - {"arg", "env", "fd", "cwd", "prctl.pdeathsig"}
            expected.update({key: program[key] for key in same}, cwd="/")
        else:
            expected.update({key: HOST[key] for key in HOST}, oom_score_adj="200")
        differences(found, expected, kind)
