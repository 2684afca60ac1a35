"""What bad input gets: one line per finding with pointer, value and what was expected, and nothing left."""

import json
import os

from harness import REPOSITORY, check, equal, read, test

OCI = {"ociVersion": "1.0.2", "root": {"path": "rootfs"},
       "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}},
       "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}


def oci(**changes):
    config = json.loads(json.dumps(OCI))
    config.update(changes)
    return config


@test()
def not_json(t):
    """Not JSON."""
    for text in ("not json", "", "{", '{"command": ["true"]', '{"command": ["true"],}', '[1, 2', "\x00\x01\xff", "{}}"):
        t.refused(t.run(t.write("spec.json", text)))
    t.refused(t.run(t.write("spec.json", '{"command": ["true"], "command": ["false"]}')), "command")
    deep = "[" * 100_000
    t.refused(t.run(t.write("spec.json", deep)))


@test()
def wrong_types(t):
    """Wrong types: all findings at once, each with its JSON pointer and value."""
    result = t.run({"command": "sh", "hostname": 5, "readonly": "yes", "cwd": ["/"], "env": 7})
    t.refused(result, "/command", '"sh"', "/hostname: 5", "/readonly", '"yes"', "/cwd", "/env: 7", "expected", lines=5)
    result = t.run(oci(hostname=5, process={"cwd": 1, "args": "x", "user": {"uid": "root", "gid": 0}}))
    t.refused(result, "/hostname", "/process/cwd", "/process/args", "/process/user/uid", lines=4)


@test()
def namespace_unknown(t):
    """Unknown namespace."""
    t.refused(t.run({"command": ["true"], "namespaces": {"disk": "new"}}), "/namespaces/disk", "expected one of")
    spec = oci(linux={"namespaces": [{"type": "mount"}, {"type": "net"}]})
    t.refused(t.run(spec), "/linux/namespaces/1/type", '"net"', "network")


@test()
def namespace_twice(t):
    """Duplicate namespace."""
    spec = oci(linux={"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "pid"}]})
    t.refused(t.run(spec), "/linux/namespaces/2", "pid")


@test()
def mount_with_dots(t):
    """A mount to a path with `..`."""
    for path in ("/srv/../../etc", "/..", "/a/b/../../../x"):
        t.refused(t.run({"command": ["true"], "mounts": [f"/usr:{path}"]}), "/mounts/0/destination", path, '".."')


@test()
def mount_through_a_symlink(t):
    """A mount through a symlink that leaves the root: it stays in the root, the canary outside is untouched."""
    outside, rootfs = t.dir / "outside", t.dir / "rootfs"
    outside.mkdir()
    for name in ("proc", "dev", "sys", "etc", "usr", "inside"):
        (rootfs / name).mkdir(parents=True)
    canary = t.write("outside/canary", "untouched\n")
    (rootfs / "absolute").symlink_to(outside)
    (rootfs / "relative").symlink_to("../../../../.." + str(outside))
    (rootfs / "self").symlink_to("/proc/self/root" + str(outside))
    source = t.write("source", "mounted\n")
    busybox = "/bin/busybox"
    for link in ("absolute", "relative", "self"):
        for destination, kind in ((f"/{link}/canary", source), (f"/{link}/new", source), (f"/{link}/dir", t.dir)):
            spec = {"command": ["/sh", "-c", "true"], "root": str(rootfs),
                    "mounts": [f"{busybox}:/sh:ro", f"{kind}:{destination}"]}
            result = t.run(spec)
            check(result.status in (0, 125), f"status {result.status} for {destination}")
            if result.status == 125:
                t.refused(result, "mounts[")
            equal(read(canary), "untouched\n", f"the canary after {destination}")
            equal(os.listdir(outside), ["canary"], f"files outside after {destination}")


@test()
def missing_rootfs(t):
    """Missing rootfs, and one that is a file."""
    t.refused(t.run({"command": ["true"], "root": "/no/such/root"}), "root", "/no/such/root", "No such file")
    t.refused(t.run({"command": ["true"], "root": "/etc/hostname"}), "root", "/etc/hostname")
    t.refused(t.run(t.bundle(t.dir / "missing")), "root", "No such file")


@test()
def missing_program(t):
    """Missing program (127), with its name."""
    t.refused(t.run({"command": ["no-such-program"]}), '"no-such-program"', "not found", status=127)
    t.refused(t.run({"command": ["/no/such/program"]}), '"/no/such/program"', status=127)
    script = t.write("script", "#!/no/such/interpreter\n", 0o755)
    t.refused(t.run({"command": ["/script"], "mounts": [f"{script}:/script"]}), '"/script"', status=127)


@test()
def program_is_a_directory(t):
    """A directory as program (126), a file without the bit, a file that is no program."""
    t.refused(t.run({"command": ["/etc"]}), '"/etc"', status=126)
    t.refused(t.run({"command": ["/etc/passwd"]}), '"/etc/passwd"', "Permission denied", status=126)
    broken = t.write("broken", "\x7fELF nonsense", 0o755)
    t.refused(t.run({"command": ["/broken"], "mounts": [f"{broken}:/broken"]}), '"/broken"', "xec format", status=126)


@test()
def quantity(t):
    """Quantity `64mb`, and other numbers that are none."""
    t.refused(t.run({"command": ["true"], "resources": {"limits": {"memory": "64mb"}}}),
              "/resources/limits/memory", '"64mb"', "64Mi")
    for limits, pointer in (({"cpu": "half"}, "cpu"), ({"cpu": -1}, "cpu"), ({"memory": "1e"}, "memory"),
                            ({"pids": "many"}, "pids"), ({"memory": "99999999999999999999999Ei"}, "memory")):
        t.refused(t.run({"command": ["true"], "resources": {"limits": limits}}), f"/resources/limits/{pointer}")


@test()
def limits_below_requests(t):
    """Limits below requests."""
    spec = {"command": ["true"], "resources": {"requests": {"memory": "128Mi", "cpu": "1"},
                                               "limits": {"memory": "64Mi", "cpu": "500m"}}}
    t.refused(t.run(spec), "/resources/requests/memory", '"128Mi"', '"64Mi"', "/resources/requests/cpu", lines=2)


@test()
def one_line_whatever_it_says(t):
    """Control characters of a document do not reach the terminal: each error stays one line of its own words."""
    evil = "\x1b[31mred\nminirun: error: forged\x7f\u009b2J\r"
    shown = "\\u001b[31mred\\u000aminirun: error: forged\\u007f\\u009b2J\\u000d"
    for spec, status in (({"command": [evil]}, 127), ({"command": ["true"], "mounts": [{"source": f"/no{evil}", "destination": "/x"}]}, 125),
                         ({"command": ["true"], "cwd": f"/proc/{evil}/x"}, 125)):
        t.refused(t.run(spec), shown, status=status)
    result = t.run({"command": ["true"], evil: 1}).good()
    check(len(result.err.splitlines()) == 1 and "\x1b" not in result.err, f"a warning: {result.err!r}")
    t.refused(t.minirun("state", evil), "container id", status=1)
    check("\x1b" not in t.minirun("run", t.dir / evil).err, "a name of a file")


@test()
def oci_shapes(t):
    """Of an OCI document: without its version, with a file as root, with a mount on / or of a directory on a file."""
    t.refused(t.run({key: value for key, value in OCI.items() if key != "ociVersion"}), "/ociVersion", "missing")
    rootfs = t.dir / "rootfs"
    for name in ("proc", "dev", "sys", "dir"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "file").write_text("")
    t.refused(t.run(oci(root={"path": "rootfs/file"})), "root", "not a directory")
    for key in ("maskedPaths", "readonlyPaths"):
        for path in ("proc/kcore", "/proc/../etc"):
            linux = {**OCI["linux"], key: ["/proc/x", path]}
            t.refused(t.run(oci(linux=linux)), f"/linux/{key}/1", path, "expected a")
    for destination in ("/", "//", "/./"):
        t.refused(t.run(oci(mounts=[{"destination": destination, "type": "tmpfs"}])), "/mounts/0/destination",
                  "the root file system itself")
    t.refused(t.run(oci(mounts=[{"destination": "/file", "type": "tmpfs"}])), "mounts[0]", "only on a directory")
    t.refused(t.run(oci(mounts=[{"destination": "/dir", "type": "bind", "source": str(rootfs / "file"),
                                 "options": ["bind"]}])), "mounts[0]", "only on a directory")


@test()
def missing_controller(t):
    """A controller that this host lacks, with the reason and the remedy; never silently dropped."""
    from harness import Skip, cgroup_mount

    have = read(cgroup_mount() / "cgroup.controllers").split()
    if "memory" in have and "cpu" in have:
        # rdma has no devices here but exists; a controller that no kernel has remains.
        result = t.run({"command": ["true"], "resources": {"unified": {"nosuch.max": "1"}}})
        equal(result.status, 125, "status")
        check("nosuch" in result.err, f"the controller is not named: {result.err!r}")
        return
    result = t.run({"command": ["true"], "resources": {"limits": {"memory": "64Mi"}}})
    equal(result.status, 125, "status")
    first = result.err.splitlines()[0]
    for words in ("/resources/limits/memory", "memory controller", "vm"):
        check(words in first, f"{words!r} is not in {first!r}")
    check("cgroup_no_v1" in first or "delegate" in first or "kernel" in first, f"no remedy in {first!r}")


@test()
def bad_ids(t):
    """An id with `/`, and others that are no names."""
    spec = t.write("spec.json", {"command": ["true"]})
    for name in ("a/b", "..", ".", "", "a b", "ä", "../../x", "a\nb", "x" * 5000):
        result = t.minirun("run", "--id", name, spec)
        if name == "":
            check(result.status in (0, 125), f"status {result.status} for the empty id")
            continue
        t.refused(result)
        for command in ("state", "kill", "delete", "exec"):
            equal(t.minirun(command, name, "x").status != 0, True, f"{command} of the id {name!r} went well")


@test()
def big_spec(t):
    """A spec of 100 MB: refused at once, from a file and from standard input."""
    path = t.dir / "big.json"
    with open(path, "wb") as file:
        file.write(b'{"command": ["true"], "description": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}')
    t.refused(t.run(path, timeout=10), "16 MiB")
    with open(path, "rb") as file:
        t.refused(t.minirun("run", "-", stdin=file, timeout=10), "16 MiB")
    os.truncate(path, 0)
    t.refused(t.minirun("run", "/dev/zero", timeout=10))
    fifo = t.dir / "fifo"
    os.mkfifo(fifo)


@test()
def missing_lower_layer(t):
    """A missing lower layer, by its place and name."""
    result = t.run({"command": ["true"], "root": {"overlay": {"lower": ["/", "/no/such/layer"]}}})
    t.refused(result, "root", "/no/such/layer", "No such file")


@test(both=True)
def refusal_of_the_kernel(t):
    """A kernel refusal with the kernel's own words, and the field of the user."""
    result = t.run({"command": ["true"], "mounts": [
        "/usr:/mnt", {"type": "tmpfs", "destination": "/srv", "options": ["size=64megs"]}]})
    t.refused(result, "mounts[1]", "size=64megs", "EINVAL", "tmpfs: Bad value for 'size'")
    t.refused(t.run({"command": ["true"], "mounts": [{"type": "nosuchfs", "destination": "/srv"}]}),
              "mounts[0]", "nosuchfs")


@test()
def unknown_keys(t):
    """Unknown property: a warning that names the word that was meant, never a failure."""
    result = t.run({"command": ["true"], "hostnam": "x"})
    check("/hostnam" in result.err and "hostname" in result.err, f"no suggestion: {result.err!r}")
    equal(result.status, 0, "status")
    (t.dir / "rootfs").mkdir()
    config = json.loads(read(REPOSITORY / "examples/oci/config.json"))
    config["somethingNew"] = {"x": 1}
    result = t.minirun("run", "--dry-run", t.write("config.json", config))
    check("somethingNew" not in "".join(line for line in result.err.splitlines() if "error" in line),
          f"an unknown OCI property is an error: {result.err!r}")
