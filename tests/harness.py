"""What every integration test uses. Owns: the table of tests, one process with a time limit for each, the fingerprint of
the machine before and after it, and the ways to call minirun. Must not: know any single test.

A test is a function `name(t)` with @test; its docstring names the promise that it shows. It passes by returning, and
fails by an exception. After each one the harness itself checks that nothing is left: no process, mount, cgroup,
interface or file of the state directory.
"""

import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
MINIRUN = os.environ.get("MINIRUN", str(REPOSITORY / "build/minirun"))
CACHE = REPOSITORY / "build/test"

# The VM is emulated: the limits of time that are meant for a machine hold there three times as long.
SLOW = 3 if "--vm" in sys.argv else 1

PR_SET_CHILD_SUBREAPER, CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_SHARED = 36, 0x20000, 0x4000, 1 << 18, 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The reason why a test cannot run on this machine. It then has to run in the VM."""


class Failure(Exception):
    """What a test found, in one line."""


TESTS = {}


def test(limit=60, vm=False, both=False):
    """Registers a test. limit: seconds; vm: it is one of the VM only, whatever this machine has; both: `make test` runs it
    in the VM as well as here, because what it shows goes other ways on the older kernel there."""

    def register(function):
        assert function.__doc__, f"{function.__name__} does not say what it shows"
        assert function.__name__ not in TESTS, f"{function.__name__} exists twice"
        TESTS[function.__name__] = {"function": function, "limit": limit, "vm": vm, "both": both}
        return function

    return register


# ---------------------------------------------------------------- the machine


def read(path):
    return pathlib.Path(path).read_text()


def replace_state(path, content):
    """Another content for init.json of a container, which is the target of a link; what none can be becomes a file."""
    os.remove(path)
    if 0 < len(content) < 4096 and b"\0" not in content:
        os.symlink(content, os.fsencode(path))
    else:
        pathlib.Path(path).write_bytes(content)


def cgroup_mount():
    """Where cgroup2 is mounted."""
    for line in read("/proc/self/mountinfo").splitlines():
        before, after = line.split(" - ", 1)
        if after.split()[0] == "cgroup2":
            return pathlib.Path(before.split()[4])
    raise Skip("no cgroup2 mount")


def needs(*controllers):
    """Skips where the cgroup2 tree cannot limit these."""
    have = read(cgroup_mount() / "cgroup.controllers").split()
    missing = [c for c in controllers if c not in have]
    if missing:
        raise Skip(f"the cgroup2 tree of this machine lacks {' '.join(missing)}")


def flat(text):
    """"key value" lines as a dict."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


def parent_of(pid):
    """The parent of a process, 0 when it is gone or a zombie."""
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[1])


def descendants(pid):
    """Live processes below `pid`. Those of a detached container are too: each test process is a subreaper."""
    parents = {int(entry): parent_of(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


def command_line(pid):
    try:
        return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def reap():
    """Collects what became a child of ours by the end of its parent."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def settle(limit=5):
    """Waits for processes below us that are past the end of their memory and of their cgroup, but no zombies yet: whoever
    waited for the cgroup to be empty saw their end, and here they can still be seen for a moment."""
    end = time.monotonic() + limit
    while any(command_line(pid) == "" for pid in descendants(os.getpid())) and time.monotonic() < end:
        reap()
        time.sleep(0.01)
    reap()


def mounts():
    """The mounts of this process, without ids."""
    return sorted(" ".join(line.split()[3:]) for line in read("/proc/self/mountinfo").splitlines())


def cgroups(marker):
    """The cgroups of this test by their names; all of them when the machine is ours alone."""
    try:
        top = cgroup_mount()
    except Skip:
        return []
    paths = [path for path, _, _ in os.walk(top)]
    return sorted(p for p in paths if not marker or marker in p)


def files_below(directory):
    return sorted(os.path.join(path, name) for path, dirs, names in os.walk(directory) for name in dirs + names)


class Fingerprint:
    """What of a test could be left behind on this machine."""

    def __init__(self, t):
        self.parts = {
            "process": [f"{pid} ({command_line(pid)})" for pid in descendants(os.getpid())],
            "mount": mounts(),
            "cgroup": cgroups("" if t.alone else t.marker),
            "interface": sorted(os.listdir("/sys/class/net")),
            # The cache of compiled seccomp programs is meant to stay.
            "state": [f for f in files_below(t.root) if "/@seccomp" not in f],
            "run": [f for f in files_below("/run/minirun") if t.marker in f],
            "descriptor": sorted(os.listdir("/proc/self/fd"))[:-1],
        }

    def difference(self, after):
        """Findings like "cgroup /x is left"; [] when both are the same."""
        words = []
        for part, old in self.parts.items():
            new = after.parts[part]
            words += [f"{part} {x} is left" for x in new if x not in old]
            words += [f"{part} {x} is gone" for x in old if x not in new]
        return words


# ---------------------------------------------------------------- what a test is given


class T:
    """The tools of one test, and its own names: directory, state directory, marker in the ids."""

    def __init__(self, name, alone):
        self.alone = alone
        self.marker = f"t{os.getpid()}x{int(time.time()) % 100000}"
        # Below /tmp in the VM, where it is a file system of its own.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"minirun-{name}."))
        self.root = self.dir / "state"
        self.root.mkdir(mode=0o700)
        self.count = 0

    def id(self):
        self.count += 1
        return f"{self.marker}-{self.count}"

    def write(self, name, content, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(mode)
        return path

    def command(self, *words):
        return [MINIRUN, "--root", str(self.root), *map(str, words)]

    def minirun(self, *words, input=None, timeout=30, **more):
        """Runs minirun to its end. The result has status (128+n for a signal), out and err."""
        more.setdefault("stdin", None if input is not None else subprocess.DEVNULL)
        if input is not None:
            more.pop("stdin")
        try:
            # Files, because a detached payload would keep a pipe open.
            with open(self.dir / "out", "w+b") as out, open(self.dir / "err", "w+b") as err:
                done = subprocess.run(self.command(*words), stdout=out, stderr=err, timeout=timeout * SLOW, check=False,
                                      input=input.encode() if isinstance(input, str) else input, **more)
                done.stdout, done.stderr = [os.pread(file.fileno(), 1 << 30, 0) for file in (out, err)]
        except subprocess.TimeoutExpired as late:
            raise Failure(f"minirun {' '.join(map(str, words))} did not end within {timeout * SLOW} s: "
                          f"{read(self.dir / 'err')[-300:]!r}") from late
        result = Result(done.returncode if done.returncode >= 0 else 128 - done.returncode,
                        done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        print(f"$ minirun {' '.join(map(str, words))}\n{result.out}{result.err}[{result.status}]")
        return result

    def run(self, spec, *words, options=(), **more):
        """`minirun run`: spec is a dict (short form or OCI) or a path; words replace the command."""
        if isinstance(spec, dict):
            spec = self.write(f"spec-{self.id()}.json", spec)
        if "--id" not in options:
            options = ["--id", self.id(), *options]
        return self.minirun("run", *options, spec, *(["--", *words] if words else []), **more)

    def sh(self, script, spec=None, options=(), **more):
        """A shell script in a container of the short form, which `spec` adds to."""
        return self.run({"command": ["sh", "-c", script], **(spec or {})}, options=options, **more)

    def report(self, spec, options=(), **more):
        """A run and its report."""
        path = self.dir / f"report-{self.id()}.json"
        result = self.run(spec, options=["--report", str(path), *options], **more)
        if not path.exists():
            raise Failure(f"no report was written: {result.err.strip()}")
        result.report = json.loads(path.read_text())
        return result

    def bundle(self, rootfs, change=None):
        """An OCI bundle around `rootfs`, with the config.json of `minirun spec`."""
        directory = self.dir / f"bundle-{self.id()}"
        directory.mkdir()
        made = self.minirun("spec", "--bundle", directory)
        equal(made.status, 0, "status of minirun spec")
        config = json.loads((directory / "config.json").read_text())
        config["root"]["path"] = str(rootfs)
        config["process"]["terminal"] = False
        if change:
            change(config)
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    def refused(self, result, *words, status=125, lines=1):
        """minirun refused: `lines` findings, which say all the words, and this exit status."""
        equal(result.status, status, "exit status")
        found = result.err.splitlines()
        equal(len(found), lines, f"lines on standard error ({result.err.strip()!r})")
        for line in found:
            check(line.startswith("minirun: error: "), f"not an error of minirun: {line!r}")
        for word in words:
            check(word in result.err, f"{word!r} is not in {result.err.strip()!r}")
        equal(result.out, "", "standard output")


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err, self.report = status, out, err, None

    def good(self, status=0):
        equal(self.status, status, f"exit status (standard error: {self.err.strip()[-400:]!r})")
        return self


def check(condition, why):
    if not condition:
        raise Failure(why)


def equal(found, expected, what):
    if found != expected:
        raise Failure(f"{what}: {found!r} instead of {expected!r}")


def within(found, low, high, what):
    print(f"# {what}: {found}")
    if not low <= found <= high:
        raise Failure(f"{what}: {found} is not within {low} .. {high}")


def wait_until(condition, what, limit=20):
    """Polls, because what is waited for happens outside of anything that we could read from."""
    end = time.monotonic() + limit * SLOW
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {limit * SLOW} s")
        time.sleep(0.02)


# ---------------------------------------------------------------- running tests


def own_mounts():
    """A mount namespace in which `/` is shared, as systemd leaves it, but with nobody outside: what a container would
    leak is seen here, and what others do on this machine is not."""
    for call in (lambda: libc.unshare(CLONE_NEWNS),
                 lambda: libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None),
                 lambda: libc.mount(None, b"/", None, MS_REC | MS_SHARED, None)):
        if call() != 0:
            raise OSError(ctypes.get_errno(), "a mount namespace for the test")


def body(name, alone):
    """One test, in a process of its own: ("ok" | "skip" | "FAIL", why)."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    t = None
    try:
        own_mounts()
        t = T(name, alone)
        before = Fingerprint(t)
        TESTS[name]["function"](t)
        settle()
        left = before.difference(Fingerprint(t))
        return ("FAIL", "; ".join(left)) if left else ("ok", "")
    except Skip as reason:
        return "skip", str(reason)
    except Failure as why:
        traceback.print_exc()
        return "FAIL", str(why)[:2000]  # the pipe to our parent takes 64 KiB
    except Exception as error:  # a test that is wrong must not end the others
        traceback.print_exc()
        return "FAIL", f"{type(error).__name__}: {error}"
    finally:
        if t:
            clean(t)


def clean(t):
    """After a failure: nothing of this test may disturb the next one."""
    kill_below(os.getpid())
    if os.listdir(t.root):
        subprocess.run(t.command("gc"), stdin=subprocess.DEVNULL, timeout=20, check=False)
    shutil.rmtree(t.dir, ignore_errors=True)


def kill_below(pid):
    for _ in range(20):
        below = descendants(pid)
        if not below:
            return
        for child in below:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if pid == os.getpid():
            reap()
        time.sleep(0.05)


def run_one(name, alone, log):
    """Runs a test within its limit. (state, why, seconds)"""
    start = time.monotonic()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(reader)
        with open(log, "wb") as out:
            for fd in (1, 2):
                os.dup2(out.fileno(), fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        outcome = body(name, alone)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writer, json.dumps(outcome).encode())
        os._exit(0)
    os.close(writer)
    limit = TESTS[name]["limit"] * SLOW
    ready, _, _ = select.select([reader], [], [], limit)
    outcome = os.read(reader, 65536) if ready else b""
    os.close(reader)
    if not ready:
        kill_below(pid)
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kill_below(os.getpid())
    seconds = time.monotonic() - start
    if outcome:
        return *json.loads(outcome), seconds
    return "FAIL", f"took more than {limit} s" if not ready else "its process died", seconds


def line(state, name, why, seconds):
    why = " ".join(why.split())
    if state == "ok":
        return f"ok {name}" + (f"  # {seconds:.1f} s" if seconds >= 5 else "")
    return f"{state} {name}: {why}"


def main(argv):
    """[--vm] [--list] [NAME...]; --vm: this is the VM, where a test finds the machine to itself."""
    alone = "--vm" in argv
    names = [word for word in argv if not word.startswith("-")]
    unknown = [name for name in names if name not in TESTS]
    if unknown:
        print(f"no such test: {' '.join(unknown)}", file=sys.stderr)
        return 2
    if "--list" in argv:
        for name, entry in TESTS.items():
            print(f"{name}{' (vm)' if entry['vm'] else ' (both)' if entry['both'] else ''}")
        return 0
    logs = pathlib.Path(os.environ.get("TEST_LOGS", CACHE / "logs"))
    logs.mkdir(parents=True, exist_ok=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    failed = 0
    for name in names or TESTS:
        if TESTS[name]["vm"] and not alone:
            print(line("skip", name, "belongs to the VM", 0), flush=True)
            continue
        log = logs / f"{name}.log"
        state, why, seconds = run_one(name, alone, log)
        print(line(state, name, why, seconds), flush=True)
        if state == "FAIL":
            failed += 1
            for text in log.read_text(errors="replace").splitlines()[-40:]:
                print(f"    {text}", flush=True)
    return 1 if failed else 0
