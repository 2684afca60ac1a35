"""Paths, links, mounts: what an image or a volume can do to the set-up of the root."""
import json
import os

from harness import check, Failed


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
