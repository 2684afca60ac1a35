"""What the attack tests stand on: a private copy of the binary, canaries, bundles, fingerprints.

Nothing here is aimed at a live knob of the host: attacks go against canary files, a copy of
minirun, and namespaces made for the test. Each test is framed by a fingerprint of the host.
"""
import copy
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
LIMIT = float(os.environ.get("SECURITY_LIMIT", "20"))  # seconds for one command


class Failed(Exception):
    """The attack succeeded, or minirun misbehaved."""


class Skipped(Exception):
    """This host cannot show it; the reason says what is missing."""


def check(condition, why):
    if not condition:
        raise Failed(why)


class Answer:
    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def json(self):
        for line in self.out.splitlines():
            if line.startswith("{"):
                return json.loads(line)
        raise Failed(f"no answer from inside: status {self.status}: {self.tail()}")

    def rows(self):
        """Lines "name word word" as a dictionary of lists."""
        return {w[0]: w[1:] for w in (line.split() for line in self.out.splitlines()) if w}

    def tail(self):
        return (self.err.strip() or self.out.strip())[-300:]


class Lab:
    """A folder of its own with everything that the tests need."""

    def __init__(self, binary):
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix="minirun-security-"))
        os.chmod(self.dir, 0o711)
        self.binary = os.path.join(self.dir, "minirun")
        shutil.copy2(binary, self.binary)
        self.state = os.path.join(self.dir, "state")
        self.probe = os.path.join(self.dir, "probe")
        subprocess.run(["gcc", "-static", "-O1", "-w", "-o", self.probe,
                        os.path.join(HERE, "probe.c")], check=True, timeout=120)
        self.canary = os.path.join(self.dir, "canary")
        self.count = 0
        self.children = []
        self.ids = []
        template = os.path.join(self.dir, "template")
        os.mkdir(template)
        made = self.minirun("spec", "-b", template)
        check(made.status == 0, "minirun spec: " + made.err)
        with open(os.path.join(template, "config.json"), encoding="utf-8") as file:
            self.template = json.load(file)
        self.reset_canary()

    def reset_canary(self):
        shutil.rmtree(self.canary, ignore_errors=True)
        os.makedirs(os.path.join(self.canary, "folder"))
        for name in ("file", "folder/inner", "minirun-canary"):
            with open(os.path.join(self.canary, name), "w", encoding="utf-8") as file:
                file.write("untouched\n")

    # ---- running

    def command(self, argv, limit=None, caller=None, **how):
        """Runs `argv`; `caller` are words for the probe that spoils the caller's state first."""
        if caller is not None:
            argv = [self.probe, "caller", *caller.split(), "--", *argv]
        how.setdefault("stdin", subprocess.DEVNULL)
        how.setdefault("stdout", subprocess.PIPE)
        how.setdefault("stderr", subprocess.PIPE)
        begin = time.monotonic()
        child = subprocess.Popen(argv, start_new_session=True, text=True, errors="replace", **how)
        try:
            out, err = child.communicate(timeout=limit or LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise Failed(f"hangs: {' '.join(argv[-4:])} did not end in {limit or LIMIT} s") from None
        return Answer(child.returncode, out or "", err or "", time.monotonic() - begin)

    def minirun(self, *words, **how):
        return self.command([how.pop("binary", self.binary), "--root", self.state, *words], **how)

    def new_id(self):
        self.count += 1
        self.ids.append(f"atk-{os.getpid()}-{self.count}")
        return self.ids[-1]

    def config(self, *args, **process):
        config = copy.deepcopy(self.template)
        config["process"].update(terminal=False, args=["/probe", *args], **process)
        config["root"]["readonly"] = False
        config["linux"].pop("resources", None)
        return config

    def rootfs(self):
        self.count += 1
        root = os.path.join(self.dir, f"bundle{self.count}", "rootfs")
        for name in ("proc", "sys", "dev", "tmp", "etc", "bin", "vol"):
            os.makedirs(os.path.join(root, name))
        os.chmod(os.path.join(root, "tmp"), 0o1777)
        try:
            os.link(self.probe, os.path.join(root, "probe"))
        except OSError:
            shutil.copy2(self.probe, os.path.join(root, "probe"))
        return root

    def bundle(self, config, root=None):
        root = root or self.rootfs()
        folder = os.path.dirname(root)
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        return folder

    def run(self, config, root=None, words=(), **how):
        """One foreground run of an OCI configuration."""
        return self.minirun("run", "--id", self.new_id(), *words, self.bundle(config, root), **how)

    def start(self, config, root=None, words=(), **how):
        """`run -d` of an OCI configuration, or of the spec file at a path; the id, or Failed.
        What the program writes goes to a file, since it would hold a pipe open."""
        name = self.new_id()
        spec = config if isinstance(config, str) else self.bundle(config, root)
        with open(os.path.join(self.dir, name + ".log"), "w", encoding="utf-8") as out, \
             open(os.path.join(self.dir, name + ".err"), "w", encoding="utf-8") as err:
            answer = self.minirun("run", "-d", "--id", name, *words, spec, stdout=out, stderr=err,
                                  **how)
        check(answer.status == 0, "run -d: " + read(os.path.join(self.dir, name + ".err")))
        return name

    def log(self, name):
        with open(os.path.join(self.dir, name + ".log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, name, word, limit=10):
        end = time.monotonic() + limit
        while word not in self.log(name):
            if time.monotonic() > end:
                raise Failed(f"{name} did not print {word!r}: {self.log(name)[-200:]!r}")
            time.sleep(0.01)

    def exec(self, name, *words, options=(), **how):
        return self.minirun("exec", *options, name, *words, **how)

    def delete(self, name):
        return self.minirun("delete", "-f", name)

    # ---- what the host looks like

    def fingerprint(self):
        print_of = {"core_pattern": read("/proc/sys/kernel/core_pattern"),
                    "mounts": read("/proc/self/mountinfo"),
                    "canary": tree(self.canary),
                    "binary": digest(self.binary),
                    "hostname": os.uname().nodename,
                    "cgroups": [path for path in cgroup_tree() if "/atk-" in path],
                    "state": sorted(n for n in names(self.state) if n.startswith("atk-"))}
        return print_of

    def clean(self):
        for name in [n for n in names(self.state) if n.startswith("atk-")]:
            self.delete(name)

    def close(self):
        self.clean()
        shutil.rmtree(self.dir, ignore_errors=True)


def names(folder):
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def tree(top):
    """Names, modes, owners and contents below `top`."""
    rows = []
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            what = digest(path) if stat.S_ISREG(info.st_mode) else ""
            rows.append((os.path.relpath(path, top), oct(info.st_mode), info.st_uid, info.st_gid,
                         info.st_rdev, what))
    return sorted(rows)


def cgroup2_mount():
    for line in read("/proc/self/mountinfo").splitlines():
        left, right = line.split(" - ", 1)
        if right.split()[0] == "cgroup2":
            return left.split()[4]
    return None


def cgroup_tree():
    top = cgroup2_mount()
    paths = []
    if top:
        for folder, folders, _ in os.walk(os.path.join(top, "minirun")):
            paths.extend(os.path.join(folder, name) for name in folders)
    return sorted(paths)


def differences(before, after):
    return [key for key in before if before[key] != after[key]]
