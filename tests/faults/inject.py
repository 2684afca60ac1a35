"""The fault loop: at every point of the parent and every step of parent and child a failure, and a
death, over all plans. The program under test tells what there is (MINIRUN_FAULT=list); nothing here
knows a number. Needs build/minirun-faults."""
import errno
import os
import pty
import re

import plans
import world
from world import Failure, good, listed, minirun

# What the child cannot tell any more: it has begun to be the program.
EXEC_FAILED = 126


def start(plan, world_, fault="", container=None):
    environment = {"MINIRUN_FAULT": fault} if fault else {}
    if not plan.terminal:
        return minirun(*plan.words(container), environment=environment)
    master, slave = pty.openpty()
    import termios
    before = termios.tcgetattr(slave)
    try:
        result = minirun(*plan.words(container), environment=environment, stdin=slave,
                         terminal=True)
        if termios.tcgetattr(slave) != before and not fault.startswith("die"):
            raise Failure(f"the caller's terminal is left raw; {result.words()}")
        return result
    finally:
        os.close(master)
        os.close(slave)


def remove(plan, container=None):
    if plan.detached:
        good(minirun("delete", "-f", container or world.ID), "delete -f")
    tidy(plan)


def tidy(plan):
    """A bridge is to stay when its last container goes; `network gc` takes it, and then the table is gone, too."""
    if plan.network:
        good(minirun("gc"), "gc")  # of a run whose removal was to fail
        remove_bridge(plan)


def remove_bridge(plan):
    if plan.network:
        good(minirun("network", "gc"), "network gc")
        world.expect_no_rules()


def told(result):
    """[(kind, index, words)] that MINIRUN_FAULT=list made it say."""
    found = re.findall(r"^fault: (\w+) (\d+) (.*)$", result.err, re.M)
    return sorted({(kind, int(index), words) for kind, index, words in found})


def list_faults(plan, world_):
    """[(kind, index, words)] of one undisturbed run. Skips what this host cannot run."""
    plain = start(plan, world_)
    if plain.status != 0:
        raise world.Skip(f"cannot run here: {plain.err.splitlines()[0]}")
    remove(plan)
    world_.expect_nothing("after an undisturbed run")
    found = told(good(start(plan, world_, "list"), "MINIRUN_FAULT=list"))
    remove(plan)
    if not found:
        raise world.Skip("this minirun was built without fault points")
    return found


def fails(plan, world_, kind, index, words):
    result = start(plan, world_, f"{kind}:{index}")
    if words.startswith("hooks.poststop"):  # config.md: a warning, and the command goes on
        if result.status != 0 or f"minirun: warning: {words}" not in result.err:
            raise Failure(f"no warning; {result.words()}")
        world_.expect_nothing("after the warning", 0)
        return
    created = plan.create and result.status == 0
    if created:  # a step behind the wait for `start`: that one tells
        result = minirun("start", world.ID)
    if result.status == 0:
        remove(plan)
        raise Failure(f"the failure was not noticed; {result.words()}")
    if created:
        good(minirun("delete", world.ID), "delete")
    want = {plan.failure, EXEC_FAILED} if words == "process.args" else {plan.failure}
    if result.status not in want:
        raise Failure(f"status {result.status}, not {sorted(want)}; {result.words()}")
    lines = result.err.splitlines()
    if len(lines) != 1 or not lines[0].startswith("minirun: error: "):
        raise Failure(f"not one line: {result.err!r}")
    # The name of a session keyring ends in digits that are others in each run.
    told_, wanted = (re.sub(r"\.[0-9a-f]{16}\b", "", text) for text in (lines[0], words))
    if wanted not in told_ or os.strerror(errno.EIO) not in lines[0]:
        raise Failure(f"the message names neither {words!r} nor the errno: {lines[0]!r}")
    if kind != "net":
        tidy(plan)  # a container had been on it
    world_.expect_nothing("after the failure", 0)
    if plan.network:
        world.expect_no_rules()


def parent_dies(plan, world_, fault):
    result = start(plan, world_, fault)
    if result.status != -9:
        raise Failure(f"was to be killed; {result.words()}")
    after_death(plan, world_)
    start(plan, world_, fault)
    after_death(plan, world_, with_gc=False)


def after_death(plan, world_, with_gc=True):
    """After the SIGKILL of a minirun: the promise of crash safety. What is left is removed by gc, or
    by the next run with the same id."""
    living = world_.dead(0.1 if plan.detached else world.DEATH_SECONDS)
    entry = listed(world.ID) if plan.detached else None
    if living and entry is not None and entry["status"] in ("created", "running"):
        good(minirun("delete", "-f", world.ID), "delete -f")
        world_.expect_nothing("after delete -f")
        return
    living = world_.dead()
    if living:
        raise Failure("a second later there lives " + ", ".join(living))
    if entry is not None and not entry.get("crashed"):
        good(minirun("delete", world.ID), "delete")  # committed and stopped, so it is the user's
    elif with_gc:
        good(minirun("gc"), "gc")
    else:
        quick = plans.TRUE
        good(start(quick, world_), "the next run with the same id")
    tidy(plan)
    world_.expect_nothing("after gc, delete or the next run")


def child_dies(plan, world_, index, committed):
    result = start(plan, world_, f"child-die:{index}")
    if plan.create and result.status == 0:
        started = minirun("start", world.ID)
        if started.status not in (0, 1) or len(started.err.splitlines()) != started.status:
            raise Failure(f"start: {started.words()}")
    if committed and plan.detached and result.status == 0:
        # Dead after the word is dead as a running program: a stopped container.
        good(minirun("delete", world.ID), "delete")
    else:
        want = {plan.failure, 137} if committed else {plan.failure}
        if result.status not in want:
            raise Failure(f"status {result.status}, not {sorted(want)}; {result.words()}")
        if result.status == plan.failure and len(result.err.splitlines()) != 1:
            raise Failure(f"not one line: {result.err!r}")
    tidy(plan)
    world_.expect_nothing("after the child's death", 0)


def run_plan(plan, world_, report):
    faults = list_faults(plan, world_)
    counts = {}
    word = max((index for kind, index, words in faults
                if kind == "child" and "wait for the word" in words), default=None)
    for kind, index, words in faults:
        counts[kind] = counts.get(kind, 0) + 1
        report.case(f"{kind}:{index} ({words})", lambda: fails(plan, world_, kind, index, words))
        if kind == "point":
            report.case(f"die:{index} ({words})", lambda: parent_dies(plan, world_, f"die:{index}"))
        elif kind == "net":
            report.case(f"net-die:{index} ({words})", lambda: parent_dies(plan, world_, f"net-die:{index}"))
        elif kind == "child":
            committed = word is not None and index > word
            report.case(f"child-die:{index} ({words})",
                        lambda: child_dies(plan, world_, index, committed))
    again = start(plan, world_)
    good(again, "the same id after all of it")
    if plan.create:
        good(minirun("start", world.ID), "start")
    remove(plan)
    world_.expect_nothing("at the end")
    world_.expect_no_keyrings()
    return ", ".join(f"{count} {kind}s" if kind == "point" else f"{count} steps of the {kind.replace('net', 'network')}"
                     for kind, count in sorted(counts.items()))


def other_command(world_, report, name, prepare, words, repair):
    """delete and gc: a failure and a death at each of their points."""
    index = 0
    while True:
        prepare()
        result = good(minirun(*words, environment={"MINIRUN_FAULT": "list"}), name)
        names = [words_ for kind, _, words_ in told(result) if kind == "point"]
        world_.expect_nothing(f"after {name}")
        if index == len(names):
            return f"{index} points"
        for kind, status in (("point", 1), ("die", -9)):
            def one():
                prepare()
                result = minirun(*words, environment={"MINIRUN_FAULT": f"{kind}:{index}"})
                if result.status != status:
                    raise Failure(f"was to fail; {result.words()}")
                if kind == "point" and names[index] not in result.err:
                    raise Failure(f"the message does not name the step; {result.words()}")
                repair()
                world_.expect_nothing("after the second attempt")
            report.case(f"{name} {kind}:{index} ({names[index]})", one)
        index += 1


def start_command(plan, world_, report):
    """A failure and a death at each point of `start`: the container can be deleted, and nothing of it is left."""
    def created():
        good(start(plan, world_), "create")

    created()
    result = good(minirun("start", world.ID, environment={"MINIRUN_FAULT": "list"}), "start")
    points = [(index, words) for kind, index, words in told(result) if kind == "point"]
    remove(plan)
    for index, words in points:
        for kind, status in (("point", 1), ("die", -9)):
            def one():
                created()
                result = minirun("start", world.ID, environment={"MINIRUN_FAULT": f"{kind}:{index}"})
                if result.status != status:
                    raise Failure(f"was to fail; {result.words()}")
                if kind == "point" and (words not in result.err or len(result.err.splitlines()) != 1):
                    raise Failure(f"not one line that names the step; {result.words()}")
                remove(plan)
                world_.expect_nothing("after delete -f")
            report.case(f"start {kind}:{index} ({words})", one)
    return f"start {len(points)} points"


def run_others(found, world_, report):
    detached, asleep = found["detached"], found["sleep"]

    def running():
        good(start(detached, world_), "run -d")

    def crashed():
        result = start(asleep, world_, "die:8")
        if result.status != -9:
            raise Failure(result.words())
        world_.dead()
        if listed(world.ID) is None:
            raise Failure("the crashed run is not listed")

    def delete():
        good(minirun("delete", "-f", world.ID), "delete -f")

    words = [other_command(world_, report, "delete", running, ["delete", "-f", world.ID], delete),
             other_command(world_, report, "gc", crashed, ["gc"],
                           lambda: good(minirun("gc"), "gc"))]
    return "delete {}, gc {}, ".format(*words) + start_command(found["create"], world_, report)
