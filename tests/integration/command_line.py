"""`minirun run` and its options. Must not: test what is inside of the container (isolation.py)."""

import hashlib
import json
import os
import stat
import time

from harness import (REPOSITORY, Failure, Fingerprint, check, equal, read, test, within)


@test()
def hello(t):
    """One command runs a program in a container: the example with the least in it."""
    result = t.run(REPOSITORY / "examples/hello.json").good()
    equal(result.out, "hello from a container\n", "standard output")
    equal(result.err, "", "standard error")


@test()
def exit_codes(t):
    """Exit codes: the container's own; 128+signal; 125/126/127 as shells and docker do."""
    for status in (0, 1, 42, 125, 126, 127, 255):
        equal(t.sh(f"exit {status}").status, status, f"status of exit {status}")
    # The first process of a pid namespace ignores the signals that it sends itself; one from outside does kill it.
    equal(t.sh("sleep 30", options=["--timeout", "100ms"]).status, 137, "status after SIGKILL")
    equal(t.sh("sh -c 'kill -TERM $$'; exit $?").status, 143, "status of a shell whose child had SIGTERM")
    equal(t.sh("kill -SEGV $$; exit 9", {"namespaces": {"pid": "host"}}).status, 139, "status after SIGSEGV")
    equal(t.run({"command": ["no-such-program"]}).status, 127, "status of a missing program")
    equal(t.run({"command": ["/etc/hostname"]}).status, 126, "status of a file that is no program")
    equal(t.minirun("run", t.dir / "missing.json").status, 125, "status of minirun's own failure")


@test()
def words_replace_the_command(t):
    """`--`, a command that replaces the spec's; words that look like options belong to it."""
    spec = {"command": ["false"], "env": {"WORD": "kept"}}
    equal(t.run(spec, "echo", "a b", "--id", "-x").good().out, "a b --id -x\n", "output")
    equal(t.run(spec, "sh", "-c", "echo $WORD").good().out, "kept\n", "the spec's environment")
    equal(t.run(spec, "exit-with-no-such-program").status, 127, "status")


@test()
def environment(t):
    """`--env` adds and replaces; nothing of the caller's environment goes in."""
    spec = {"command": ["env"], "env": {"A": "spec", "B": "spec"}}
    os.environ["MINIRUN_CANARY"] = "out"
    result = t.run(spec, options=["--env", "A=option", "--env", "C=with = sign", "--env", "D="]).good()
    found = sorted(line for line in result.out.splitlines() if line[:2] in ("A=", "B=", "C=", "D="))
    equal(found, ["A=option", "B=spec", "C=with = sign", "D="], "environment")
    check("MINIRUN_CANARY" not in result.out, "the caller's environment is in the container")
    t.refused(t.run(spec, options=["--env", "=x"]), "--env", '"=x"')


@test()
def timeout_kills_everything(t):
    """`--timeout` kills the whole cgroup: also who left the session and ignores signals."""
    script = "trap '' TERM INT HUP; for i in 1 2 3; do setsid sh -c 'trap \"\" TERM; sleep 60' & done; sleep 60"
    for namespaces in ({}, {"namespaces": {"pid": "host"}}):
        start = time.monotonic()
        result = t.sh(script, namespaces, options=["--timeout", "700ms"])
        equal(result.status, 137, f"status with {namespaces}")
        within(time.monotonic() - start, 0.7, 5, "seconds")
    report = t.report({"command": ["sleep", "60"], "timeout": "300ms"}).report
    equal([report["timedOut"], report["signalName"], report["status"]], [True, "SIGKILL", 137], "report")
    t.refused(t.run({"command": ["true"]}, options=["--timeout", "soon"]), "--timeout", '"soon"')


REPORT = {"schema", "id", "name", "started", "finished", "seconds", "status", "exitCode", "signal", "signalName",
          "timedOut", "oom", "pidsRefused", "cgroup", "limits", "cpu", "memory", "pids", "io", "pressure", "layer",
          "phases"}
CPU = {"usageUsec", "userUsec", "systemUsec", "cores", "limitCores", "nrPeriods", "nrThrottled", "throttledUsec"}


@test()
def report(t):
    """The JSON report has a versioned schema and everything of the summary, the phases of the start too."""
    result = t.report({"name": "web", "command": ["sh", "-c", "exit 3"]})
    equal(result.status, 3, "status")
    found = result.report
    equal(found["schema"], 1, "schema version")
    check(REPORT <= set(found), f"missing in the report: {REPORT - set(found)}")
    check(CPU <= set(found["cpu"]), f"missing in cpu: {CPU - set(found['cpu'])}")
    equal([found["name"], found["exitCode"], found["signal"], found["status"], found["timedOut"]],
          ["web", 3, None, 3, False], "how it ended")
    equal(found["oom"]["cause"], "none", "oom.cause")
    check(found["cpu"]["usageUsec"] > 0, "no CPU time was counted")
    equal(found["cpu"]["usageUsec"] >= found["cpu"]["userUsec"], True, "usage is not below user")
    names = [phase["name"] for phase in found["phases"]]
    check({"plan", "clone", "exec", "program"} <= set(names), f"phases {names}")


@test()
def report_of_a_killed_container(t):
    """The report is written even when the container was killed, and says by which signal."""
    found = t.report({"command": ["sh", "-c", "kill -KILL $$"], "namespaces": {"pid": "host"}}).report
    equal([found["exitCode"], found["signal"], found["signalName"], found["status"]],
          [None, 9, "SIGKILL", 137], "how it ended")
    check(REPORT <= set(found), f"missing in the report: {REPORT - set(found)}")


@test()
def dry_run_changes_nothing(t):
    """`--dry-run` prints the plan and changes nothing: not even the state directory comes to be."""
    t.root.rmdir()
    before = Fingerprint(t)
    spec = t.write("spec.json", {"command": ["sleep", "5"], "mounts": ["/etc:/mnt:ro"], "userns": {
        "uid": ["0:100000:65536"], "gid": ["0:100000:65536"]}})
    result = t.minirun("run", "--dry-run", spec).good()
    equal(before.difference(Fingerprint(t)), [], "what a dry run changed")
    equal(os.path.exists(t.root), False, "the state directory exists")
    for words in ("new namespaces:", "uid map 0 100000 65536", "[mounts[", "pivot", "seccomp", 'execute sleep'):
        check(words in result.out, f"{words!r} is not in the plan")
    bad = t.minirun("run", "--dry-run", t.write("bad.json", {"command": 5}))
    equal([bad.status, bad.out], [125, ""], "a dry run of a bad spec")
    t.root.mkdir(mode=0o700)


@test()
def standard_input(t):
    """SPEC may be `-`, and the payload has the standard streams of minirun."""
    equal(t.minirun("run", "-", input='{"command": ["echo", "from stdin"]}').good().out, "from stdin\n", "output")
    spec = t.write("spec.json", {"command": ["sh", "-c", "cat; echo err >&2"]})
    result = t.minirun("run", spec, input="one\ntwo\n").good()
    equal([result.out, result.err], ["one\ntwo\n", "err\n"], "both outputs")
    big = os.urandom(300_000).hex()
    result = t.minirun("run", t.write("sum.json", {"command": ["sha256sum"]}), input=big).good()
    equal(result.out.split()[0], hashlib.sha256(big.encode()).hexdigest(), "sum of the input")


@test()
def summary(t):
    """The summary is printed with --summary, and only then when standard error is no terminal."""
    spec = {"name": "web", "command": ["sh", "-c", "exit 3"]}
    equal(t.run(spec).err, "", "standard error without --summary")
    lines = t.run(spec, options=["--summary"]).err.splitlines()
    check(lines[0].startswith("web exited 3 after "), f"first line {lines[:1]}")
    check(any(line.startswith("  cpu ") for line in lines), f"no line for the cpu in {lines}")


@test()
def log_file(t):
    """`--log FILE` and `--log-format json`: one JSON object per error, the words on standard error as well."""
    log = t.dir / "log"
    result = t.minirun("--log", log, "--log-format", "json", "run", t.dir / "missing.json")
    equal(result.status, 125, "status")
    entries = [json.loads(line) for line in read(log).splitlines()]
    equal(len(entries), 1, "entries of the log")
    equal([entries[0]["level"], "missing.json" in entries[0]["msg"], "time" in entries[0]], ["error", True, True],
          "the entry")
    check("missing.json" in result.err, "nothing on standard error")


@test()
def timing(t):
    """`--timing` prints the microseconds of each step."""
    err = t.run({"command": ["true"]}, options=["--timing"]).good().err
    for word in ("parent", "clone", "child", "pivot_root", "attach_root"):
        check(word in err, f"{word} is not in the table")


@test()
def keep(t):
    """`--keep` keeps the upper layer of the overlay, which the report names, until `delete`."""
    name = t.id()
    result = t.report({"command": ["sh", "-c", "echo kept >/etc/minirun-canary; rm /etc/hostname"]},
                      options=["--id", name, "--keep"]).good()
    layer = result.report["layer"]
    check(layer and os.path.isdir(layer), f"no layer at {layer!r}")
    equal(read(f"{layer}/etc/minirun-canary"), "kept\n", "the file in the layer")
    check(stat.S_ISCHR(os.lstat(f"{layer}/etc/hostname").st_mode), "no whiteout in the layer")
    check(not os.path.exists("/etc/minirun-canary"), "the host has the file")
    check(os.path.exists("/etc/hostname"), "the host lost a file")
    equal(t.minirun("list", "-q").good().out, name + "\n", "list")
    t.minirun("delete", name).good()
    check(not os.path.exists(layer), "the layer is still there after delete")


@test()
def ids_are_unique(t):
    """A second container with the id of a living one is refused, and the first one lives on."""
    name = t.id()
    spec = {"command": ["sleep", "60"]}
    equal(t.run(spec, options=["-d", "--id", name]).good().out, name + "\n", "output of -d")
    t.refused(t.run(spec, options=["--id", name]), name, "exists")
    equal(json.loads(t.minirun("state", name).out)["status"], "running", "status of the first")
    t.minirun("delete", "-f", name).good()


@test()
def help_and_version(t):
    """Help lists the commands; a wrong word is one line, and 125."""
    out = t.minirun("--help").good().out
    for command in ("run", "exec", "list", "state", "kill", "delete", "gc", "spec"):
        check(f"  {command} " in out, f"{command} is not in the help")
        check(t.minirun(command, "--help").good().out, f"no help for {command}")
    check(t.minirun("--version").good().out.startswith("minirun version "), "version")
    t.refused(t.minirun("rum"), '"rum"')
    t.refused(t.minirun("run", "--no-such-option", "x"), "--no-such-option")


@test()
def no_option_is_for_nothing(t):
    """An option that could have no effect is refused: what is said at the end with --detach, what is for Pods; and a report
    that cannot be written is an error before the program runs."""
    spec = t.write("spec.json", {"command": ["touch", "/out/ran"], "mounts": [f"{t.dir}:/out"]})
    for option in (["--report", t.dir / "report"], ["--timing"], ["--summary"]):
        t.refused(t.minirun("run", "-d", *option, spec), option[0], "--detach")
    for option in (["--image", "a=/b"], ["--node", "host"], ["--cgroup-root", "/x"], ["--restart-delay", "1s"]):
        t.refused(t.minirun("run", *option, spec), option[0], "Pod")
    for path, word in ((t.dir / "no/such/report", "No such file"), (t.dir, "Is a directory")):
        t.refused(t.minirun("run", "--report", path, spec), "--report", str(path), word)
    t.refused(t.minirun("create", "--bundle", t.bundle("/"), "--pid-file", "/no/such/pid", t.id()), "--pid-file",
              "/no/such/pid: No such file", status=1)
    t.refused(t.minirun("run", t.write("word.json", '"word"')), "word.json: ", "expected an object")
    check(not (t.dir / "ran").exists(), "the program has run")


@test()
def slips_of_the_pen(t):
    """A misspelt command, option, global option or option of a command's command: its name, and the word that was meant."""
    for words, said, meant, status in ((["craete"], '"craete"', '"create"', 125), (["--rot", "/x", "list"], "--rot", "--root", 125),
                                       (["create", "--bundel", "/x", "y"], "--bundel", "--bundle", 1),
                                       (["run", "--timeuot=3s", "x"], "--timeuot", "--timeout", 125),
                                       (["exec", "--additional-gid", "3", "x", "y"], "--additional-gid", "--additional-gids", 255),
                                       (["probe", "run", "--repeet", "2"], "--repeet", "--repeat", 1)):
        t.refused(t.minirun(*words), said, f"did you mean {meant}", status=status)
    t.refused(t.minirun("create", "one", "two"), 'unexpected argument "two"', status=1)


@test()
def examples_are_accepted(t):
    """Every example of the short form is read without a finding of the reader."""
    for path in sorted((REPOSITORY / "examples").glob("*.json")):
        result = t.minirun("run", "--dry-run", path)
        wrong = [line for line in result.err.splitlines() if "error" in line and "cannot be set" not in line
                 and "/dev/vda" not in line and "minirun-io" not in line]
        if wrong:
            raise Failure(f"{path.name}: {wrong}")
