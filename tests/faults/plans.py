"""The containers that the loops start. Each plan takes another way through the code: overlay or
directory as root, user namespace, terminal, a second fork, many objects, detached, limits."""
import json
import os
import shutil

import world

ROOTFS = world.WORK + "/rootfs"


class Plan:
    def __init__(self, name, spec, *options, terminal=False, create=False, network=False):
        self.name, self.spec, self.options, self.terminal = name, spec, list(options), terminal
        self.create = create  # `minirun create` of the bundle `spec`, which then needs a `start`
        self.network = network  # makes a bridge, which stays until `network gc`

    @property
    def detached(self):
        return "-d" in self.options or self.create

    @property
    def failure(self):
        """The exit status of minirun's own failure."""
        return 1 if self.create else 125

    def words(self, container=None):
        if self.create:
            return ["create", "--bundle", self.spec, *self.options, container or world.ID]
        return ["run", "--id", container or world.ID, *self.options, self.spec]


def write(name, content):
    path = f"{world.WORK}/{name}.json"
    with open(path, "w") as file:
        json.dump(content, file)
    return path


def busybox():
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.access(path, os.X_OK):
            return path
    raise world.Skip("busybox is not installed")


def make_rootfs():
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "run", "mnt"):
        os.makedirs(f"{ROOTFS}/{name}", exist_ok=True)
    shutil.copy(busybox(), ROOTFS + "/bin/busybox")
    for name in ("sh", "true", "sleep", "echo", "cat"):
        os.symlink("busybox", f"{ROOTFS}/bin/{name}")
    for index in range(12):
        os.makedirs(f"{ROOTFS}/mnt/{index}", exist_ok=True)


def bundle(name, change):
    """A bundle of `minirun spec`, changed."""
    directory = f"{world.WORK}/{name}"
    os.mkdir(directory)
    world.good(world.minirun("spec", "--bundle", directory), "spec")
    with open(directory + "/config.json") as file:
        spec = json.load(file)
    spec["root"]["path"] = ROOTFS
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["/bin/true"]
    change(spec)
    with open(directory + "/config.json", "w") as file:
        json.dump(spec, file)
    return directory


def many(spec):
    for index in range(6):
        spec["mounts"].append({"destination": f"/mnt/{index}", "type": "tmpfs", "source": "tmpfs",
                               "options": ["nosuid", "size=64k", "mode=700"]})
    for index in range(6, 10):
        spec["mounts"].append({"destination": f"/mnt/{index}", "type": "bind", "source": "/etc",
                               "options": ["rbind", "ro", "rslave"]})
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                                  {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                                  {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60}]
    spec["process"]["oomScoreAdj"] = 500
    spec["process"]["noNewPrivileges"] = True
    spec["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 6]}
    spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65535",
                               "net.ipv4.ping_group_range": "0 0"}
    spec["domainname"] = "example"


def clock(spec):
    spec["linux"]["namespaces"].append({"type": "time"})
    spec["linux"]["timeOffsets"] = {"monotonic": {"secs": 100, "nanosecs": 0}}


def console(spec):
    spec["process"]["terminal"] = True


def hooks(spec):
    """All six kinds; startContainer needs a program of the container."""
    sleeps(spec)
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    spec["hooks"] = {kind: [{"path": "/bin/true"}] for kind in kinds}


def short_hooks(spec):
    hooks(spec)
    spec["process"]["args"] = ["/bin/true"]


USERNS = {"command": ["true"], "userns": {"uid": ["0:100000:65536"], "gid": ["0:100000:65536"]}}
LIMITS = {"command": ["true"],
          "resources": {"limits": {"cpu": "500m", "memory": "64Mi", "pids": 50}}}
# Every kind of step that a network has; each case makes the bridge anew.
NETWORK = {"command": ["true"], "network": {
    "mode": "bridge", "ports": ["8080:80", "5353:53/udp"], "hosts": {"db": "192.0.2.9"},
    "bandwidth": {"ingress": "10M", "egress": "10M"}}}


def nothing(_spec):
    pass


def sleeps(spec):
    spec["process"]["args"] = ["/bin/sleep", "1000"]


TRUE = Plan("true", world.WORK + "/short.json")


def make_all():
    """By name. What the host cannot run is found out by the caller, who skips it with the words."""
    make_rootfs()
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:  # of our own namespace; else each run warns
        file.write("1")
    short = write("short", {"command": ["true"]})
    oci = bundle("oci", nothing)
    asleep = bundle("asleep", sleeps)
    plans = [Plan("short", short), Plan("oci", oci),
             Plan("userns", write("userns", USERNS)),
             Plan("terminal", bundle("terminal", console), terminal=True),
             Plan("many", bundle("many", many)), Plan("fork", bundle("fork", clock)),
             Plan("limits", write("limits", LIMITS)),
             Plan("detached", asleep, "-d"), Plan("sleep", asleep),
             Plan("hooks", bundle("hooks", short_hooks)),
             Plan("create", bundle("create", hooks), create=True),
             Plan("network", write("network", NETWORK), network=True)]
    return {plan.name: plan for plan in plans}
