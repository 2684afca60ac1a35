"""`create` and `start` as engines call them: one process of ours less, and every way in which the two can go wrong."""

import array
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import termios
import time

from harness import Skip, check, descendants, equal, parent_of, read, replace_state, test, wait_until
from integration.bundles import busybox_root


def bundle(t, *args, change=None):
    """A bundle around a busybox root that runs `args` (default: sleep)."""
    def adapt(config):
        config["process"]["args"] = list(args) or ["/bin/busybox", "sleep", "100"]
        if change:
            change(config)
    root = t.dir / "busybox"
    return t.bundle(root if root.exists() else busybox_root(t), adapt)


def state(t, name):
    return json.loads(t.minirun("state", name).good().out)


def start_time(pid):
    """When a process started, in clock ticks since the boot: field 22 of /proc/PID/stat, see proc(5)."""
    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])


def ticks_now():
    """The same clock, now."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def created(t, *args, options=(), change=None, **more):
    name = t.id()
    t.minirun("create", "--bundle", bundle(t, *args, change=change), *options, name, **more).good()
    return name


@test(both=True)
def create_start_delete(t):
    """The lifecycle of the specification; after `create` only init is left, a child of the caller's subreaper."""
    name = created(t, options=["--pid-file", t.dir / "pid"])
    pid = int(read(t.dir / "pid"))
    equal(descendants(os.getpid()), [pid], "processes after create")
    equal(parent_of(pid), os.getpid(), "parent of init")
    found = state(t, name)
    equal([found["status"], found["pid"], found["id"]], ["created", pid, name], "state after create")
    for key in ("ociVersion", "bundle", "rootfs", "created", "owner"):
        check(key in found, f"state lacks {key}")
    check("sleep" not in read(f"/proc/{pid}/cmdline"), "the program runs before start")
    t.minirun("start", name).good()
    equal(read(f"/proc/{pid}/cmdline"), "/bin/busybox\0sleep\x00100\0", "the program, when start is back")
    equal([state(t, name)["status"], state(t, name)["pid"]], ["running", pid], "state after start")
    t.refused(t.minirun("start", name), "cannot start an already running container", status=1)
    t.refused(t.minirun("delete", name), "cannot delete container", "not stopped", status=1)
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "stopped")
    equal(state(t, name)["pid"], 0, "pid of a stopped container")
    t.refused(t.minirun("start", name), "cannot start a container that has stopped", status=1)
    t.minirun("delete", name).good()
    t.refused(t.minirun("start", name), "container does not exist", status=1)


@test(both=True)
def stopped_create(t):
    """`delete -f` of a container whose create somebody has stopped: it is woken, gives up, and nothing of it is left."""
    name = t.id()
    hook = t.write("hook", "#!/bin/sh\nkill -STOP $PPID\nsleep 30\n", 0o755)

    def change(config):
        config["hooks"] = {"createRuntime": [{"path": str(hook)}]}
    creator = subprocess.Popen(t.command("create", "--bundle", bundle(t, change=change), name),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: process_state(creator.pid) == "T", "the stopped create")
    began = time.monotonic()
    t.minirun("delete", "-f", name).good()
    check(time.monotonic() - began < 3, f"delete took {time.monotonic() - began:.1f} s")
    errors = creator.communicate(timeout=20)[1]
    check(creator.returncode == 1 and "aborted by SIGTERM" in errors, f"{creator.returncode}, {errors!r}")


@test(both=True)
def killed_before_its_program(t):
    """`start` of a container whose first process dies before it has the word is an error, not a program that ran."""
    name = t.id()
    hook = t.write("hook", "#!/bin/sh\npid=$(/bin/busybox sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\nkill -9 $pid\n", 0o755)

    def change(config):
        config["hooks"] = {"createRuntime": [{"path": "/bin/true"}], "startContainer": [{"path": "/hook"}]}
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]
        config["mounts"] = [m for m in config["mounts"] if m["type"] != "proc"]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    directory = bundle(t, change=change)
    (t.dir / "busybox/hook").write_text(read(hook))
    (t.dir / "busybox/hook").chmod(0o755)
    t.minirun("create", "--bundle", directory, name).good()
    result = t.minirun("start", name)
    t.refused(result, "before the program", status=1)
    t.minirun("delete", "-f", name).good()


@test(both=True)
def run_dies_before_its_program(t):
    """A SIGKILL of `run` before the container's first process has done anything ends it: the program never runs."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    name, mark = t.id(), t.dir / "busybox/mark"
    words = t.command("run", "--bundle", bundle(t, "/bin/busybox", "touch", "/mark",
                                                change=lambda config: config["root"].update(readonly=False)), name)
    # The first prctl(2) of the child is its death signal: its parent is killed before that takes effect.
    tracer = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-e", "trace=prctl", "-e",
                               "inject=prctl:delay_enter=2000000:when=1", *words], stdin=subprocess.DEVNULL)
    wait_until(lambda: len(descendants(tracer.pid)) >= 2, "the first process")
    time.sleep(0.5)
    os.kill(min(descendants(tracer.pid)), signal.SIGKILL)
    tracer.wait(timeout=20)
    check(not mark.exists(), "the program ran")
    t.minirun("gc").good()


def process_state(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]


@test()
def delete_created(t):
    """`delete` of a created container kills it, without --force; `kill` ends it too."""
    name = created(t)
    t.minirun("delete", name).good()
    equal(descendants(os.getpid()), [], "processes")
    name = created(t)
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: state(t, name)["status"] == "stopped", "stopped")
    t.minirun("delete", name).good()


@test()
def bundle_is_the_working_directory(t):
    """Without --bundle it is the working directory; --config names another file, still below the bundle."""
    directory = bundle(t, "/bin/busybox", "echo", "first")
    other = t.write("elsewhere/other.json", json.loads(read(directory / "config.json")))
    config = json.loads(read(other))
    config["process"]["args"] = ["/bin/busybox", "echo", "other"]
    config["root"]["path"] = "root"
    other.write_text(json.dumps(config))
    (directory / "root").symlink_to(t.dir / "busybox")
    name = t.id()
    t.minirun("create", name, cwd=directory).good()
    equal(state(t, name)["bundle"], str(directory), "bundle")
    t.minirun("start", name).good()
    t.minirun("delete", "-f", name).good()
    (directory / "root").unlink()
    (directory / "root").mkdir()
    config["root"]["path"] = "../busybox"
    other.write_text(json.dumps(config))
    equal(t.minirun("run", "--config", other, t.id(), cwd=directory).good().out, "other\n", "run --config")
    for words in (["--bundle", directory], ["-b", directory]):
        equal(t.minirun("run", *words, t.id()).good().out, "first\n", "run --bundle B ID")
        equal(t.minirun("run", t.id(), *words).good().out, "first\n", "run ID --bundle B")
    equal(t.minirun("run", t.id(), cwd=directory).good().out, "first\n", "run ID in the bundle")
    equal(t.minirun("run", directory).good().out, "first\n", "run SPEC")


@test()
def config_is_read_once(t):
    """What is written to config.json after create has no effect, and a bundle that vanishes is no harm."""
    directory = bundle(t, "/bin/busybox", "sh", "-c", "echo one; sleep 100")
    name, log = t.id(), open(t.dir / "payload", "wb")
    subprocess.run(t.command("create", "--bundle", directory, name), stdin=subprocess.DEVNULL, stdout=log, check=True)
    text = read(directory / "config.json").replace("echo one", "echo two")
    (directory / "config.json").write_text(text)
    (directory / "config.json").unlink()
    directory.rmdir()
    t.minirun("start", name).good()
    wait_until(lambda: read(t.dir / "payload") == "one\n", "the program of the first config.json")
    t.minirun("delete", "-f", name).good()


@test()
def no_process(t):
    """runtime.md: `create` needs no process, `start` does."""
    name = created(t, change=lambda config: config.pop("process"))
    equal(state(t, name)["status"], "created", "status")
    t.refused(t.minirun("start", name), "process", "needed", status=1)
    equal(state(t, name)["status"], "created", "status after the start that was refused")
    t.minirun("delete", name).good()


@test()
def exec_errors(t):
    """A missing program is an error of create; what only the exec finds is one of start, which then leaves it stopped."""
    t.refused(t.minirun("create", "-b", bundle(t, "no-such-program"), t.id()), "process.args",
              'exec "no-such-program"', "executable file not found in $PATH", status=1)
    root = t.dir / "busybox"
    (root / "bin/script").write_text("#!/no/such/interpreter\n")
    (root / "bin/script").chmod(0o755)
    (root / "bin/text").write_text("neither a script nor a program")
    (root / "bin/text").chmod(0o755)
    for program, words in (("/bin/script", "No such file"), ("/bin/text", "Exec format error")):
        name = created(t, program)
        t.refused(t.minirun("start", name), "process.args", f'exec "{program}"', words, status=1)
        equal(state(t, name)["status"], "stopped", f"status after {program}")
        t.minirun("delete", name).good()


@test(both=True)
def init_that_died(t):
    """An init that died between create and start: an error at once, no hang. Also while it is still dying, so many times."""
    for _ in range(20):
        name = created(t)
        os.kill(state(t, name)["pid"], signal.SIGKILL)
        before = time.monotonic()
        result = t.minirun("start", name)
        seconds = time.monotonic() - before
        t.refused(result, "cannot start a container that has stopped", status=1)
        check(seconds < 0.1 or os.path.exists("/mnt/host"), f"start took {seconds:.3f} s")
        t.minirun("delete", name).good()


@test()
def two_starts(t):
    """Of starts at once one wins; the others say that it runs already."""
    for _ in range(5):
        name = created(t)
        starts = [subprocess.Popen(t.command("start", name), stderr=subprocess.PIPE, text=True) for _ in range(4)]
        ends = [(process.communicate(timeout=20)[1], process.returncode) for process in starts]
        equal(sorted(status for _, status in ends), [0, 1, 1, 1], "statuses")
        for words, status in ends:
            check(status == 0 or "cannot start an already running container" in words, words)
        equal(state(t, name)["status"], "running", "status")
        t.minirun("delete", "-f", name).good()


@test()
def eight_creates(t):
    """Of creates of one id at once one wins; the others touch nothing."""
    directory, name = bundle(t), t.id()
    creates = [subprocess.Popen(t.command("create", "-b", directory, name), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=open(t.dir / f"error-{i}", "w+")) for i in range(8)]
    statuses = [process.wait(20) for process in creates]
    equal(sorted(statuses), [0] + [1] * 7, "statuses")
    for i, status in enumerate(statuses):
        check(status == 0 or "exists" in read(t.dir / f"error-{i}"), read(t.dir / f"error-{i}"))
    equal(len(descendants(os.getpid())), 1, "processes")
    t.minirun("start", name).good()
    t.minirun("delete", "-f", name).good()


@test()
def signal_aborts_create(t):
    """SIGTERM ends a create that is not committed within a second, and nothing is left of it."""
    def slow(config):
        config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"]}]}
    for sign in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(t.command("create", "-b", bundle(t, change=slow), t.id()),
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: len(descendants(process.pid)) >= 2, "the hook runs")
        before = time.monotonic()
        process.send_signal(sign)
        words = process.communicate(timeout=5)[1]
        check(time.monotonic() - before < 1, "it took more than a second")
        equal(process.returncode, 1, "status")
        check(sign.name in words, words)
        equal(descendants(os.getpid()), [], "processes")
    equal(t.minirun("list", "-q").good().out, "", "containers")


# ---------------------------------------------------------------- terminals


def receive_terminal(listener, limit=10):
    """What a console socket gets: the payload and the master."""
    listener.settimeout(limit)
    connection, _ = listener.accept()
    with connection:
        payload, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
        fds = array.array("i")
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:len(data) - len(data) % 4])
        equal(connection.recv(1), b"", "after the only message")
    return payload.decode(), list(fds)


def terminal(config):
    config["process"]["terminal"] = True
    config["process"]["consoleSize"] = {"height": 33, "width": 77}


@test()
def console_socket(t):
    """`--console-socket`: one message with the terminal's name and its master, also for a path beyond 108 bytes."""
    long = t.dir / ("d" * 80) / ("e" * 80)
    long.mkdir(parents=True)
    for where in (t.dir / "console", long / "console"):
        listener = socket.socket(socket.AF_UNIX)
        here = os.open(where.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/console")
        os.close(here)
        listener.listen(1)
        name = created(t, "/bin/busybox", "sh", "-c", "stty size; tty; sleep 100", options=["--console-socket", where],
                       change=terminal)
        payload, fds = receive_terminal(listener)
        listener.close()
        check(payload.startswith("/dev/pts/"), f"payload {payload!r}")
        equal(len(fds), 1, "descriptors")
        equal(fcntl.ioctl(fds[0], termios.TIOCGWINSZ, b"\0" * 8)[:4], b"\x21\x00\x4d\x00", "window size")
        t.minirun("start", name).good()
        seen = b""
        while b"/dev/" not in seen or not seen.endswith(b"\n"):
            seen += os.read(fds[0], 1000)
        check(b"33 77" in seen, f"in the terminal: {seen!r}")
        os.close(fds[0])
        t.minirun("delete", "-f", name).good()


@test()
def terminal_rules(t):
    """A detached terminal needs a console socket, and a console socket a detached terminal."""
    t.refused(t.minirun("create", "-b", bundle(t, change=terminal), t.id()), "process.terminal", "--console-socket",
              status=1)
    t.refused(t.minirun("run", "-d", "-b", bundle(t, change=terminal), t.id()), "process.terminal")
    t.refused(t.minirun("create", "-b", bundle(t), "--console-socket", "/nowhere", t.id()), "--console-socket",
              "process.terminal", status=1)
    t.refused(t.minirun("run", "-b", bundle(t, change=terminal), "--console-socket", "/nowhere", t.id()),
              "--console-socket")
    t.refused(t.minirun("create", "-b", bundle(t, change=terminal), "--console-socket", t.dir / "nobody", t.id()),
              "--console-socket", "nobody", status=1)


@test()
def pidfd_socket(t):
    """`--pidfd-socket` gets a pidfd of init."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(t.dir / "pidfd"))
    listener.listen(1)
    name = created(t, options=["--pidfd-socket", t.dir / "pidfd"])
    word, fds = receive_terminal(listener)
    listener.close()
    check(word in ("standard", b"standard"), f"payload {word!r}")
    pid = [line.split()[1] for line in read(f"/proc/self/fdinfo/{fds[0]}").splitlines() if line.startswith("Pid:")]
    equal(pid, [str(state(t, name)["pid"])], "process behind the pidfd")
    signal.pidfd_send_signal(fds[0], signal.SIGKILL)
    os.close(fds[0])
    wait_until(lambda: state(t, name)["status"] == "stopped", "stopped")
    t.minirun("delete", name).good()


@test()
def flags(t):
    """--no-subreaper and --no-new-keyring are taken, a pid file that cannot be written leaves nothing."""
    name = created(t, options=["--no-subreaper", "--no-new-keyring"])
    t.minirun("delete", name).good()
    t.refused(t.minirun("create", "-b", bundle(t), "--pid-file", t.dir / "no/such/pid", t.id()), "--pid-file",
              "no/such", status=1)
    equal(descendants(os.getpid()), [], "processes")
    equal(t.minirun("list", "-q").good().out, "", "containers")


# ---------------------------------------------------------------- descriptors and what the caller has


def open_descriptors(config):
    config["process"]["args"] = ["/bin/busybox", "sh", "-c", "for n in 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$n ] && "
                                 "readlink /proc/$$/fd/$n | sed s,.*/,,; done; env | grep ^LISTEN_ | sort"]


def with_descriptors(t, count, *words, env=None):
    """Runs minirun with descriptors 3, 4, ... on files of these names, and no other."""
    fds = []
    for i in range(count):
        file = os.open(t.dir / f"file{i}", os.O_RDWR | os.O_CREAT)
        fds.append(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 100))
        os.close(file)

    def arrange():
        for i, fd in enumerate(fds):
            os.dup2(fd, 3 + i, inheritable=True)

    try:
        return t.minirun(*words, close_fds=False, preexec_fn=arrange, env={**os.environ, **(env or {})})
    finally:
        for fd in fds:
            os.close(fd)


@test()
def preserve_fds(t):
    """--preserve-fds N passes 3 to 2+N and no other; one that is missing is an error."""
    directory = bundle(t, change=open_descriptors)
    equal(with_descriptors(t, 3, "run", "-b", directory, "--preserve-fds", "2", t.id()).good().out.split(),
          ["file0", "file1"], "passed descriptors")
    result = with_descriptors(t, 2, "run", "-b", directory, "--preserve-fds", "3", t.id())
    t.refused(result, "--preserve-fds", "descriptor 5")
    result = with_descriptors(t, 2, "create", "-b", directory, "--preserve-fds", "3", t.id())
    t.refused(result, "--preserve-fds", "descriptor 5", status=1)


@test()
def listen_fds(t):
    """LISTEN_FDS of the caller reaches the program, with the LISTEN_PID that it has; one for somebody else does not."""
    directory = bundle(t, change=open_descriptors)
    words = ("run", "-b", directory)
    equal(with_descriptors(t, 3, *words, t.id(), env={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}).good().out.split(),
          ["file0", "file1", "LISTEN_FDNAMES=a:b", "LISTEN_FDS=2", "LISTEN_PID=1"], "socket activation")
    equal(with_descriptors(t, 3, *words, "--preserve-fds", "1", t.id(), env={"LISTEN_FDS": "2"}).good().out.split(),
          ["file0", "file1", "file2", "LISTEN_FDS=2", "LISTEN_PID=1"], "with --preserve-fds")
    equal(with_descriptors(t, 3, *words, t.id(), env={"LISTEN_FDS": "2", "LISTEN_PID": "1"}).good().out, "",
          "for another process")
    t.refused(with_descriptors(t, 1, *words, t.id(), env={"LISTEN_FDS": "2"}), "descriptor 4")


class Manager:
    """The NOTIFY_SOCKET of a service manager."""

    def __init__(self, t):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(t.dir / f"manager-{t.id()}")
        self.socket.bind(self.path)
        self.socket.settimeout(10)
        self.env = {**os.environ, "NOTIFY_SOCKET": self.path}

    def receive(self):
        return self.socket.recv(4096).decode()


# busybox has no client for a datagram socket; python is bound in from the host.
NOTIFIER = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in sys.argv[1:]:
    s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
time.sleep(60)
"""


def notifier(*texts, user=0):
    return {"command": ["/usr/bin/python3", "-c", NOTIFIER, *texts], "user": user}


@test()
def notify_socket(t):
    """NOTIFY_SOCKET: start waits for READY=1 and passes it on with the MAINPID; what names processes is left out."""
    manager, name = Manager(t), t.id()
    spec = t.write("spec.json", notifier("STATUS=warming up\nMAINPID=1\nFDSTORE=1", "READY=1\nBARRIER=1", user=1000))
    t.minirun("run", "-d", "--id", name, spec, env=manager.env).good()
    pid = state(t, name)["pid"]
    equal(manager.receive(), "STATUS=warming up\n", "first message")
    equal(manager.receive(), f"MAINPID={pid}\nREADY=1\n", "second message")
    t.minirun("delete", "-f", name).good()
    # A program that ends without a word does not hold start.
    directory = bundle(t, "/bin/busybox", "true")
    name = t.id()
    t.minirun("create", "-b", directory, name, env=manager.env).good()
    t.minirun("start", name, env=manager.env).good()
    t.minirun("delete", "-f", name).good()
    # In the foreground it goes on as long as the container does.
    process = subprocess.Popen(t.command("run", "--id", t.id(), t.write("two.json", notifier("READY=1", "STOPPING=1"))),
                               env=manager.env, stdin=subprocess.DEVNULL)
    check(manager.receive().endswith("\nREADY=1\n"), "READY=1 of a foreground run")
    equal(manager.receive(), "STOPPING=1\n", "after it")
    process.kill()
    process.wait()
    wait_until(lambda: not descendants(os.getpid()), "the payload ends", 5)
    t.minirun("gc").good()


@test()
def inherited_signals(t):
    """Signals that the caller blocks or ignores are neither for the payload; closed standard descriptors are /dev/null."""
    directory = bundle(t, "/bin/busybox", "grep", "^Sig[BI]", "/proc/self/status")
    out = open(t.dir / "payload", "wb")

    def spoil():
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        for sign in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(sign, signal.SIG_IGN)

    name = t.id()
    subprocess.run(t.command("create", "-b", directory, name), preexec_fn=spoil, stdout=out, check=True, timeout=10)
    t.minirun("start", name, preexec_fn=spoil).good()
    wait_until(lambda: read(t.dir / "payload").count("\n") == 2, "output")
    equal(read(t.dir / "payload").split(), ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16], "signals of the payload")
    t.minirun("delete", "-f", name).good()
    directory = bundle(t, "/bin/busybox", "sh", "-c", "readlink /proc/$$/fd/0; sleep 100")
    for closed in ((0, 1, 2), (0,), (1, 2)):
        name = t.id()

        def close():
            for fd in closed:
                os.close(fd)

        process = subprocess.Popen(t.command("create", "-b", directory, name), preexec_fn=close, stdin=subprocess.DEVNULL)
        equal(process.wait(20), 0, f"create with {closed} closed")
        pid = state(t, name)["pid"]
        for fd in closed:
            equal(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null", f"descriptor {fd}")
        t.minirun("start", name).good()
        t.minirun("delete", "-f", name).good()


@test()
def pipes_of_another_user(t):
    """A program that is not root can open /dev/stdout on the caller's pipe; a file of the caller stays whose it was."""
    def user(config):
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
    directory = bundle(t, "/bin/busybox", "sh", "-c", "echo through >/dev/stdout; cat /dev/stdin", change=user)
    done = subprocess.run(t.command("run", "-b", directory, t.id()), input="given\n", capture_output=True, text=True,
                          timeout=20)
    equal((done.stdout, done.stderr, done.returncode), ("through\ngiven\n", "", 0), "through the pipes")
    with open(t.dir / "mine", "w+") as file:
        subprocess.run(t.command("run", "-b", directory, t.id()), stdin=file, stdout=file, timeout=20,
                       stderr=subprocess.DEVNULL)
        equal(os.fstat(file.fileno()).st_uid, 0, "owner of a file")


@test()
def hostile_passwd(t):
    """A FIFO as the container's /etc/passwd holds nothing up."""
    directory = bundle(t)
    os.mkfifo(t.dir / "busybox/etc/passwd")
    name = t.id()
    t.minirun("create", "-b", directory, name, timeout=5).good()
    t.minirun("start", name, timeout=5).good()
    t.minirun("delete", "-f", name).good()


# ---------------------------------------------------------------- state that is broken


@test()
def broken_state(t):
    """Whatever is cut off or written into the state files: nothing crashes, and `delete -f` kills and removes."""
    for file in ("record.json", "init.json"):
        for content in (b"", b"{", b"\0" * 100, None):
            name = created(t)
            t.minirun("start", name).good()
            path = t.root / name / file
            before = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
            replace_state(path, before[:-5] if content is None else content)
            check(t.minirun("state", name).status in (0, 1), "status of state")
            t.minirun("list").good()
            t.minirun("delete", "-f", name).good()
            equal(descendants(os.getpid()), [], f"processes after {file} = {content!r}")
            check(not (t.root / name).exists(), "the directory is still there")


@test()
def reboot_and_reused_pid(t):
    """A container of an earlier boot, and one whose pid is somebody else's by now, are stopped; nobody else is hurt."""
    other = subprocess.Popen(["sleep", "100"])
    try:
        # A pid is not reused within the clock tick (10 ms) by which the kernel tells start times.
        wait_until(lambda: start_time(other.pid) < ticks_now(), "the next clock tick")
        name = created(t)
        record, init = t.root / name / "record.json", t.root / name / "init.json"
        old = json.loads(os.readlink(init))
        # The pid of another process: the start time does not match.
        replace_state(init, json.dumps({**old, "pid": other.pid}).encode())
        equal(state(t, name)["status"], "stopped", "with a reused pid")
        t.refused(t.minirun("kill", name, "KILL"), "not running", status=1)
        replace_state(init, json.dumps(old).encode())
        equal(state(t, name)["status"], "created", "with its own pid")
        text = read(record)
        line, document = text.split("\n", 1)
        changed = json.dumps({**json.loads(line), "bootId": "00000000-0000-0000-0000-000000000000"})
        record.write_text(f"{changed}\n{document}")
        equal(state(t, name)["status"], "stopped", "of an earlier boot")
        t.refused(t.minirun("start", name), "has stopped", status=1)
        record.write_text(text)
        t.minirun("delete", "-f", name).good()
        equal(other.poll(), None, "the other process")
    finally:
        other.kill()
        other.wait()


@test()
def full_and_out_of_descriptors(t):
    """A full state directory and too few descriptors are clear errors that leave nothing."""
    full = t.dir / "full"
    full.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", full], check=True)
    try:
        subprocess.run(["dd", "if=/dev/zero", f"of={full}/ballast", "bs=4k"], stderr=subprocess.DEVNULL, check=False)
        result = t.minirun("--root", full, "create", "-b", bundle(t), t.id())
        t.refused(result, "No space left", status=1)
        equal(os.listdir(full), ["ballast"], "the state directory")
    finally:
        subprocess.run(["umount", full], check=True)
    directory = bundle(t)
    for limit in range(3, 26):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        name = t.id()
        result = t.minirun("create", "-b", directory, name, preexec_fn=lower)
        check(result.status in (0, 1, 125, 127), f"status {result.status} with {limit} descriptors")
        if result.status == 0:
            t.minirun("delete", name).good()
        else:
            check(len(result.err.splitlines()) == 1, result.err)
        equal(descendants(os.getpid()), [], f"processes with {limit} descriptors")
    equal(t.minirun("list", "-q").good().out, "", "containers")


@test()
def readonly_root_with_new_targets(t):
    """A file and a directory that a bind mount's target needs are made in the image, and the root is read-only all the same."""
    def change(config):
        config["root"]["readonly"] = True
        for name in ("file", "directory"):
            source = t.dir / name
            source.touch() if name == "file" else source.mkdir(exist_ok=True)
            config["mounts"].append({"destination": f"/etc/new-{name}", "source": str(source), "options": ["bind"]})
    script = "test -f /etc/new-file && test -d /etc/new-directory && ! touch /x"
    made = bundle(t, "/bin/busybox", "sh", "-c", script, change=change)
    done = t.minirun("run", "--bundle", made, t.id()).good()
    check("Read-only" in done.err, f"touch: {done.err!r}")
    equal(oct((t.dir / "busybox/etc/new-file").stat().st_mode), "0o100644", "mode of the new file")


@test()
def without_masks(t):
    """A bundle with neither masked nor read-only paths runs, as that of a privileged container."""
    def change(config):
        config["linux"].pop("maskedPaths", None)
        config["linux"].pop("readonlyPaths", None)
    t.minirun("run", "--bundle", bundle(t, "/bin/busybox", "true", change=change), t.id()).good()
