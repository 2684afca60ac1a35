"""Paths, links, mounts: what an image or a volume can do to the set-up of the root."""
import json
import os

import harness
from harness import check


# ---------------------------------------------------------------- the old root

def mounts_of(text):
    """(mount point, source, type) for each line of mountinfo."""
    rows = []
    for line in text.splitlines():
        if " - " not in line:
            continue
        left, right = line.split(" - ", 1)
        rows.append((left.split()[4], right.split()[1], right.split()[0], left.split()[3], line))
    return rows


def short_form(lab, root, *args):
    path = os.path.join(lab.dir, f"short{lab.count}.json")
    lab.count += 1
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"name": "short", "command": ["/probe", *args], "root": root}, file)
    return path


def root_kinds(lab):
    """Name and spec maker of every kind of root."""
    lower = lab.rootfs()
    return {"directory": lower, "overlay": {"overlay": {"lower": [lower]}}}


def test_27_old_root_is_gone(lab):
    """Nothing is mounted over or under "/", and ".." at the top leads nowhere."""
    for kind, root in root_kinds(lab).items():
        def run(*args):
            return lab.minirun("run", "--id", lab.new_id(), short_form(lab, root, *args))
        top = [row for row in mounts_of(run("get", "/proc/self/mountinfo").out) if row[0] == "/"]
        check(len(top) == 1, f"{kind}: {len(top)} mounts at /: {[row[4] for row in top]}")
        for path in ("/bin/..", "/..", "/proc/1/root/bin/..", "/bin/../.."):
            answer = run("list", path)
            check("probe" in answer.out.split(), f"{kind}: {path} is not the root: {answer.out!r}")
        inner = lab.canary + "/file"
        answer = run("get", "/bin/.." + inner)
        check("untouched" not in answer.out, f"{kind}: /bin/..{inner} reads the host")
        answer = run("chroot", inner.lstrip("/"))
        check("escape ENOENT" in answer.out, f"{kind}: chroot and ..: {answer.out} {answer.err}")


def test_27_exec_enters_the_same_root(lab):
    for kind, root in root_kinds(lab).items():
        name = lab.start(short_form(lab, root, "sleep", "30"))
        answer = lab.exec(name, "/probe", "list", "/")
        check("probe" in answer.out.split(), f"{kind}: exec is elsewhere: {answer.out}{answer.err}")
        answer = lab.exec(name, "/probe", "get", lab.canary + "/file")
        check("untouched" not in answer.out, f"{kind}: exec reads the host")
        lab.delete(name)


# ---------------------------------------------------------------- working directory

def test_04_working_directory_by_leaked_descriptor(lab):
    """CVE-2024-21626: cwd = /proc/self/fd/N with a directory of the host behind N."""
    running = lab.start(lab.config("sleep", "60"))
    paths = []
    for number in (3, 4, 5, 6, 7, 8, 9, 10, 12, 16):
        paths += [f"/proc/self/fd/{number}", f"/proc/1/fd/{number}"]
    paths += ["/proc/self/fd/9/../..", "/proc/thread-self/fd/9", "/proc/self/cwd", "/proc/self/root",
              "/proc/1/cwd", "/dev/fd/9"]
    for path in paths:
        for kind in ("run", "exec"):
            if kind == "run":
                answer = lab.run(lab.config("get", "minirun-canary", cwd=path),
                                 caller=f"chdir={lab.canary} leak=30")
            else:
                answer = lab.exec(running, "/probe", "get", "minirun-canary",
                                  options=("--cwd", path), caller=f"chdir={lab.canary} leak=30")
            check("untouched" not in answer.out, f"{kind} in {path} reads the host")
            check(answer.status != 0, f"{kind} in {path} started")


def test_16_working_directory_as_a_link(lab):
    """A link to the host resolves inside the root, and a missing directory is made there."""
    for target in (lab.canary, "../../../../../.." + lab.canary, "/proc/1/root"):
        root = lab.rootfs()
        os.symlink(target, os.path.join(root, "work"))
        answer = lab.run(lab.config("get", "minirun-canary", cwd="/work"), root)
        check("untouched" not in answer.out, f"cwd -> {target} reads the host")
        root = lab.rootfs()
        os.symlink(target, os.path.join(root, "work"))
        answer = lab.run(lab.config("get", "folder/inner", cwd="/work/a/b"), root)
        check("untouched" not in answer.out, f"cwd -> {target} reads the host")


# ---------------------------------------------------------------- /proc and /sys

def mount(destination, kind="tmpfs", source="tmpfs", options=()):
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def replaced(root, path, how):
    """Makes `path` in the image a link, a file or a FIFO."""
    full = os.path.join(root, path)
    if os.path.isdir(full) and not os.path.islink(full):
        os.rmdir(full)
    if how == "fifo":
        os.mkfifo(full)
    elif how == "file":
        with open(full, "w", encoding="utf-8"):
            pass
    else:
        os.symlink(how, full)


def test_10_proc_and_sys_are_links(lab):
    for path in ("proc", "sys"):
        for how in ("/vol", lab.canary, "../../../../../.." + lab.canary, "self", "file", "fifo"):
            root = lab.rootfs()
            replaced(root, path, how)
            answer = lab.run(lab.config("echo", "started"), root)
            check("started" not in answer.out, f"/{path} -> {how}: started")
            check(answer.status == 125, f"/{path} -> {how}: status {answer.status}")


def test_11_mounts_below_proc(lab):
    """CVE-2019-16884: only what tools such as lxcfs replace."""
    for path in ("/proc/self", "/proc/self/attr", "/proc/sys", "/proc/1", "//proc//self/attr",
                 "/./proc/self/attr", "/proc/./sys", "/proc//sys/kernel", "/proc/net/dev"):
        config = lab.config("echo", "started")
        config["mounts"].append(mount(path))
        answer = lab.run(config)
        check("started" not in answer.out, f"a tmpfs on {path} was accepted")
    for path in ("/proc/self/attr", "/proc/1", "/proc/thread-self"):
        config = lab.config("echo", "started")
        config["mounts"].append(mount(path, "bind", path, ["bind"]))
        answer = lab.run(config)
        check("started" not in answer.out, f"a bind of the host's {path} was accepted")
    for where, target in (("vol", "/proc/self/attr"), ("vol", "/proc/sys"), ("vol", "proc/1")):
        root = lab.rootfs()
        replaced(root, where, target)
        config = lab.config("echo", "started")
        config["mounts"].append(mount("/" + where))
        answer = lab.run(config, root)
        check("started" not in answer.out, f"a tmpfs on /{where} -> {target} was accepted")
    config = lab.config("get", "/proc/uptime")
    config["mounts"].append(mount("/proc/uptime", "bind", lab.canary + "/file", ["bind", "ro"]))
    answer = lab.run(config)
    check("untouched" in answer.out, f"a bind on /proc/uptime is legitimate: {answer.tail()}")


# ---------------------------------------------------------------- mount targets

def test_13_mount_targets_through_links(lab):
    """Every target stays in the root, wherever the image's links point."""
    chain = [f"link{i}" for i in range(30)]
    for target in (lab.canary, "../" * 12 + lab.canary.lstrip("/"), "/../.." + lab.canary,
                   "/proc/1/root" + lab.canary, "/proc/self/cwd"):
        for tail in ("", "/folder", "/a/b/c/d"):
            root = lab.rootfs()
            os.rmdir(os.path.join(root, "vol"))
            os.symlink(chain[0], os.path.join(root, "vol"))
            for one, two in zip(chain, chain[1:]):
                os.symlink(two, os.path.join(root, one))
            os.symlink(target, os.path.join(root, chain[-1]))
            config = lab.config("get", "/proc/self/mountinfo")
            config["mounts"] += [mount("/vol" + tail), mount("/vol" + tail + "/file", "bind",
                                                             lab.probe, ["bind"])]
            answer = lab.run(config, root, limit=5)
            check(answer.status in (0, 125), f"{target}{tail}: status {answer.status}")


def test_14_deep_missing_targets(lab):
    for path in ("/vol/a/b/c/d", "/vol//a///b/", "/vol/" + "x" * 255, "/vol/" + "y/" * 400 + "z"):
        config = lab.config("list", "/vol")
        config["mounts"].append(mount(path))
        answer = lab.run(config)
        check(answer.status == 0, f"{path[:20]}: {answer.tail()}")
    for path in ("/vol/" + "x" * 256, "/" + "y/" * 2100, "", "/vol/../../x", ".."):
        config = lab.config("echo", "started")
        config["mounts"].append(mount(path))
        answer = lab.run(config)
        check(answer.status == 125 and "started" not in answer.out, f"{path[:20]!r} was accepted")


def test_18_endless_links(lab):
    root = lab.rootfs()
    os.rmdir(os.path.join(root, "vol"))
    os.symlink("vol", os.path.join(root, "vol"))
    os.symlink("/" + "x/" * 2040, os.path.join(root, "long"))
    os.symlink("nowhere", os.path.join(root, "dangling"))
    for path in ("/vol", "/vol/x", "/long", "/long/x", "/dangling"):
        config = lab.config("echo", "started")
        config["mounts"].append(mount(path))
        answer = lab.run(config, root, limit=5)
        check(answer.status in (0, 125), f"{path}: status {answer.status}: {answer.tail()}")
    root = lab.rootfs()
    previous = "/vol"
    for i in range(39):
        os.symlink(previous, os.path.join(root, f"l{i}"))
        previous = f"/l{i}"
    config = lab.config("echo", "started")
    config["mounts"].append(mount(previous + "/deep"))
    answer = lab.run(config, root)
    check("started" in answer.out, f"39 links are legitimate: {answer.tail()}")


def test_17_racing_renames(lab):
    """CVE-2021-30465: a volume that another process turns into a link, over and over."""
    import subprocess  # pylint: disable=import-outside-toplevel
    import sys  # pylint: disable=import-outside-toplevel
    volume = os.path.join(lab.dir, "volume")
    os.makedirs(os.path.join(volume, "a"))
    os.symlink(lab.canary, os.path.join(volume, "b"))
    code = ("import ctypes,sys\nlibc=ctypes.CDLL(None)\na,b=[p.encode() for p in sys.argv[1:]]\n"
            "while True: libc.renameat2(-100,a,-100,b,2)\n")
    racer = subprocess.Popen([sys.executable, "-c", code, volume + "/a", volume + "/b"])
    lost = 0
    try:
        for i in range(60):
            config = lab.config("get", "/vol/a/m/minirun-canary", cwd="/vol/a" if i % 2 else "/")
            config["mounts"] += [mount("/vol", "bind", volume, ["bind"]), mount("/vol/a/m"),
                                 mount(f"/vol/a/d{i}/e/f")]
            answer = lab.run(config, limit=5)
            check(answer.seconds < 2, f"took {answer.seconds:.1f} s")
            check("untouched" not in answer.out, "the container reads the host")
            lost += answer.status == 125
    finally:
        racer.kill()
        racer.wait()
    check(lost < 60, "not one of 60 started: the race was not run")


# ---------------------------------------------------------------- /dev

def without_dev(config):
    config["mounts"] = [m for m in config["mounts"] if not m["destination"].startswith("/dev")]
    return config


def test_15_dev_is_a_link_to_the_host(lab):
    """CVE-2026-41579 and others: device nodes and links made in a directory of the host."""
    for target in (lab.canary, "../" * 12 + lab.canary.lstrip("/"), lab.canary + "/folder",
                   "/proc/1/root" + lab.canary):
        for readonly in (False, True):
            root = lab.rootfs()
            replaced(root, "dev", target)
            config = without_dev(lab.config("true"))
            config["root"]["readonly"] = readonly
            config["linux"]["devices"] = [{"path": "/dev/a/b", "type": "c", "major": 1, "minor": 3}]
            answer = lab.run(config, root)
            check(answer.status in (0, 125), f"/dev -> {target}: status {answer.status}")


def test_22_console_and_pts_of_the_image(lab):
    """CVE-2025-52565: /dev/console, /dev/ptmx and devpts replaced by the image."""
    for name in ("console", "ptmx", "pts", "shm", "fd", "stdin", "null", "tty"):
        for how in (lab.canary + "/file", "../" * 12 + lab.canary.lstrip("/") + "/file", "fifo",
                    "file"):
            root = lab.rootfs()
            replaced(root, "dev/" + name, how)
            config = without_dev(lab.config("true"))
            config["process"]["terminal"] = name in ("console", "ptmx", "pts")
            if name in ("console", "ptmx"):
                os.mkdir(os.path.join(root, "dev/pts"))
                config["mounts"].append(mount("/dev/pts", "devpts", "devpts",
                                              ["newinstance", "ptmxmode=0666"]))
            answer = lab.run(config, root, limit=5)
            check(answer.status in (0, 125), f"/dev/{name} as {how}: status {answer.status}")
    # a volume in the place of devpts, with a look-alike inside
    for how in ("fifo", lab.canary + "/file", "null"):
        volume = os.path.join(lab.dir, f"pts{lab.count}")
        lab.count += 1
        os.mkdir(volume)
        if how == "null":
            os.mknod(volume + "/ptmx", 0o20666, os.makedev(1, 3))
        else:
            replaced(volume, "ptmx", how)
        config = lab.config("true")
        config["process"]["terminal"] = True
        config["mounts"].append(mount("/dev/pts", "bind", volume, ["bind"]))
        answer = lab.run(config, limit=5)
        check(answer.status == 125, f"devpts with ptmx as {how}: status {answer.status}")


def test_20_null_of_the_image(lab):
    """CVE-2025-31133: what covers a masked file is never the image's /dev/null."""
    for how in (lab.canary + "/file", "/vol/file", "fifo", "file", "../proc/self/status"):
        root = lab.rootfs()
        with open(os.path.join(root, "vol/file"), "w", encoding="utf-8") as file:
            file.write("evil\n")
        replaced(root, "dev/null", how)
        config = without_dev(lab.config("get", "/proc/self/mountinfo"))
        answer = lab.run(config, root)
        check(answer.status == 125, f"null as {how}: not refused")
        # a /dev that is bound is left as it is
        config["mounts"].append(mount("/dev", "bind", os.path.join(root, "dev"), ["bind"]))
        answer = lab.run(config, root)
        masked = [row for row in mounts_of(answer.out) if row[0] in ("/proc/keys", "/proc/timer_list")]
        check(masked, f"null as {how}: nothing is masked: {answer.tail()}")
        for row in masked:
            check(row[2] == "devtmpfs" and row[3] == "/null", f"null as {how}: covered by {row[4]}")
            check(row[4].split()[5].startswith("ro"), f"null as {how}: cover is writable: {row[4]}")


def test_21_null_for_standard_streams(lab):
    """CVE-2026-88265: output goes into our pipe, never into what the image's /dev/null is."""
    for how in (lab.canary + "/file", "/vol/file", "fifo"):
        root = lab.rootfs()
        replaced(root, "dev/null", how)
        answer = lab.run(without_dev(lab.config("echo", "through-the-pipe")), root)
        check(answer.status == 125 or "through-the-pipe" in answer.out,
              f"null as {how}: output went elsewhere: {answer.tail()}")
        answer = lab.run(without_dev(lab.config("echo", "x")), root, caller="close=012")
        check(answer.status in (0, 1, 125), f"null as {how}, no streams: {answer.status}")
        check(not os.path.exists(os.path.join(root, "vol/file")), "wrote into the image")


# ---------------------------------------------------------------- masks, propagation, overlay

def test_24_masked_paths_fail_closed(lab):
    root = lab.rootfs()
    os.makedirs(os.path.join(root, "secret/dir"))
    with open(os.path.join(root, "secret/file"), "w", encoding="utf-8") as file:
        file.write("secret\n")
    os.symlink("loop", os.path.join(root, "loop"))
    os.symlink("/secret/file", os.path.join(root, "link"))
    os.symlink(lab.canary, os.path.join(root, "out"))
    config = lab.config("mask", "/secret/file", "/secret/dir", "/link")
    config["linux"]["maskedPaths"] = ["/link", "/secret/dir", "/secret/dir", "/out/file",
                                      "/not/there"]
    rows = lab.run(config, root).rows()
    check(rows["/secret/file"][0] == "null", f"through a link: {rows['/secret/file']}")
    check(rows["/secret/dir"][:2] == ["dir", "0"], f"a directory: {rows['/secret/dir']}")
    for path in ("/loop", "/loop/x", "/secret/file/x"):
        config = lab.config("echo", "started")
        config["linux"]["maskedPaths"] = [path]
        answer = lab.run(config, root)
        check("started" not in answer.out, f"masked path {path} was left out")
        config = lab.config("echo", "started")
        config["linux"]["maskedPaths"] = []
        config["linux"]["readonlyPaths"] = [path]
        answer = lab.run(config, root)
        check("started" not in answer.out, f"read-only path {path} was left out")
    config = lab.config("put", "/vol/inner/x", "y")
    os.mkdir(os.path.join(root, "vol/inner"))
    with open(os.path.join(root, "vol/inner/x"), "w", encoding="utf-8"):
        pass
    config["mounts"].append(mount("/vol/inner/deep"))
    config["linux"]["readonlyPaths"] += ["/vol"]
    check("open EROFS" in lab.run(config, root).out, "a read-only path can be written")
    config["process"]["args"] = ["/probe", "touch", "/vol/inner/deep/file"]
    check(lab.run(config, root).status != 0, "a mount below a read-only path can be written")


def test_25_mounts_do_not_travel(lab):
    """The root of this namespace is shared: whatever the container mounts must stay there."""
    for propagation in (None, "rslave", "rprivate", "shared", "rshared", "unbindable"):
        config = lab.config("pause")
        config["mounts"].append(mount("/vol"))
        if propagation:
            config["linux"]["rootfsPropagation"] = propagation
        before = harness.read("/proc/self/mountinfo")
        name = lab.start(config)
        during = harness.read("/proc/self/mountinfo")
        check(before == during, f"{propagation}: the host's mounts changed: " +
              str(set(during.splitlines()) ^ set(before.splitlines()))[:300])
        lab.delete(name)


def test_28_overlay_layer_names(lab):
    """No character of a path can become an option of the overlay."""
    for name in ("a,upperdir=" + lab.canary, "a:b", "a\\", "a\\:b", "x,index=on", " ", "a\nb"):
        lower = os.path.join(lab.dir, f"layers{lab.count}", name)
        lab.count += 1
        os.makedirs(lower)
        os.rename(lab.rootfs(), os.path.join(lower, "root"))
        layer = os.path.join(lower, "root")
        other = os.path.join(lower, "other")
        os.mkdir(other)
        for layers in ([layer], [other, layer]):
            top = {"overlay": {"lower": layers}}
            answer = lab.minirun("run", "--id", lab.new_id(),
                                 short_form(lab, top, "touch", "/made"))
            check(answer.status == 0, f"{name!r}: {answer.tail()}")
            check(not os.path.exists(os.path.join(layer, "made")), f"{name!r}: wrote into the layer")
    many = [lab.rootfs()]
    for i in range(100):
        many.append(os.path.join(lab.dir, "many", str(i)))
        os.makedirs(many[-1])
    answer = lab.minirun("run", "--id", lab.new_id(),
                         short_form(lab, {"overlay": {"lower": many}}, "touch", "/made"))
    check(answer.status in (0, 125), f"100 layers: {answer.tail()}")


def test_28_overlay_attributes_of_an_image(lab):
    """trusted.overlay.redirect in a layer must not lead to another place of the layers."""
    lower, secret = lab.rootfs(), lab.rootfs()
    os.mkdir(os.path.join(secret, "hidden"))
    with open(os.path.join(secret, "hidden/inner"), "w", encoding="utf-8") as file:
        file.write("redirected\n")
    os.mkdir(os.path.join(lower, "shown"))
    try:
        os.setxattr(os.path.join(lower, "shown"), "trusted.overlay.redirect", b"/hidden")
    except OSError as error:
        raise harness.Skipped(f"no trusted xattrs here: {error}") from None
    answer = lab.minirun("run", "--id", lab.new_id(),
                         short_form(lab, {"overlay": {"lower": [lower, secret]}}, "get",
                                    "/shown/inner"))
    check("redirected" not in answer.out, "an attribute of the image redirects a directory")
    check(answer.out in ("open ENOENT\n", "open EPERM\n"), f"was not asked: {answer.tail()}")


# ---------------------------------------------------------------- state directory, ids, files

def test_49_state_directory(lab):
    config = lab.config("echo", "started")
    bundle = lab.bundle(config)
    for words, owner, mode in (("writable", 0, 0o777), ("foreign", 1000, 0o700)):
        folder = os.path.join(lab.dir, words)
        os.mkdir(folder)
        os.chown(folder, owner, owner)
        os.chmod(folder, mode)
        answer = lab.command([lab.binary, "--root", folder, "run", "--id", lab.new_id(), bundle])
        check("started" not in answer.out, f"a {words} state directory was taken")
    name = lab.start(lab.config("sleep", "30"), caller="umask=0")
    for folder, folders, files in os.walk(os.path.join(lab.state, name)):
        for path in [folder] + [os.path.join(folder, n) for n in folders + files]:
            if os.path.islink(path):
                continue  # init.json: a link has no permissions but its directory's (symlink(7))
            mode = os.lstat(path).st_mode & 0o777
            check(mode & 0o077 == 0, f"{path} has mode {mode:o}")
    check(os.stat(lab.state).st_mode & 0o077 == 0, "the state directory can be entered by others")


def test_49_gc_keeps_what_is_not_ours(lab):
    """A wrong --root must not cost anybody their files."""
    folder = os.path.join(lab.dir, "home")
    os.makedirs(os.path.join(folder, "photos", "2026"), mode=0o755)
    with open(os.path.join(folder, "photos", "2026", "one"), "w", encoding="utf-8") as file:
        file.write("precious\n")
    before = harness.tree(folder)
    for words in (("gc",), ("delete", "-f", "photos"), ("run", "--id", "photos",
                                                        lab.bundle(lab.config("true")))):
        lab.command([lab.binary, "--root", folder, *words])
        check([r for r in harness.tree(folder) if r[0].startswith("photos")] == before,
              f"{words[0]} removed files that minirun did not make")


def test_50_container_ids(lab):
    bundle = lab.bundle(lab.config("echo", "started"))
    for name in ("", ".", "..", "a/b", "../x", "x" * 1025, "a\nb", "a b", "ü", "%n", "a\tb"):
        answer = lab.minirun("run", "--id=" + name, bundle)
        check(answer.status == 125 and "started" not in answer.out, f"id {name[:20]!r} was taken")
        for command in ("state", "kill", "delete", "exec"):
            answer = lab.minirun(command, "--", name, "/probe")
            check(answer.status != 0, f"{command} took the id {name[:20]!r}")


def test_62_pid_file_and_report_replace_links(lab):
    for option in ("--pid-file", "--report"):
        path = os.path.join(lab.dir, "out" + option)
        os.symlink(lab.canary + "/file", path)
        config = lab.config("sleep", "0.01")
        words = (option, path)
        if option == "--pid-file":
            lab.start(config, words=words)
        else:
            lab.run(config, words=words)
        check(os.path.isfile(path) and not os.path.islink(path), f"{option} is still a link")


def test_29_delete_does_not_follow_links(lab):
    name = lab.start(lab.config("sleep", "30"))
    folder = os.path.join(lab.state, name)
    os.symlink(lab.canary, os.path.join(folder, "link"))
    os.makedirs(os.path.join(folder, "deep/er"))
    os.symlink(lab.canary, os.path.join(folder, "deep/er/link"))
    answer = lab.delete(name)
    check(answer.status == 0, answer.tail())
    check(not os.path.exists(folder), "something is left")
