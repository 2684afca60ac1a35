"""The world of the fault loops: namespaces of their own, in which everything that exists is ours, so
that "nothing is left" is an exact comparison and no neighbour on the machine can disturb it.

Owns: the isolation, starting minirun in it, the picture of what exists and the difference of two.
Must not: touch a mount, cgroup, process or interface of the host.
"""
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x2000000, 0x40000000, 0x20000000
MS_REC, MS_PRIVATE, MS_SHARED, MNT_DETACH = 0x4000, 1 << 18, 1 << 20, 2
PR_SET_PDEATHSIG = 1
CGROUP = "/sys/fs/cgroup"
WORK = "/tmp/work"
STATE = WORK + "/state"
MINIRUN = "/tmp/minirun"
ID = f"faults-{os.getpid()}"  # of every container; keyrings are seen across the machine
DEATH_SECONDS = 1.0  # a container that is not committed is dead this long after its minirun
HANG_SECONDS = 20.0  # the harness gives up; the errno loop has its own, shorter limit


class Skip(Exception):
    """The host cannot show it; the words say why."""


class Failure(Exception):
    """What was promised does not hold."""


def checked(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source, target, kind, flags=0, data=None):
    checked(LIBC.mount(source.encode(), target.encode(), kind and kind.encode(),
                       ctypes.c_ulong(flags), data and data.encode()), f"mount {target}")


def cgroup2_mount():
    with open("/proc/self/mountinfo") as text:
        for line in text:
            before, after = line.split(" - ")
            if after.startswith("cgroup2 "):
                return before.split()[4]
    raise Skip("no cgroup2 file system is mounted")


def remove_cgroups(path):
    """Everything below and including `path`; only ever called with a directory that we made."""
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            pass


def isolated(binary, body):
    """Runs body() as pid 1 of namespaces of our own, in a cgroup of our own. Returns its status."""
    top = cgroup2_mount()
    for name in os.listdir(top):  # of a run that was itself killed
        pid = name.removeprefix("minirun-faults-")
        if pid != name and not os.path.exists("/proc/" + pid):
            remove_cgroups(f"{top}/{name}")
    cgroup = f"{top}/minirun-faults-{os.getpid()}"
    try:
        os.mkdir(cgroup)
    except OSError as error:
        raise Skip(f"{cgroup}: {error.strerror}") from None
    offer_controllers(top)
    keeper = os.fork()
    if keeper == 0:
        status = 125
        try:
            status = enter(cgroup, binary, body)
        except BaseException as error:  # the exit below must come whatever happened
            print(f"tests/faults: {error!r}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(status)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(keeper, signal.SIGKILL))
    signal.signal(signal.SIGINT, lambda *_: os.kill(keeper, signal.SIGKILL))
    _, status = os.waitpid(keeper, 0)
    with open(cgroup + "/cgroup.kill", "w") as file:
        file.write("1")
    for _ in range(500):
        remove_cgroups(cgroup)
        if not os.path.isdir(cgroup):
            break
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(status)


def offer_controllers(top):
    """As `minirun run` would itself, were it not in a cgroup namespace. None on a hybrid host."""
    with open(top + "/cgroup.controllers") as file:
        names = {"cpu", "memory", "pids", "io", "cpuset"} & set(file.read().split())
    for name in names:
        try:
            with open(top + "/cgroup.subtree_control", "w") as file:
                file.write("+" + name)
        except OSError:
            pass  # a plan that needs it is then skipped, with the words of minirun


def enter(cgroup, binary, body):
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with open("/proc/self/cgroup") as file:
        home = next(line[3:].strip() for line in file if line.startswith("0::"))
    procs = [f"{os.path.dirname(cgroup)}{home}/cgroup.procs", cgroup + "/cgroup.procs"]
    # The namespace keeps the cgroup in which it was made as its root; nobody may stay in that, for
    # else its controllers could not be enabled.
    with open(procs[1], "w") as file:
        file.write("0")
    checked(LIBC.unshare(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_NEWPID), "unshare")
    with open(procs[0], "w") as file:
        file.write("0")
    first = os.fork()
    if first == 0:
        status = 125
        try:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            furnish(binary)
            status = body()
        except Skip as skip:
            print(f"skip faults: {skip}")
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(first, 0)
    return os.waitstatus_to_exitcode(status)


def furnish(binary):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a new process may get one before its exec
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    held = os.open(binary, os.O_RDONLY)
    while LIBC.umount2(CGROUP.encode(), MNT_DETACH) == 0:
        pass
    try:
        mount("none", CGROUP, "cgroup2")
        os.mkdir(CGROUP + "/tests")
    except OSError as error:
        raise Skip(f"cgroup2 in a cgroup namespace: {error.strerror}") from None
    with open(CGROUP + "/tests/cgroup.procs", "w") as file:
        file.write("0")
    mount("proc", "/proc", "proc")
    for path in ("/tmp", "/run", "/dev/shm"):
        mount("tmpfs", path, "tmpfs")
    # Shared, as on a host with systemd: what a container mounts must not come back to us.
    mount("none", "/", None, MS_REC | MS_SHARED)
    with os.fdopen(held, "rb") as source, open(MINIRUN, "wb") as target:
        shutil.copyfileobj(source, target)
    os.chmod(MINIRUN, 0o755)
    os.mkdir(WORK)
    os.chdir(WORK)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes():
    """Every live process but us: in our pid namespace there is nobody else's."""
    return [int(name) for name in os.listdir("/proc")
            if name.isdigit() and name != "1" and alive(name)]


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ").strip()
    except OSError:
        return "?"


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def tree(path):
    found = set()
    for directory, folders, files in os.walk(path):
        found.update(os.path.join(directory, name) for name in folders + files)
    return found


def keyrings():
    with open("/proc/keys") as file:
        return {line.split()[0] for line in file if "_ses." + ID in line}


def expect_no_rules():
    """Our network namespace has no table of nftables: nobody but minirun makes one here."""
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout:
        raise Failure(f"nft list tables: {done.stdout or done.stderr!r}")


def picture():
    """All that a container could leave, but its processes."""
    with open("/proc/self/mountinfo") as file:
        mounts = set(file.read().splitlines())
    with open("/proc/net/dev") as file:
        links = {line.split(":")[0].strip() for line in file if ":" in line}
    cgroups = {directory for directory, _, _ in os.walk(CGROUP)}
    files = tree("/tmp") | tree("/run") | tree("/dev/shm")
    return {"mount": mounts, "interface": links, "cgroup": cgroups, "file": files}


class World:
    def __init__(self):
        self.before = None
        self.old_keys = keyrings()
        self.keys_before = len(self.old_keys)

    def settle(self):
        """What exists now, is there to stay."""
        reap()
        self.before = picture()

    def dead(self, seconds=DEATH_SECONDS, spare=()):
        """Waits until nothing lives but `spare`. What still lives after that: a list of words."""
        deadline = time.monotonic() + seconds
        while True:
            reap()
            living = [pid for pid in processes() if pid not in spare]
            if not living or time.monotonic() > deadline:
                return [f"process {pid} ({command_line(pid)})" for pid in living]
            time.sleep(0.002)

    def left(self):
        """What is there that was not there at settle(), or the other way round."""
        now = picture()
        words = []
        for kind, old in self.before.items():
            words += [f"{kind} {name}" for name in sorted(now[kind] - old)]
            words += [f"{kind} {name} (gone)" for name in sorted(old - now[kind])]
        return words

    def expect_nothing(self, when, seconds=DEATH_SECONDS):
        words = self.dead(seconds) + self.left()
        if words:
            raise Failure(f"{when} there is still " + "; ".join(words[:4]))

    def expect_no_keyrings(self):
        # A key goes when the collector of the kernel comes by, so this is looked at once per loop.
        deadline = time.monotonic() + 5
        new = keyrings() - self.old_keys
        while new and time.monotonic() < deadline:
            time.sleep(0.05)
            new = keyrings() - self.old_keys
        if new:
            raise Failure(f"{len(new)} session keyrings are left")

    def clear(self):
        """After a failure: so that the next case is about itself."""
        for pid in processes():
            try:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.dead(5)
        minirun("network", "gc")
        for name in os.listdir(STATE) if os.path.isdir(STATE) else []:
            if os.path.join(STATE, name) not in self.before["file"]:
                shutil.rmtree(os.path.join(STATE, name), ignore_errors=True)
        for path in sorted(picture()["cgroup"] - self.before["cgroup"], reverse=True):
            try:
                with open(path + "/cgroup.freeze", "w") as file:
                    file.write("0")
                os.rmdir(path)
            except OSError:
                pass


class Output:
    """Standard output and error of a process, in memory: nobody can block on them."""

    def __init__(self):
        self.fds = [os.memfd_create("out"), os.memfd_create("err")]

    def read(self):
        texts = []
        for fd in self.fds:
            texts.append(os.pread(fd, 1 << 20, 0).decode(errors="replace"))
            os.close(fd)
        return texts


class Result:
    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def words(self):
        return f"status {self.status}, said {self.err.strip()!r}"


def command(*words):
    return [MINIRUN, "--root", STATE, *words]


def child(argv, environment, output, stdin=None, terminal=False, before_exec=None):
    """In the new process: descriptors, then exec. Never returns."""
    try:
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPIPE):
            signal.signal(sig, signal.SIG_DFL)
        if terminal:
            os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY) if stdin is None else stdin, 0)
        if terminal:
            import fcntl
            import termios
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.dup2(output.fds[0], 1)
        os.dup2(output.fds[1], 2)
        if before_exec:
            before_exec()
        os.execve(argv[0], argv, {"PATH": "/usr/bin:/bin", **environment})
    except BaseException as error:  # nobody else can tell
        os.write(2, f"harness: {error!r}\n".encode())
    os._exit(99)


class Started:
    """A minirun that runs; wait() collects it."""

    def __init__(self, argv, environment=None, **options):
        self.output = Output()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            child(argv, environment or {}, self.output, **options)
        self.pidfd = os.pidfd_open(self.pid)

    def signal(self, number):
        signal.pidfd_send_signal(self.pidfd, number)

    def wait(self, seconds=HANG_SECONDS):
        if not select.select([self.pidfd], [], [], seconds)[0]:
            where = "?"
            try:
                where = open(f"/proc/{self.pid}/wchan").read()
            except OSError:
                pass
            self.signal(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.pidfd)
            _, err = self.output.read()
            raise Failure(f"minirun hangs after {seconds:.0f} s in {where}, said {err.strip()!r}")
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return Result(os.waitstatus_to_exitcode(status), *self.output.read(),
                      time.monotonic() - self.began)


def minirun(*words, environment=None, seconds=HANG_SECONDS, **options):
    return Started(command(*words), environment, **options).wait(seconds)


def good(result, what):
    if result.status != 0:
        raise Failure(f"{what}: {result.words()}")
    return result


def listed(container):
    """Its entry in `minirun list`, or None."""
    found = json.loads(good(minirun("list", "--format", "json"), "list").out)
    for entry in found:
        if entry["id"] == container:
            return entry
    return None
