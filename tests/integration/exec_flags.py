"""`minirun exec` as engines call it: the process document, each flag, the sockets and the pid file. Must not: test what
a plain exec sees (lifecycle.py, processes.py)."""

import array
import json
import os
import pty
import select
import signal
import socket
import subprocess
import time

from harness import cgroup_mount, check, equal, read, test, wait_until

CAP_NET_ADMIN, CAP_CHOWN = 1 << 12, 1 << 0


def container(t, **spec):
    name = t.id()
    path = t.write(f"{name}.json", {"command": ["sleep", "1000"], **spec})
    t.minirun("run", "-d", "--id", name, path).good()
    return name


def pid_of(t, name):
    return json.loads(t.minirun("state", name).good().out)["pid"]


def status_of(out):
    return dict(line.split(":", 1) for line in out.splitlines() if ":" in line)


@test()
def exec_flags(t):
    """Each flag of exec changes what it says and nothing else; options end at the id."""
    name = container(t)
    script = "id -u; id -g; id -G; pwd; echo $A-$B"
    out = t.minirun("exec", "--user", "1000:100", "-g", "7", "--additional-gids=8", "--cwd", "/tmp", "-e", "A=1", "-env",
                    "B=x=y", name, "sh", "-c", script).good().out.split("\n")
    equal([out[0], out[1], sorted(out[2].split()), out[3], out[4]], ["1000", "100", ["100", "7", "8"], "/tmp", "1-x=y"],
          "ids, directory and environment")
    before = status_of(t.minirun("exec", name, "cat", "/proc/self/status").good().out)
    after = status_of(t.minirun("exec", "--cap", "CAP_NET_ADMIN", "-c", "net_raw", "--no-new-privs", name, "cat",
                                "/proc/self/status").good().out)
    for key in ("CapBnd", "CapEff", "CapPrm"):
        check(int(after[key], 16) & CAP_NET_ADMIN and int(after[key], 16) & ~CAP_NET_ADMIN == int(before[key], 16),
              f"{key}: {before[key]} -> {after[key]}")
    equal([int(after[key], 16) for key in ("CapInh", "CapAmb")], [0, 0], "inheritable and ambient")
    equal(after["NoNewPrivs"].strip(), "1", "no_new_privs")
    equal(t.minirun("exec", name, "echo", "--user", "-t", "--", "-d").good().out, "--user -t -- -d\n", "the program's")
    equal(t.minirun("exec", name, "--", "echo", "--", "x").good().out, "-- x\n", "after --")
    check("left out" in t.minirun("exec", "--cap", "nosuch", name, "true").good().err, "an unknown capability without a warning")
    for words, word in ((["-u", "root", name, "true"], "--user"),
                        (["-g", "x", name, "true"], "--additional-gids"), (["-e", "x", name, "true"], "--env"),
                        (["--cgroup", "../x", name, "true"], "--cgroup"), (["--cgroup=none", name, "true"], "--cgroup"),
                        (["-d", "-t", name, "true"], "--console-socket"), ([name], "COMMAND"),
                        (["--cwd", "relative", name, "true"], "cwd"), (["--preserve-fds=-1", name, "true"], "preserve"),
                        (["--console-socket", "/x", name, "true"], "--console-socket"), (["--nosuch", name], "nosuch")):
        result = t.minirun("exec", *words)
        check(result.status == 255 and word in result.err and len(result.err.splitlines()) == 1, f"{words}: {result.err}")
    t.minirun("delete", "-f", name).good()


@test()
def exec_status(t):
    """The status of exec is the program's, 128 + signal, or 255 when minirun failed."""
    name = container(t)
    for status in (0, 3, 255):
        equal(t.minirun("exec", name, "sh", "-c", f"exit {status}").status, status, "status")
    equal(t.minirun("exec", name, "sh", "-c", "kill -TERM $$").status, 143, "status after SIGTERM")
    t.minirun("kill", name, "KILL").good()
    wait_until(lambda: json.loads(t.minirun("state", name).out)["status"] == "stopped", "the end")
    t.refused(t.minirun("exec", name, "true"), "container not running", status=255)
    t.minirun("delete", name).good()
    t.refused(t.minirun("exec", name, "true"), "container does not exist", status=255)


@test()
def exec_preserves_nothing_of_ours(t):
    """--preserve-fds of more descriptors than the caller has passes on what there is, and none of minirun's own."""
    name = container(t)
    out = t.minirun("exec", "--preserve-fds", "30", name, "ls", "/proc/self/fd").good().out.split()
    equal(out, ["0", "1", "2", "3"], "the descriptors of ls, of which 3 is the directory")
    t.minirun("delete", "-f", name).good()


@test()
def exec_process(t):
    """`--process FILE`: the OCI process object; what it leaves out is as in the container; a bad one names the field."""
    name = container(t)
    process = {"cwd": "/tmp", "args": ["sh", "-c", "pwd; id -u; echo $X; ulimit -n; grep NoNewPrivs /proc/self/status"],
               "env": ["PATH=/usr/bin:/bin", "X=y"], "user": {"uid": 5, "gid": 6},
               "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]}
    out = t.minirun("exec", "--process", t.write("p.json", process), name).good().out.split()
    equal(out, ["/tmp", "5", "y", "77", "NoNewPrivs:", "0"], "output")
    process["noNewPrivileges"] = True
    process["args"] = ["cat", "/proc/self/status"]
    mine = status_of(t.minirun("exec", "-p", t.write("p.json", process), name).good().out)
    equal(mine["NoNewPrivs"].strip(), "1", "no_new_privs")
    theirs = status_of(t.minirun("exec", name, "cat", "/proc/self/status").good().out)
    equal(mine["CapBnd"], theirs["CapBnd"], "capabilities are the container's when the document has none")
    for document, word in (({"cwd": "/"}, "args"), ({"args": ["true"]}, "cwd"), ({"args": ["true"], "cwd": "x"}, "cwd"),
                           ({"args": ["true"], "cwd": "/", "capabilities": {"bounding": "x"}}, "capabilities"),
                           ({"args": ["true"], "cwd": "/", "rlimits": [{"type": "X"}]}, "rlimits")):
        result = t.minirun("exec", "--process", t.write("bad.json", document), name)
        check(result.status == 255 and word in result.err and "/process" in result.err, f"{document}: {result.err!r}")
    t.refused(t.minirun("exec", "--process", t.dir / "none", name), "none", "ENOENT", status=255)
    t.refused(t.minirun("exec", "--process", t.dir / "p.json", name, "true"), "--process", status=255)
    t.minirun("delete", "-f", name).good()


@test()
def exec_oom_score(t):
    """A further process has the container's oom_score_adj, as its first one."""
    def change(config):
        config["process"]["args"] = ["sleep", "1000"]
        config["process"]["oomScoreAdj"] = 700
    name = t.id()
    t.minirun("run", "-d", "--bundle", t.bundle("/", change), name).good()
    equal(read(f"/proc/{pid_of(t, name)}/oom_score_adj").strip(), "700", "of the first process")
    equal(t.minirun("exec", name, "cat", "/proc/self/oom_score_adj").good().out.strip(), "700", "of another")
    t.minirun("delete", "-f", name).good()


@test()
def exec_detached(t):
    """`--detach`: back as soon as the program runs, its pid in the pid file, and its parent is the caller's subreaper."""
    name = container(t)
    pid_file = t.dir / "pid"
    start = time.monotonic()
    t.minirun("exec", "-d", "--pid-file", pid_file, name, "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"
              ).good()
    check(time.monotonic() - start < 10, "it did not come back")
    pid = int(read(pid_file))
    check(str(pid) == read(pid_file), f"the pid file has more than a number: {read(pid_file)!r}")
    check(pid in json.loads(t.minirun("ps", "-f", "json", name).out), "the pid is not in the container")
    wait_until(lambda: int(status_of(read(f"/proc/{pid}/status"))["SigCgt"], 16) & 1 << 14, "the trap is set")
    os.kill(pid, signal.SIGTERM)
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 5, "status, collected by the subreaper")
    result = t.minirun("exec", "-d", "--pid-file", t.dir / "none", name, "no-such-program")
    check(result.status != 0 and not (t.dir / "none").exists(), "a pid file of a program that never ran")
    t.minirun("delete", "-f", name).good()


def received(listener, size=4096):
    """(payload, descriptors) of the one message of the next connection."""
    check(select.select([listener], [], [], 20)[0], "nobody connected")
    connection, _ = listener.accept()
    fds = array.array("i")
    payload, control, _, _ = connection.recvmsg(size, socket.CMSG_SPACE(4 * 4))
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data)
    connection.close()
    return payload, list(fds)


@test()
def exec_console_socket(t):
    """`--console-socket`: the master of the terminal with its path, one descriptor; `--pidfd-socket`: the pidfd."""
    name = container(t)
    sockets = {}
    for word in ("console", "pidfd"):
        sockets[word] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sockets[word].bind(str(t.dir / word))
        sockets[word].listen(1)
    process = subprocess.Popen(t.command("exec", "-d", "-t", "--console-socket", t.dir / "console", "--pidfd-socket",
                                         t.dir / "pidfd", "--pid-file", t.dir / "pid", name, "sh", "-c",
                                         "tty; read line; echo got $line"), stdin=subprocess.DEVNULL)
    path, (master,) = received(sockets["console"])
    word, (pidfd,) = received(sockets["pidfd"])
    equal(word, b"setns", "payload")
    equal(process.wait(timeout=20), 0, "status of exec -d")
    check(path.decode().startswith("/dev/pts/"), f"payload {path!r}")
    os.write(master, b"words\n")
    text = b""
    while b"got words" not in text and select.select([master], [], [], 20)[0]:
        text += os.read(master, 4096)
    check(b"/dev/pts/" in text and b"got words" in text, f"the terminal said {text!r}")
    check(select.select([pidfd], [], [], 20)[0], "the pidfd does not tell the end")
    os.waitpid(int(read(t.dir / "pid")), 0)
    for fd in (master, pidfd):
        os.close(fd)
    for one in sockets.values():
        one.close()
    t.refused(t.minirun("exec", "-d", "-t", "--console-socket", t.dir / "console", name, "true"), "--console-socket",
              status=255)
    t.minirun("delete", "-f", name).good()


@test()
def exec_foreground_terminal(t):
    """`exec -t`: the program is at a terminal of its own, which the caller's is connected to."""
    name = container(t)
    master, slave = pty.openpty()
    process = subprocess.Popen(t.command("exec", "-t", name, "sh", "-c", "stty size; tty; read x; echo got $x; exit 4"),
                               stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    os.write(master, b"words\n")
    text = b""
    while b"got words" not in text and select.select([master], [], [], 20)[0]:
        text += os.read(master, 4096)
    equal(process.wait(timeout=20), 4, "status")
    os.close(master)
    check(b"/dev/pts/0" in text, f"the terminal said {text!r}")
    t.minirun("delete", "-f", name).good()


@test()
def exec_preserve_fds(t):
    """`--preserve-fds N`: 3 to 2+N are passed on, and nothing above."""
    name = container(t)
    reader, writer = os.pipe()
    def prepare():
        os.dup2(writer, 3)
        os.dup2(writer, 4)
        os.set_inheritable(3, True)
        os.set_inheritable(4, True)
    result = subprocess.run(t.command("exec", "--preserve-fds", "1", name, "sh", "-c",
                                      "echo through >&3; readlink /proc/self/fd/4; true"), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, text=True, timeout=20, preexec_fn=prepare, close_fds=False, check=True)
    os.close(writer)
    equal(os.read(reader, 100), b"through\n", "what came through 3")
    os.close(reader)
    equal(result.stdout, "", "descriptor 4")
    t.minirun("delete", "-f", name).good()


@test()
def exec_in_a_cgroup(t):
    """`--cgroup` puts it below the container's; one with cgroups of its own takes it where its first process is."""
    name = container(t)
    top = cgroup_mount() / "minirun" / name
    (top / "sub").mkdir()
    for words in (["--cgroup", "sub"], ["--cgroup", "cpu:/sub", "--cgroup=memory:/sub"]):
        t.minirun("exec", "-d", "--pid-file", t.dir / "pid", *words, name, "sleep", "1000").good()
        check(read(t.dir / "pid") in read(top / "sub/cgroup.procs").split(), f"{words}: it is not in the cgroup")
        os.kill(int(read(t.dir / "pid")), signal.SIGKILL)
        os.waitpid(int(read(t.dir / "pid")), 0)
    # As systemd in a container does: everybody moves down, and the top passes controllers on.
    (top / "sub/cgroup.procs").write_text(str(pid_of(t, name)))
    controllers = read(top / "cgroup.controllers").split()
    if controllers:
        (top / "cgroup.subtree_control").write_text(f"+{controllers[0]}")
    t.minirun("exec", "-d", "--pid-file", t.dir / "pid", name, "sleep", "1000").good()
    where = "sub/cgroup.procs" if controllers else "cgroup.procs"
    check(read(t.dir / "pid") in read(top / where).split(), f"it is not in {where}")
    t.minirun("delete", "-f", name).good()


@test()
def exec_in_a_paused_container(t):
    """`--ignore-paused`: the program begins when the container is resumed."""
    name = container(t)
    t.minirun("pause", name).good()
    process = subprocess.Popen(t.command("exec", "--ignore-paused", name, "echo", "through"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    equal(process.poll(), None, "status before resume")
    t.minirun("resume", name).good()
    equal([process.communicate(timeout=20)[0], process.returncode], ["through\n", 0], "after resume")
    t.minirun("delete", "-f", name).good()
