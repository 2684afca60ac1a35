"""A process under ptrace, system call by system call: to kill it before its Nth call, or to have
that call fail. strace -e inject= does the same by (name, count) and costs several times as much per run.

Owns: the ptrace protocol. Must not: know what is run.
"""
import ctypes
import os
import platform
import re
import signal
import time

import world

PTRACE_TRACEME, PTRACE_POKEUSER, PTRACE_SYSCALL, PTRACE_SETOPTIONS = 0, 6, 24, 0x4200
PTRACE_GET_SYSCALL_INFO = 0x420e
O_TRACESYSGOOD, O_EXITKILL = 1, 1 << 20
ENTRY, EXIT = 1, 2
ORIG_RAX, RAX = 15 * 8, 10 * 8  # struct user of x86-64


class SyscallInfo(ctypes.Structure):
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("instruction", ctypes.c_uint64), ("stack", ctypes.c_uint64),
                ("number", ctypes.c_uint64), ("arguments", ctypes.c_uint64 * 6),
                ("more", ctypes.c_uint64)]


def names():
    """Number -> name, from the header of the kernel's interface."""
    for path in ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h",
                 "/usr/include/asm-generic/unistd.h"):
        if os.path.exists(path):
            with open(path) as file:
                found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read(), re.M)
            return {int(number): name for name, number in found}
    raise world.Skip("no header with the numbers of the system calls (linux-libc-dev)")


NAMES = None
LIBC = world.LIBC
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def ptrace(request, pid, address=0, data=0):
    return world.checked(LIBC.ptrace(request, pid, address, data), f"ptrace {request}")


def trace_me():
    ptrace(PTRACE_TRACEME, 0)


class Traced(world.Started):
    """Runs `argv` up to its call number `stop_at` (from 0, the first after execve). There, before
    the call, it is killed (`error` is None) or the call fails with `error`, and all goes on.
    `calls` are the names of those that it began. A process that waits in a call for `quiet` seconds
    is taken to have arrived: it is killed there as well, if it was to be killed."""

    def __init__(self, argv, stop_at=None, error=None, quiet=None, limit=world.HANG_SECONDS):
        global NAMES
        NAMES = NAMES or names()
        if error is not None and platform.machine() != "x86_64":
            raise world.Skip("failing a system call by ptrace is written for x86-64")
        super().__init__(argv, before_exec=trace_me)
        self.stop_at, self.error, self.quiet = stop_at, error, quiet
        self.calls, self.arguments, self.reached, self.status, self.hung = [], [], False, None, False
        self.deadline = time.monotonic() + limit
        self.loop()
        os.close(self.pidfd)
        self.seconds = time.monotonic() - self.began
        self.out, self.err = self.output.read()
        self.ended = os.waitstatus_to_exitcode(self.status)

    def words(self):
        return f"status {self.ended}, said {self.err.strip()!r}"

    def next_stop(self, quiet):
        """The wait status, or None when nothing came for the time that is left."""
        began = time.monotonic()
        until = self.deadline if quiet is None else min(self.deadline, began + quiet)
        pause = 0.0
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            now = time.monotonic()
            if now > until:
                return None
            if now - began > 0.002:  # it waits for something: leave it the processor
                pause = 0.001
            time.sleep(pause)

    def loop(self):
        status = self.next_stop(None)
        if status is None or not os.WIFSTOPPED(status):
            raise world.Failure(f"{self.pid} did not execute: {status}")
        ptrace(PTRACE_SETOPTIONS, self.pid, 0, O_TRACESYSGOOD | O_EXITKILL)
        info, deliver, first = SyscallInfo(), 0, True
        while True:
            ptrace(PTRACE_SYSCALL, self.pid, 0, deliver)
            deliver = 0
            # Only what has begun something waits for it.
            status = self.next_stop(self.quiet if "clone3" in self.calls else None)
            if status is None:
                self.hung = time.monotonic() > self.deadline
                return self.kill()
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self.status = status
                return None
            stop = os.WSTOPSIG(status)
            if stop != signal.SIGTRAP | 0x80:
                deliver = 0 if stop == signal.SIGTRAP else stop
                continue
            ptrace(PTRACE_GET_SYSCALL_INFO, self.pid, ctypes.sizeof(info),
                   ctypes.addressof(info))
            if info.op == EXIT:
                first = False  # the end of the execve that began it all
                if self.reached and self.error is not None:  # its result is now ours to choose
                    # brk(2) of the kernel knows no errors: it returns where the end is.
                    result = 0 if self.calls[-1] == "brk" else ctypes.c_ulong(-self.error).value
                    ptrace(PTRACE_POKEUSER, self.pid, RAX, result)
                    self.reached, self.stop_at, self.error = True, None, None
                continue
            if first:
                continue
            self.calls.append(NAMES.get(info.number, str(info.number)))
            self.arguments.append(info.arguments[0])
            if self.stop_at is not None and len(self.calls) == self.stop_at + 1:
                self.reached = True
                if self.error is None:
                    return self.kill()
                # close(2) gives the descriptor back whatever it returns.
                if self.calls[-1] != "close":
                    ptrace(PTRACE_POKEUSER, self.pid, ORIG_RAX, ctypes.c_ulong(-1).value)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        _, self.status = os.waitpid(self.pid, 0)

