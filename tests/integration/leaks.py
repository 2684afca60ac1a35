"""Many runs leave nothing. The harness compares process table, mounts, cgroups, interfaces and state around each test."""

import subprocess
import time

from harness import check, equal, test

from integration.bundles import busybox_root, command


def one(t, bundle, number):
    return t.command("run", "--id", f"{t.marker}-{number}", bundle)


@test(limit=180)
def one_after_another(t):
    """200 runs one after another leave no process, mount, cgroup, file or interface behind."""
    bundle = t.bundle(busybox_root(t), command("true"))
    start = time.monotonic()
    for number in range(200):
        done = subprocess.run(one(t, bundle, number), stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
                              check=False)
        equal((done.returncode, done.stdout, done.stderr), (0, b"", b""), f"run {number}")
    print(f"# 200 runs: {time.monotonic() - start:.1f} s")


@test(limit=180)
def at_the_same_time(t):
    """50 at the same time leave nothing, and each gives its own output and status."""
    bundle = t.bundle(busybox_root(t), command("sh", "-c", "echo $NUMBER; exit $NUMBER"))
    running = [subprocess.Popen(one(t, bundle, n)[:-1] + ["--env", f"NUMBER={n}", str(bundle)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for n in range(50)]
    for number, process in enumerate(running):
        out, err = process.communicate(timeout=120)
        equal((process.returncode, out, err), (number, b"%d\n" % number, b""), f"run {number}")


@test(limit=120)
def same_id_at_the_same_time(t):
    """Of 20 runs with one id some win, the others are refused in one line, and nothing is left."""
    bundle = t.bundle(busybox_root(t), command("sh", "-c", "echo won"))
    running = [subprocess.Popen(one(t, bundle, "same"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE) for _ in range(20)]
    won = 0
    for process in running:
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:
            won += 1
            equal(out, b"won\n", "output")
        else:
            equal((process.returncode, err.count(b"\n"), b"-same: " in err), (125, 1, True), f"refusal {err!r}")
    check(won >= 1, "nobody won")


@test(limit=120)
def failures_leave_nothing(t):
    """Runs that fail at every stage leave nothing: in the spec, in the parent, in the child, at the exec."""
    bad = [{"command": ["true"], "root": "/no/such"}, {"command": ["no-such-program"]}, {"command": ["/etc"]},
           {"command": ["true"], "cwd": "/etc/passwd/below", "readonly": True},
           {"command": ["true"], "mounts": [{"type": "tmpfs", "destination": "/srv", "options": ["size=x"]}]},
           {"command": ["true"], "namespaces": {"network": "/no/such/ns"}},
           {"command": ["true"], "rlimits": {"nofile": {"soft": 10**9, "hard": 10**9}}}]
    for round_number in range(5):
        for spec in bad:
            result = t.run(spec)
            check(result.status in (125, 126, 127), f"status {result.status} in round {round_number} of {spec}")
            check(result.err.startswith("minirun: error: ") and result.err.count("\n") == 1, f"words {result.err!r}")
