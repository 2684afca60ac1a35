"""The other faults of a host and of its people: races for one id, a full disk, too few descriptors,
files that got corrupted, a process that dies, stops or is frozen at the wrong moment, a pid that is
somebody else's by now."""
import json
import os
import random
import re
import signal
import subprocess
import time

import inject
import world
from world import Failure, Started, command, good, listed, minirun

PROMPT_SECONDS = 2.0


def state(name):
    return f"{world.STATE}/{world.ID}/{name}"


def running(found):
    """Starts the sleeping container; its init."""
    good(minirun(*found["detached"].words()), "run -d")
    return listed(world.ID)["pid"]


def delete(force=True):
    return minirun("delete", *(["-f"] if force else []), world.ID)


def one_id(found, world_, report):
    """Eight runs with one id at once: those that do not run say why; nobody harms another."""
    def race():
        runs = [Started(command(*found["short"].words())) for _ in range(8)]
        results = [run.wait() for run in runs]
        won = [result for result in results if result.status == 0]
        for result in results:
            if result.status not in (0, 125) or (result.status == 125 and "exists" not in result.err):
                raise Failure(result.words())
        if not won:
            raise Failure("nobody won")
        world_.expect_nothing("after the race")

    def race_detached():
        runs = [Started(command(*found["detached"].words())) for _ in range(8)]
        won = [result for result in [run.wait() for run in runs] if result.status == 0]
        if len(won) != 1:
            raise Failure(f"{len(won)} of 8 runs won")
        if (listed(world.ID) or {}).get("status") != "running":
            raise Failure("the winner does not run")
        good(delete(), "delete -f")
        world_.expect_nothing("after the race")

    def deletes():
        running(found)
        calls = [Started(command("delete", "-f", world.ID)) for _ in range(8)]
        for result in [call.wait() for call in calls]:
            good(result, "one of eight deletes")
        world_.expect_nothing("after eight deletes")

    for number in range(10):
        report.case(f"run {number}", race)
        report.case(f"delete -f {number}", deletes)
    # A loser that took the winner's directory away once needed some rounds to show.
    for number in range(40):
        report.case(f"run -d {number}", race_detached)
    return "8 at once"


def full_disk(found, world_, report):
    """The state directory on file systems of every size up to the first that is large enough."""
    tiny = world.WORK + "/tiny"
    os.mkdir(tiny)
    world_.settle()
    for name, sizes in (("nr_inodes", range(1, 16)), ("size", range(4096, 20 * 4096, 4096))):
        enough = False
        for size in sizes:
            def one():
                world.mount("tmpfs", tiny, "tmpfs", 0, f"{name}={size},mode=755")
                try:
                    before = set(os.listdir(tiny))
                    argv = [world.MINIRUN, "--root", tiny, *found["short"].words()]
                    result = Started(argv).wait()
                    nonlocal enough
                    enough = result.status == 0
                    if not enough and (result.status != 125 or len(result.err.splitlines()) != 1):
                        raise Failure(result.words())
                    left = set(os.listdir(tiny)) - before - {"@seccomp"}
                    if left:
                        raise Failure(f"there is still {left}; {result.words()}")
                finally:
                    world.LIBC.umount2(tiny.encode(), world.MNT_DETACH)
                world_.expect_nothing("on the full disk")
            report.case(f"{name}={size}", one)
            if enough:
                break
        if not enough:
            raise Failure(f"no {name} up to {sizes[-1]} is enough")
    os.rmdir(tiny)
    world_.settle()


def few_descriptors(found, world_, report):
    """`ulimit -n` from 3 up to the first number that is enough."""
    import resource
    for limit in range(3, 64):
        status = None

        def one():
            nonlocal status
            run = Started(command(*found["short"].words()), before_exec=lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (limit, limit)))
            result = run.wait()
            status = result.status
            if result.status < 0 or (result.status and len(result.err.splitlines()) != 1):
                raise Failure(result.words())
            world_.expect_nothing("with few descriptors")
        report.case(f"ulimit -n {limit}", one)
        if status == 0:
            return f"{limit} descriptors are enough"
    raise Failure("63 descriptors are not enough")


def write_state(name, content):
    """init.json is the target of a link; what none can be becomes a file."""
    if name == "init.json" and 0 < len(content) < 4096 and b"\0" not in content:
        os.symlink(content, os.fsencode(state(name)))
        return
    with open(state(name), "wb") as file:
        file.write(content)


def corrupt(found, world_, report):
    """record.json and init.json cut short at every length, filled with noise, emptied, removed."""
    noise = random.Random(1)

    def damage(names, change):
        init = running(found)
        for name in names:
            if name == "init.json":
                content = os.fsencode(os.readlink(state(name)))
            else:
                with open(state(name), "rb") as file:
                    content = file.read()
            damaged = change(content)
            os.remove(state(name))
            if damaged is not None:
                write_state(name, damaged)
        for words in (["list"], ["list", "--format", "json"], ["state", world.ID],
                      ["kill", world.ID, "0"], ["gc"]):
            result = minirun(*words)
            if result.status not in (0, 1):
                raise Failure(f"{words[0]}: {result.words()}")
        removed = any(change(b"{}") is None for _ in names)  # no longer committed: gc may end it
        if not removed and not world.alive(init):
            raise Failure("list, state, kill 0 or gc ended the container")
        good(delete(), "delete -f")
        world_.expect_nothing("after delete -f")

    changes = {"empty": lambda text: b"", "null": lambda text: b"null", "list": lambda text: b"[]",
               "other": lambda text: b'{"version":99}',
               "types": lambda text: re.sub(rb'"[^"]*"(?=[,}])', b"17", text),
               "noise": lambda text: noise.randbytes(len(text)),
               "zero": lambda text: bytes(len(text)),
               "deep": lambda text: b"[" * 100000,
               "huge": lambda text: text + b" " * (2 << 20)}
    for part in (1, 2, 10, 50, 90, 99):
        changes[f"{part} % of it"] = lambda text, p=part: text[:len(text) * p // 100]
    for name, change in changes.items():
        for files in (["record.json"], ["init.json"], ["record.json", "init.json"]):
            report.case(f"{' and '.join(files)}: {name}", lambda: damage(files, change))


def stranger(found, world_, report):
    """init.json names a live stranger's pid: neither kill nor delete -f may touch it."""
    def one(start_time):
        init = running(found)
        time.sleep(0.03)  # start times are counted in ticks of 10 ms
        victim = subprocess.Popen(["/bin/sleep", "1000"])
        try:
            content = json.loads(os.readlink(state("init.json")))
            content["pid"] = victim.pid
            if start_time is not None:
                content["startTime"] = start_time
            os.remove(state("init.json"))
            write_state("init.json", json.dumps(content).encode())
            minirun("kill", world.ID, "KILL")
            good(delete(), "delete -f")
            if victim.poll() is not None:
                raise Failure("the stranger was killed")
            if world.alive(init):
                raise Failure("the container lives")
        finally:
            victim.kill()
            victim.wait()
        world_.expect_nothing("after delete -f")
    report.case("the old start time", lambda: one(None))
    report.case("start time 0", lambda: one(0))
    report.case("the largest start time", lambda: one((1 << 64) - 1))

    def foreign_cgroup():
        """A create that crashed before it looked at its cgroup, in which others live."""
        os.mkdir(world.CGROUP + "/foreign")
        victim = subprocess.Popen(["/bin/sleep", "1000"])
        try:
            with open(world.CGROUP + "/foreign/cgroup.procs", "w") as file:
                file.write(str(victim.pid))
            with open(found["oci"].spec + "/config.json") as file:
                spec = json.load(file)
            spec["linux"]["cgroupsPath"] = "/foreign"
            directory = world.WORK + "/foreign"
            os.mkdir(directory)
            with open(directory + "/config.json", "w") as file:
                json.dump(spec, file)
            result = minirun("run", "--id", world.ID, directory)
            if result.status != 125 or "not empty" not in result.err:
                raise Failure(f"took a cgroup that is not empty; {result.words()}")
            point = next((index for kind, index, words in inject.told(
                minirun("run", "--id", world.ID, found["oci"].spec,
                        environment={"MINIRUN_FAULT": "list"}))
                          if kind == "point" and words == "cgroup"), None)
            if point is None:
                raise world.Skip("this minirun was built without fault points")
            minirun("run", "--id", world.ID, directory,
                    environment={"MINIRUN_FAULT": f"die:{point}"})
            minirun("gc")
            delete()
            if victim.poll() is not None:
                raise Failure("who lived in that cgroup was killed")
        finally:
            victim.kill()
            victim.wait()
        good(delete(), "delete -f when the others are gone")
        os.remove(directory + "/config.json")
        os.rmdir(directory)
        if os.path.isdir(world.CGROUP + "/foreign"):
            os.rmdir(world.CGROUP + "/foreign")
        world_.expect_nothing("at the end")
    report.case("a cgroup in which others live", foreign_cgroup)


def dying_init(found, world_, report):
    """Init is killed as soon as it can be seen, at ever later moments."""
    def one(pause):
        run = Started(command(*found["sleep"].words()))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            inits = [pid for pid in world.processes() if pid != run.pid]
            if inits:
                break
        else:
            raise Failure("no init appeared")
        time.sleep(pause)
        for pid in inits:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        began = time.monotonic()
        result = run.wait()
        if result.status not in (125, 137):
            raise Failure(result.words())
        if time.monotonic() - began > PROMPT_SECONDS:
            raise Failure(f"took {time.monotonic() - began:.1f} s to notice")
        world_.expect_nothing("after init was killed")
    for step in range(30):
        report.case(f"after {step * 0.1:.1f} ms", lambda: one(step * 0.0001))


def signals(found, world_, report):
    """SIGTERM and SIGINT to minirun while it starts, at ever later moments."""
    def one(number, pause):
        run = Started(command(*found["sleep"].words()))
        time.sleep(pause)
        run.signal(number)
        try:
            # An init without a handler ignores it; three times INT or TERM means it.
            for _ in range(3):
                time.sleep(0.02)
                run.signal(signal.SIGTERM if number == signal.SIGHUP else number)
        except ProcessLookupError:
            pass
        result = run.wait(5)
        if result.status not in (125, 137, -number):
            raise Failure(result.words())
        if result.status == 125 and len(result.err.splitlines()) != 1:
            raise Failure(result.words())
        left = world_.dead() + world_.left()
        if left and result.status != -number:
            raise Failure(f"there is still {'; '.join(left)}; {result.words()}")
        good(minirun("gc"), "gc")
        world_.expect_nothing("after the signal and gc")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for step in range(20):
            report.case(f"{signal.Signals(number).name} after {step * 0.4:.1f} ms",
                        lambda: one(number, step * 0.0004))


def stopped(found, world_, report):
    """minirun is stopped (SIGSTOP) while others delete its container."""
    def one(pause):
        run = Started(command(*found["sleep"].words()))
        time.sleep(pause)
        run.signal(signal.SIGSTOP)
        # A shell may stop it for hours: the others neither hang nor harm, and say why they fail.
        for words in (["list"], ["gc"], ["delete", "-f", world.ID]):
            result = minirun(*words, seconds=15)
            if result.status not in (0, 1) or (result.status and not result.err):
                raise Failure(f"{words[0]}: {result.words()}")
        run.signal(signal.SIGCONT)
        delete()
        for _ in range(3):
            try:
                run.signal(signal.SIGTERM)
            except ProcessLookupError:
                break
            time.sleep(0.02)
        run.wait(10)
        good(minirun("gc"), "gc")
        world_.expect_nothing("after it went on")
    for pause in (0.002, 0.006, 0.3):
        report.case(f"after {pause * 1000:.0f} ms", lambda: one(pause))


def frozen(found, world_, report):
    def one():
        running(found)
        with open(f"{world.CGROUP}/minirun/{world.ID}/cgroup.freeze", "w") as file:
            file.write("1")
        deadline = time.monotonic() + 2
        while listed(world.ID)["status"] != "paused":
            if time.monotonic() > deadline:
                raise Failure(f"listed as {listed(world.ID)['status']}, not paused")
        refused = delete(force=False)
        if refused.status != 1 or "paused" not in refused.err:
            raise Failure(refused.words())
        began = time.monotonic()
        good(delete(), "delete -f")
        if time.monotonic() - began > PROMPT_SECONDS:
            raise Failure("delete -f took more than 2 s")
        world_.expect_nothing("after delete -f")
    report.case("delete -f", one)


def fork_bomb(found, world_, report):
    """200 processes that fork and end all the time."""
    spec = world.WORK + "/bomb.json"
    script = "i=0; while [ $i -lt 200 ]; do (while :; do (:); done) & i=$((i+1)); done; wait"
    with open(spec, "w") as file:
        json.dump({"command": ["sh", "-c", script]}, file)

    def one():
        good(minirun("run", "-d", "--id", world.ID, spec), "run -d")
        deadline, grown = time.monotonic() + 10, 0
        while grown < 150:  # it goes up and down
            if time.monotonic() > deadline:
                raise Failure(f"only {grown} processes came")
            time.sleep(0.01)
            grown = len(world.processes())
        began = time.monotonic()
        good(delete(), "delete -f")
        seconds = time.monotonic() - began
        if seconds > 5:
            raise Failure(f"delete -f took {seconds:.1f} s")
        os.remove(spec)
        world_.expect_nothing("after delete -f")
    report.case("delete -f", one)


def make_tests(found):
    return {name: lambda w, r, f=function: f(found, w, r) for name, function in (
        ("one-id", one_id), ("full-disk", full_disk), ("few-descriptors", few_descriptors),
        ("corrupt", corrupt), ("stranger", stranger), ("dying-init", dying_init),
        ("signals", signals), ("stopped", stopped), ("frozen", frozen), ("fork-bomb", fork_bomb))}
