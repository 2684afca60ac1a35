"""Rules of the OCI runtime specification that no other test shows: what `features` says is taken, mount options one by one,
operations without an id, warnings. docs/oci.md has the table of all rules. Must not: test minirun's own formats."""

import json
import os

from harness import check, equal, read, test
from integration.bundles import busybox_root
from integration.create import bundle, created, state
from integration.fields import MAP


def dry_run(t, config, *words):
    """The plan, without a complaint."""
    path = t.write(f"config-{t.id()}.json", config)
    result = t.minirun("run", "--dry-run", "--config", path, t.id()).good()
    equal(result.err, "", f"standard error with {words}")
    return result.out


def config_of(t):
    return json.loads(read(bundle(t) / "config.json"))


def mount_for(option):
    """A mount that the option is for."""
    if "bind" in option and "unbind" not in option or option in ("idmap", "ridmap"):
        more = {"uidMappings": MAP, "gidMappings": MAP} if "idmap" in option else {}
        return {"type": "none", "source": "/tmp", "options": ["rbind", option], **more}
    if option == "remount":
        return {"destination": "/proc", "type": "proc", "source": "proc", "options": ["remount", "nosuid"]}
    return {"type": "tmpfs", "source": "tmpfs", "options": [option]}


@test()
def features_are_recognised(t):
    """Each word of the features document is taken by the reader: versions, hooks, mount options, namespaces, capabilities,
    actions, operators, architectures and flags of seccomp, modes and flags of memory policies, idmapped mounts."""
    found = json.loads(t.minirun("features").good().out)
    linux, config = found["linux"], config_of(t)
    config["root"]["path"] = str(t.dir / "busybox")
    check([int(n) for n in found["ociVersionMax"].split(".")] >= [int(n) for n in found["ociVersionMin"].split(".")],
          "the versions")
    for version in (found["ociVersionMin"], found["ociVersionMax"]):
        dry_run(t, {**config, "ociVersion": version}, version)
    config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in found["hooks"]}
    for option in found["mountOptions"]:
        config["mounts"].append({"destination": f"/mnt/{option}", **mount_for(option)})
    dry_run(t, config, "hooks and mount options")
    elsewhere = {"bind", "rbind", "remount", "idmap", "ridmap"}  # oci_mount_options, idmapped_mounts
    equal(set(found["mountOptions"]) - elsewhere, set(EFFECTS), "options that mount_options_take_effect tries")
    config = {**config_of(t), "root": config["root"]}
    config["linux"]["namespaces"] = [{"type": kind} for kind in linux["namespaces"]]
    config["linux"].update(uidMappings=MAP, gidMappings=MAP)
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    config["process"]["capabilities"] = {name: linux["capabilities"] for name in sets}
    dry_run(t, config, "namespaces and capabilities")
    for action in linux["seccomp"]["actions"]:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": linux["seccomp"]["archs"],
            "flags": linux["seccomp"]["supportedFlags"] if action == "SCMP_ACT_NOTIFY" else ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["acct"], "action": action, "args": [
                {"index": 0, "value": 1, "valueTwo": 1, "op": op} for op in linux["seccomp"]["operators"][:6]]},
                {"names": ["swapon"], "action": action, "args": [
                    {"index": 1, "value": 1, "valueTwo": 1, "op": linux["seccomp"]["operators"][-1]}]}]}
        if action == "SCMP_ACT_NOTIFY":
            config["linux"]["seccomp"]["listenerPath"] = str(t.dir / "agent")
        if action != "SCMP_ACT_ALLOW":
            dry_run(t, config, action)
    del config["linux"]["seccomp"]
    for mode in linux["memoryPolicy"]["modes"]:
        nodes = "" if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
        config["linux"]["memoryPolicy"] = {"mode": mode, "nodes": nodes}
        dry_run(t, config, mode)
    for flag in linux["memoryPolicy"]["flags"]:
        config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}
        dry_run(t, config, flag)
    equal([linux["mountExtensions"]["idmap"]["enabled"], linux["netDevices"]["enabled"]], [True, True], "extensions")
    text = json.dumps(found)
    check("null" not in text, "null says that something is not known")
    equal({type(value) for value in found["annotations"].values()}, {str}, "values of annotations")


# What a tmpfs with this one option has (+) or has not (-) in its line of mountinfo; the rest only has to work.
EFFECTS = {"ro": "+ro", "rw": "+rw", "nosuid": "+nosuid", "suid": "-nosuid", "nodev": "+nodev", "dev": "-nodev",
           "noexec": "+noexec", "exec": "-noexec", "noatime": "+noatime", "atime": "-noatime", "nodiratime": "+nodiratime",
           "diratime": "-nodiratime", "relatime": "+relatime", "norelatime": "-noatime", "strictatime": "-relatime",
           "nostrictatime": "+relatime", "nosymfollow": "+nosymfollow", "symfollow": "-nosymfollow", "sync": "+sync",
           "async": "-sync", "dirsync": "+dirsync", "lazytime": "+lazytime", "nolazytime": "-lazytime", "defaults": "+rw",
           "iversion": "", "noiversion": "", "loud": "", "silent": "", "shared": "+shared", "rshared": "+shared",
           "slave": "-shared", "rslave": "-shared", "private": "-shared", "rprivate": "-shared",
           "unbindable": "+unbindable", "runbindable": "+unbindable", "rro": "+ro", "rnosuid": "+nosuid", "rnodev": "+nodev",
           "rnoexec": "+noexec", "rnoatime": "+noatime", "rnodiratime": "+nodiratime", "rrelatime": "+relatime",
           "rstrictatime": "-relatime", "rnosymfollow": "+nosymfollow", "rrw": "+rw", "rsuid": "-nosuid", "rdev": "-nodev",
           "rexec": "-noexec", "ratime": "-noatime", "rdiratime": "-nodiratime", "rnorelatime": "-noatime",
           "rnostrictatime": "+relatime", "rsymfollow": "-nosymfollow", "mand": "", "nomand": "", "tmpcopyup": ""}


@test(both=True)
def mount_options_take_effect(t):
    """Every mount option that runtimes MUST implement does what it says, alone, as mountinfo shows; a later one wins; a
    relative destination is below /."""
    def change(config):
        config["root"]["readonly"] = False
        for option in EFFECTS:
            config["mounts"].append({"destination": f"/mnt/{option}", "type": "tmpfs", "source": "x", "options": [option]})
        config["mounts"] += [
            {"destination": "/mnt/last", "type": "tmpfs", "source": "x", "options": ["ro", "noexec", "rw", "exec", "nodev"]},
            {"destination": "relative/place", "type": "tmpfs", "source": "x"},
            {"destination": "/relative/place", "type": "tmpfs", "options": ["remount", "nosuid"]}]

    out = t.minirun("run", "-b", bundle(t, "/bin/busybox", "cat", "/proc/self/mountinfo", change=change), t.id()).good().out
    table = {}
    for line in out.splitlines():
        before, after = line.split(" - ")
        fields = before.split()
        optional = {word.split(":")[0] for word in fields[6:]}
        table[fields[4]] = set(fields[5].split(",")) | optional | set(after.split()[2].split(",")[1:])
    for option, effect in EFFECTS.items():
        have = table[f"/mnt/{option}"]
        if effect:
            equal(effect[1:] in have, effect[0] == "+", f"{effect} with {option}, which gives {sorted(have)}")
    check({"rw", "nodev"} <= table["/mnt/last"] and "noexec" not in table["/mnt/last"], f"the last: {table['/mnt/last']}")
    check("nosuid" in table["/relative/place"], f"remount: {table['/relative/place']}")


@test()
def operations_name_their_container(t):
    """Every operation without an id, and with one that does not exist, is an error; start of what runs and kill of what has
    ended have no effect."""
    for words in (["state"], ["create"], ["start"], ["kill"], ["delete"], ["pause"], ["resume"], ["ps"], ["update"], ["events"]):
        t.refused(t.minirun(*words), "ID is required", status=1)
        if words != ["create"]:
            t.refused(t.minirun(*words, t.id()), "container does not exist", status=1)
    t.refused(t.minirun("create", t.id(), cwd=t.dir), "config.json", status=1)
    t.refused(t.minirun("create", "--bundle", t.dir / "nowhere", t.id()), "nowhere", status=1)
    name = created(t)
    t.minirun("start", name).good()
    before = state(t, name)
    t.refused(t.minirun("start", name), "already running", status=1)
    equal(state(t, name), before, "the state after a second start")
    t.minirun("kill", name, "KILL").good()
    while state(t, name)["status"] != "stopped":
        os.sched_yield()
    stopped = state(t, name)
    t.refused(t.minirun("kill", name, "KILL"), "not running", status=1)
    t.refused(t.minirun("start", name), "stopped", status=1)
    equal(state(t, name), stopped, "the state after kill and start of a stopped container")
    t.minirun("delete", name).good()


@test()
def warnings_of_the_specification(t):
    """A capability that is not known or cannot be given is a warning and no failure, for create, run and exec; an unknown
    property says nothing at create; listenerPath without NOTIFY is ignored."""
    def change(config):
        for name in ("bounding", "permitted", "effective"):
            config["process"]["capabilities"][name] = ["CAP_KILL", "CAP_OF_THE_FUTURE"]
        config["linux"]["somethingNew"] = config["hostnmae"] = "x"
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere"}

    name, directory = t.id(), bundle(t, change=change)
    for words in (["create", "-b", directory, name], ["run", "-d", "-b", directory, t.id()]):
        result = t.minirun(*words).good()
        lines = result.err.splitlines()
        equal(len(lines), 3, f"lines of {words[0]}: {result.err!r}")
        for line in lines:
            check(line.startswith("minirun: warning: /process/capabilities/") and "CAP_OF_THE_FUTURE" in line, line)
    t.minirun("start", name).good()
    document = t.write("process.json", {"cwd": "/", "args": ["/bin/true"], "prcess": 1,
                                        "capabilities": {"bounding": ["CAP_OF_THE_FUTURE"]}})
    result = t.minirun("exec", "--process", document, name).good()
    equal([len(result.err.splitlines()), "CAP_OF_THE_FUTURE" in result.err], [1, True], f"of exec: {result.err!r}")
    for line in t.minirun("list", "-q").good().out.split():
        t.minirun("delete", "-f", line).good()
    lacking = [n for n in range(41) if not int(status_line("CapEff"), 16) >> n & 1]
    if lacking == [24]:  # as on this project's test machine; elsewhere root has all
        def more(config):
            config["process"]["capabilities"]["bounding"] = ["CAP_SYS_RESOURCE"]
        result = t.minirun("run", "-b", bundle(t, "/bin/true", change=more), t.id()).good()
        check("warning: /process/capabilities" in result.err and "CAP_SYS_RESOURCE" in result.err, result.err)


def status_line(key):
    return next(line.split()[1] for line in read("/proc/self/status").splitlines() if line.startswith(key))


def without(config, path):
    """Takes away what the path of keys and places names."""
    for part in path[:-1]:
        config = config[part]
    del config[path[-1]]


# Each has all REQUIRED properties, and where they are. What is not here is in the base configuration.
REQUIRED = [
    ({}, ["ociVersion", "root", "root.path", "process.cwd", "process.args", "linux.namespaces.0.type"]),
    ({"mounts": [{"destination": "/x", "type": "tmpfs"}]}, ["mounts.0.destination"]),
    ({"process.terminal": True, "process.consoleSize": {"height": 1, "width": 1}},
     ["process.consoleSize.height", "process.consoleSize.width"]),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]},
     ["process.rlimits.0.type", "process.rlimits.0.soft", "process.rlimits.0.hard"]),
    ({"process.scheduler": {"policy": "SCHED_OTHER"}}, ["process.scheduler.policy"]),
    ({"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}},
     ["process.ioPriority.class", "process.ioPriority.priority"]),
    ({"hooks": {"poststop": [{"path": "/bin/true"}]}}, ["hooks.poststop.0.path"]),
    ({"linux.namespaces": [{"type": "mount"}, {"type": "user"}], "linux.uidMappings": MAP, "linux.gidMappings": MAP},
     [f"linux.{kind}Mappings.0.{key}" for kind in ("uid", "gid") for key in ("containerID", "hostID", "size")]),
    ({"linux.devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}]},
     [f"linux.devices.0.{key}" for key in ("type", "path", "major", "minor")]),
    ({"linux.resources": {"devices": [{"allow": True}]}}, ["linux.resources.devices.0.allow"]),
    ({"linux.resources": {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]}}},
     [f"linux.resources.blockIO.throttleReadBpsDevice.0.{key}" for key in ("major", "minor", "rate")]),
    ({"linux.resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 100}]}}},
     [f"linux.resources.blockIO.weightDevice.0.{key}" for key in ("major", "minor", "weight")]),
    ({"linux.resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}},
     [f"linux.resources.hugepageLimits.0.{key}" for key in ("pageSize", "limit")]),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}},
     ["linux.seccomp.defaultAction", "linux.seccomp.syscalls.0.names", "linux.seccomp.syscalls.0.action"] +
     [f"linux.seccomp.syscalls.0.args.0.{key}" for key in ("index", "value", "op")]),
    ({"linux.personality": {"domain": "LINUX"}}, ["linux.personality.domain"]),
    ({"linux.memoryPolicy": {"mode": "MPOL_DEFAULT"}}, ["linux.memoryPolicy.mode"]),
]


@test()
def required_properties(t):
    """Every property that the specification calls REQUIRED: a document without it is refused, in one line that names it."""
    base = {"ociVersion": "1.3.0", "root": {"path": str(busybox_root(t))}, "process": {"cwd": "/", "args": ["/bin/true"]},
            "linux": {"namespaces": [{"type": "mount"}]}}
    wrong = []
    for changes, places in REQUIRED:
        for place in places:
            config = json.loads(json.dumps(base))
            for key, value in changes.items():
                *above, last = key.split(".")
                target = config
                for part in above:
                    target = target[part]
                target[last] = json.loads(json.dumps(value))
            path = [int(part) if part.isdigit() else part for part in place.split(".")]
            without(config, path)
            result, pointer = t.run(config), "/" + place.replace(".", "/")
            if result.status != 125 or f" {pointer}: missing" not in result.err or len(result.err.splitlines()) != 1:
                wrong.append(f"{pointer}: {result.status}, {result.err.strip()!r}")
    equal(wrong, [], "what is not refused")


@test()
def default_devices_of_a_bundle(t):
    """The devices and links of /dev that every bundle gets, without asking for one."""
    script = ("cd /dev; for d in null zero full random urandom tty; do busybox stat -c '%n %F %t:%T %a' $d; done; "
              "for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; [ -e console ] && echo console; true")
    out = t.minirun("run", "-b", bundle(t, "/bin/busybox", "sh", "-c", script), t.id()).good().out.splitlines()
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    equal(out[:6], [f"{name} character special file {number} 666" for name, number in numbers.items()], "devices")
    equal(out[6:], ["fd /proc/self/fd", "stdin /proc/self/fd/0", "stdout /proc/self/fd/1", "stderr /proc/self/fd/2",
                    "ptmx pts/ptmx"], "links, and no console without a terminal")
