"""The kill loop: SIGKILL of minirun before each of its system calls. The sequence is recorded once
and then replayed up to call N for every N, so that a new call cannot escape.

Promise (security reference F1, G3): a second later nothing lives of a container that was not
committed or that belongs to a foreground run; after `gc`, or the next run with the same id, or
`delete -f`, nothing at all is left."""
import signal
import time

import inject
import plans
import world
from tracer import Traced
from world import Failure, good, listed, minirun

QUIET = 0.5  # a call that waits this long in the recording is the wait for the program


def record(words, quiet=None):
    return Traced(world.command(*words), quiet=quiet)


def loop(report, words, check, quiet=None, prepare=None, stride=1):
    """check(index, traced) after a kill before each (or each `stride`th) call of `minirun WORDS`."""
    if prepare:
        prepare()
    count = len(record(words, quiet).calls)
    report.world.clear()
    for index in range(0, count, stride):
        def one():
            if prepare:
                prepare()
            traced = Traced(world.command(*words), stop_at=index, quiet=quiet)
            if not traced.reached and traced.ended not in (0, -9):
                raise Failure(traced.words())
            check(index)
        report.case(f"call {index}", one)
    return f"{count} system calls"


def run_loop(plan, quiet=None, stride=1):
    def test(world_, report):
        count = 0

        def judged(_index):
            nonlocal count
            count += 1
            inject.after_death(plan, world_, with_gc=count % 2 == 0)

        inject.tidy(plan)
        words = loop(report, plan.words(), judged, quiet, stride=stride)
        inject.good(inject.start(plans.TRUE, world_), "the same id after all of it")
        world_.expect_nothing("at the end")
        world_.expect_no_keyrings()
        return words
    return test


def delete_loop(plan, world_, report):
    def again(_index):
        good(minirun("delete", "-f", world.ID), "the second delete -f")
        world_.expect_nothing("after the second delete -f")
    return loop(report, ["delete", "-f", world.ID], again,
                prepare=lambda: good(minirun(*plan.words()), "run -d"))


def start_loop(plan, world_, report):
    """A start that is killed leaves a container that waits, runs or has stopped, and can be deleted."""
    def judged(_index):
        entry = listed(world.ID)
        if entry is not None and entry["status"] not in ("created", "running", "stopped"):
            raise Failure(f"the container is now {entry}")
        good(minirun("delete", "-f", world.ID), "delete -f")
        world_.expect_nothing("after delete -f")
    return loop(report, ["start", world.ID], judged,
                prepare=lambda: good(minirun(*plan.words()), "create"))


def gc_loop(plan, world_, report):
    """gc killed while it removes a crashed foreground run."""
    def crashed():
        run = world.Started(world.command(*plan.words()))
        deadline = time.monotonic() + 5
        while (listed(world.ID) or {}).get("status") != "running":
            if time.monotonic() > deadline:
                raise Failure("the container does not run")
        run.signal(signal.SIGKILL)
        run.wait()
        living = world_.dead()
        if living:
            raise Failure("after the run was killed there lives " + ", ".join(living))

    def again(_index):
        good(minirun("gc"), "the second gc")
        world_.expect_nothing("after the second gc")
    return loop(report, ["gc"], again, prepare=crashed)


def guest_loop(plan, words):
    """A command that works on a running container must not harm it by its death."""
    def test(world_, report):
        good(minirun(*plan.words()), "run -d")
        init = listed(world.ID)["pid"]

        def unharmed(_index):
            living = world_.dead(spare=[init])
            if living:
                raise Failure("a second later there lives " + ", ".join(living))
            entry = listed(world.ID)
            if entry is None or entry["status"] != "running" or entry["pid"] != init:
                raise Failure(f"the container is now {entry}")
        try:
            count = len(record(words).calls)
            for index in range(count):
                def one():
                    traced = Traced(world.command(*words), stop_at=index)
                    if not traced.reached and traced.ended != 0:
                        raise Failure(traced.words())
                    unharmed(index)
                report.case(f"call {index}", one)
        finally:
            good(minirun("delete", "-f", world.ID), "delete -f")
        world_.expect_nothing("after delete -f")
        world_.expect_no_keyrings()
        return f"{count} system calls"
    return test


def make_tests(found, full):
    detached, asleep = found["detached"], found["sleep"]
    tests = {"kill-run": run_loop(found["short"]), "kill-run-sleep": run_loop(asleep, QUIET),
             "kill-run-detached": run_loop(detached),
             "kill-create": run_loop(found["create"]),
             "kill-start": lambda w, r: start_loop(found["create"], w, r),
             "kill-delete": lambda w, r: delete_loop(detached, w, r),
             "kill-gc": lambda w, r: gc_loop(asleep, w, r),
             "kill-kill": guest_loop(detached, ["kill", world.ID, "WINCH"]),
             "kill-exec": guest_loop(detached, ["exec", world.ID, "/bin/true"])}
    # Those that change a network, a lease or a file all have their kill in tests/integration/network.py.
    tests["kill-run-network"] = run_loop(found["network"], stride=1 if full else 9)
    if full:
        for name in ("oci", "userns", "many", "fork"):
            tests["kill-run-" + name] = run_loop(found[name])
    return tests
