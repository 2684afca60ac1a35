"""Signals, zombies and the terminal: what minirun does while the payload runs."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from harness import check, descendants, equal, test, wait_until, within


def start(t, script, spec=None, **more):
    """minirun in the background, after the payload has said that it is ready."""
    path = t.write(f"spec-{t.id()}.json", {"command": ["sh", "-c", script], **(spec or {})})
    process = subprocess.Popen(t.command("run", "--id", t.id(), path), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    equal(process.stdout.readline(), b"ready\n", "first line of the payload")
    return process


def end(process, limit=15):
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"minirun did not end within {limit} s") from None
    return process.returncode, out.decode()


@test()
def signals_are_forwarded(t):
    """Signals forwarded to the container's pid 1."""
    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT"):
        # sh runs a trap only between commands: the sleep is in the background.
        process = start(t, f"trap 'echo {name}; exit 9' {name}; sleep 30 & echo ready; wait; sleep 1")
        process.send_signal(getattr(signal, f"SIG{name}"))
        equal(end(process), (9, f"{name}\n"), f"after SIG{name}")


@test()
def insisting_kills(t):
    """A payload that ignores SIGTERM, as pid 1 does without a handler, goes at the third one."""
    process = start(t, "echo ready; exec sleep 60")
    for _ in range(3):
        process.terminate()
        time.sleep(0.1)
    equal(end(process)[0], 137, "status")


@test()
def zombies_are_reaped(t):
    """Zombies reaped: orphans in a pid namespace by its first process, without one by minirun."""
    script = ("echo ready; for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 & exit' &); done; sleep 1; "
              "ps -eo stat=,ppid= | grep -c ^Z")
    process = start(t, script, {"namespaces": {"pid": "host"}})
    seen = []

    def zombies():
        for pid in os.listdir("/proc"):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ProcessLookupError):
                continue
            if fields[0] == "Z" and int(fields[1]) == process.pid:
                yield pid

    time.sleep(0.7)
    seen = list(zombies())
    end(process)
    equal(seen, [], "zombies below minirun")


@test()
def killed_minirun_takes_the_payload(t):
    """A minirun that is killed leaves no process of a foreground run; gc removes the rest."""
    process = start(t, "echo ready; setsid sleep 60 & sleep 60")
    process.kill()
    process.communicate()
    wait_until(lambda: not descendants(os.getpid()), "the payload ends", 5)
    check(t.minirun("gc").good().out.strip(), "gc removed nothing")
    equal(t.minirun("list", "-q").good().out, "", "list after gc")


class Terminal:
    """minirun on the slave of a pseudo terminal; we are the user at its master."""

    def __init__(self, t, spec, words=()):
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        path = t.write(f"spec-{t.id()}.json", {"terminal": True, **spec})
        self.process = subprocess.Popen(
            t.command("run", "--no-summary", "--id", t.id(), path, *(["--", *words] if words else [])),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.seen = b""

    def expect(self, words, limit=20):
        stop = time.monotonic() + limit
        while words not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, stop - time.monotonic()))
            if not ready:
                raise AssertionError(f"{words!r} did not appear: {self.seen!r}")
            self.seen += os.read(self.master, 65536)
        print(self.seen)

    def type(self, text):
        self.seen = b""
        os.write(self.master, text)

    def close(self, status):
        try:
            equal(self.process.wait(20), status, "status")
            after = termios.tcgetattr(self.slave)
            equal(after, self.before, "settings of the terminal afterwards")
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.master)
            os.close(self.slave)


@test()
def terminal(t):
    """Terminal handled as `runc run` does: a terminal of its own, with its size, raw outside, and job control."""
    user = Terminal(t, {"command": ["sh"]})
    user.type(b"stty size; tty; [ -t 0 ] && echo is-$((1+1))-a-tty\n")
    user.expect(b"is-2-a-tty")
    check(b"33 99" in user.seen, f"size of the terminal: {user.seen!r}")
    check(b"/dev/console" in user.seen or b"/dev/pts/0" in user.seen, f"name of the terminal: {user.seen!r}")
    check(b"can't access tty" not in user.seen, "no job control")
    user.type(b"sleep 50\n")
    time.sleep(0.5)
    user.type(b"\x03")
    user.type(b"echo status-$?\n")
    user.expect(b"status-130")
    fcntl.ioctl(user.master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
    os.kill(user.process.pid, signal.SIGWINCH)
    time.sleep(0.3)
    user.type(b"stty size\n")
    user.expect(b"44 111")
    user.type(b"exit 5\n")
    user.close(5)


@test()
def terminal_of_a_killed_container(t):
    """The terminal is restored also when the container is killed."""
    user = Terminal(t, {"command": ["sh", "-c", "echo ready; sleep 60"], "timeout": "1s"})
    user.expect(b"ready")
    user.close(137)


@test()
def terminal_is_not_there(t):
    """A terminal is asked for and there is none: refused or given, but not hung."""
    start_time = time.monotonic()
    result = t.run({"command": ["sh", "-c", "[ -t 1 ] && echo tty"], "terminal": True})
    check(result.status in (0, 125), f"status {result.status}")
    check(result.status == 125 or "tty" in result.out, f"output {result.out!r}")
    within(time.monotonic() - start_time, 0, 15, "seconds")


@test()
def output_is_complete(t):
    """Nothing of a payload's output is lost at its end, through pipes and through a terminal."""
    result = t.sh("seq 1 100000").good()
    equal(result.out, "".join(f"{i}\n" for i in range(1, 100001)), "output through a pipe")
    user = Terminal(t, {"command": ["seq", "1", "20000"]})
    user.expect(b"\n20000\r\n")
    equal(user.seen, b"".join(b"%d\r\n" % i for i in range(1, 20001)), "output through the terminal")
    user.close(0)
