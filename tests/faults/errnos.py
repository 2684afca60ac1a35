"""The errno loop: each system call of a `minirun run` fails once, with each of a set of errors. No
crash, no hang, nothing left, one clear line; an interrupted call goes on as if nothing had been."""
import errno

import inject
import plans
import world
from tracer import Traced
from world import Failure, good, minirun

LIMIT_SECONDS = 2.0
ERRORS = [errno.EINTR, errno.ENOMEM, errno.EMFILE, errno.ENOSPC, errno.EPERM, errno.EIO]
# signal(7): the calls that a signal can interrupt as minirun uses them.
INTERRUPTIBLE = {"read", "write", "writev", "pread64", "poll", "ppoll", "waitid", "wait4", "flock",
                 "recvmsg", "sendmsg", "sendto", "recvfrom", "accept4", "connect"}
NO_RETURN = {"exit", "exit_group"}


def sample(calls, begin):
    """The first and the last call of each name: another place of the code more often than not."""
    chosen = set()
    for name in set(calls[begin:]):
        places = [i for i in range(begin, len(calls)) if calls[i] == name]
        chosen.update((places[0], places[-1]))
    return sorted(chosen)


def judge(plan, traced, world_, name, error, cleaning):
    words = f"{traced.words()}"
    if traced.hung:
        raise Failure(f"hangs for more than {LIMIT_SECONDS} s; {words}")
    if traced.ended < 0:
        raise Failure(f"crashed; {words}")
    if error == errno.EINTR and name in INTERRUPTIBLE and traced.ended != 0:
        raise Failure(f"an interrupted {name} is not taken up again; {words}")
    # A failure to write to standard error cannot be told there.
    if traced.ended != 0 and not (name.startswith("write") and cleaning and not traced.err):
        lines = traced.err.splitlines()
        if len(lines) != 1 or not lines[0].startswith("minirun: error: ") or len(lines[0]) < 20:
            raise Failure(f"not one clear line; {words}")
        if traced.ended not in (125, 126, 127):
            raise Failure(f"an unexpected status; {words}")
    if traced.ended == 0:
        inject.tidy(plan)
    elif not cleaning:
        inject.remove_bridge(plan)  # it is to stay, whatever became of its container
    left = world_.dead(0.5) + world_.left()
    if not left:
        return
    if not cleaning:
        raise Failure(f"there is still {'; '.join(left[:3])}; {words}")
    if traced.ended == 0:
        raise Failure(f"says nothing about {'; '.join(left[:3])}")
    good(minirun("gc"), "gc")
    inject.tidy(plan)
    world_.expect_nothing("after gc")


def run_loop(plan, full):
    def test(world_, report):
        recorded = Traced(world.command(*plan.words()))
        if recorded.ended != 0:
            raise Failure(recorded.words())
        calls = recorded.calls
        inject.tidy(plan)
        # Before main the C library works, and can only end the process; nothing exists then.
        begin = min(map(calls.index, ("poll", "newfstatat", "openat")))
        # Once the program was collected the failing call is one of those that clean up.
        collected = calls.index("waitid")
        places = range(begin, len(calls)) if full else sample(calls, begin)
        for index in places:
            if calls[index] in NO_RETURN:
                continue
            for error in ERRORS:
                def one():
                    # The order of calls may differ by a wake-up: the name is that of this run.
                    traced = Traced(world.command(*plan.words()), stop_at=index, error=error,
                                    limit=LIMIT_SECONDS)
                    name = traced.calls[index] if traced.reached else "?"
                    judge(plan, traced, world_, name, error, index > collected)
                report.case(f"{calls[index]} (call {index}) {errno.errorcode[error]}", one)
        good(inject.start(plans.TRUE, world_), "the same id after all of it")
        world_.expect_nothing("at the end")
        return f"{len(places)} of {len(calls) - begin} system calls with {len(ERRORS)} errors"
    return test


def make_tests(found, full):
    tests = {"errno-run": run_loop(found["short"], full)}
    if full:
        for name in ("oci", "userns", "many", "network"):
            tests["errno-run-" + name] = run_loop(found[name], full and name != "network")
    return tests
