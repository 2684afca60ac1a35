"""Networks, in test hosts made of network namespaces: what reaches what, what does not, and that nothing is left.

Each test first enters a network namespace of its own: its bridge, rules and forwarding are nobody else's.
"""

import ctypes
import json
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys
import time

from harness import MINIRUN, Failure, Skip, check, command_line, descendants, equal, libc, test, wait_until, within
from integration.rootless import GID, UID, User

CLONE_NEWNET = 0x40000000

# Answers TCP (with the address of who asks) and UDP on both families; argv: port.
SERVER = """
import socket, sys, select
port = int(sys.argv[1])
socks = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    if kind == socket.SOCK_STREAM: s.listen(16)
    socks.append(s)
while True:
    for s in select.select(socks, [], [])[0]:
        if s.type == socket.SOCK_STREAM:
            c, peer = s.accept(); c.sendall(peer[0].encode()); c.close()
        else:
            data, peer = s.recvfrom(100); s.sendto(peer[0].encode(), peer)
"""

# Asks HOST PORT KIND ... and prints one answer or "-" per question. A KIND that begins with "no-" is one to which no
# answer will come: it is not waited for as long as for one that a busy machine still has to give.
CLIENT = """
import socket, sys
for host, port, kind in zip(*[iter(sys.argv[1:])] * 3):
    patience = 1 if kind.startswith("no-") else 8
    kind = kind.removeprefix("no-")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), {"6": socket.AF_INET6, "4": socket.AF_INET}.get(kind[-1], 0))[0]
        s = socket.socket(family, socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM)
        s.settimeout(patience)
        s.connect(address)
        if not kind.startswith("tcp"): s.send(b"?")  # "ask": over TCP, and the server waits for it
        print(s.recv(100).decode().removeprefix("::ffff:") or "-")
    except OSError as error:
        print("-")
"""


# Prints the first datagram to PORT.
HEAR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
s.settimeout(15)
print("listens", flush=True)
print(s.recv(100).decode())
"""

# Sends "forged" to HOST PORT from an address of somebody else, with a header of its own making, and then "honest".
FORGE = """
import socket, struct, sys
host, port = sys.argv[1], int(sys.argv[2])
payload = struct.pack("!HHHH", 999, port, 14, 0) + b"forged"
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0, socket.inet_aton("192.0.2.99"),
                     socket.inet_aton(host))
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(header + payload, (host, 0))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"honest", (host, port))
"""


def own_network():
    """A test host: a network namespace with nothing but loopback."""
    if not shutil.which("nft"):
        raise Skip("nft is not installed (package nftables)")
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace for the test")
    ip("link set lo up")


def ip(words):
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
    equal(done.returncode, 0, f"status of ip {words} ({done.stderr.strip()})")
    return done.stdout


def rules():
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def ask(*questions):
    """What this host, or its caller's namespace, is answered."""
    done = subprocess.run([sys.executable, "-c", CLIENT, *map(str, questions)], capture_output=True, text=True,
                          check=True, timeout=60)
    return done.stdout.split()


def links():
    return [line.split(":")[1].split("@")[0].strip() for line in ip("-o link").splitlines()]


def networks(t):
    return {n["name"]: n for n in json.loads(t.minirun("network", "ls", "--format", "json").good().out)}


def nothing_left(t):
    """After the last container: no interface, lease or rule; and with `network gc` no network."""
    left = [link for link in links() if len(link) == 14 and link.startswith(("mr", "mi", "mb"))]
    equal(left, [], "interfaces of containers")
    for name, network in networks(t).items():
        equal(network["containers"], {}, f"leases of {name}")
    check("dnat to" not in rules() and "dnat ip" not in rules(), "rules of published ports are left")
    t.minirun("network", "gc").good()
    check(not any(link.startswith("minirun") for link in links()), f"a bridge is left: {links()}")
    check("minirun" not in rules(), "a table is left")


def serve(t, port, network, name):
    """A detached container with the server: its id and addresses."""
    spec = {"name": name, "command": ["python3", "-c", SERVER, str(port)], "network": network}
    container = f"{t.id()}-{name}"
    t.run(spec, options=["--id", container, "-d"]).good()
    bridge = network.get("name", "minirun0") if isinstance(network, dict) else "minirun0"
    lease = networks(t)[bridge]["containers"][container]
    wait_until(lambda: ask(lease["ip"], port, "no-tcp") != ["-"], f"the server of {name}", 30)
    return container, lease


class Outside:
    """A machine beyond this host: 192.0.2.2, which has a route to the containers and the server on port 7000."""

    def __init__(self, six=False):
        self.process = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != own, "the namespace outside")
        ip(f"link add up0 type veth peer name up0 netns {self.process.pid}")
        ip("addr add 192.0.2.1/24 dev up0")
        ip("link set up0 up")
        for words in ("link set lo up", "addr add 192.0.2.2/24 dev up0", "link set up0 up",
                      "route add 10.0.0.0/8 via 192.0.2.1"):
            self.run("ip", *words.split())
        ip("route add default via 192.0.2.2")
        if six:  # detection of duplicates would take a second
            ip("addr add 2001:db8::1/64 dev up0 nodad")
            self.run(*"ip addr add 2001:db8::2/64 dev up0 nodad".split())
            self.run(*"ip route add default via 2001:db8::1".split())
        self.server = subprocess.Popen([*self.words(), sys.executable, "-c", SERVER, "7000"])
        wait_until(lambda: ask("192.0.2.2", 7000, "no-tcp") != ["-"], "the server outside")

    def words(self):
        return ["nsenter", "-t", str(self.process.pid), "-n"]

    def run(self, *words):
        return subprocess.run([*self.words(), *words], capture_output=True, text=True, check=True, timeout=60).stdout

    def ask(self, *questions):
        return self.run(sys.executable, "-c", CLIENT, *map(str, questions)).split()

    def end(self):
        self.server.kill()
        self.server.wait()
        self.process.stdin.close()
        self.process.wait()


@test(limit=120)
def network_paths(t):
    """Container to host, host to container, container to container by address and by name, published TCP and UDP ports
    from this host, from loopback and from outside, IPv6, masquerading; and two bridges are apart."""
    own_network()
    outside = Outside()
    hosted = subprocess.Popen([sys.executable, "-c", SERVER, "7001"])
    ports = ["8080:80/tcp", "8080:80/udp", "127.0.0.1:8081:80/tcp", "192.0.2.1:8082:80/tcp"]
    web, lease = serve(t, 80, {"mode": "bridge", "ports": ports}, "web")
    _, other = serve(t, 80, {"mode": "bridge", "name": "minirun1"}, "other")
    equal(networks(t)["minirun1"]["subnet"], "10.89.0.0/16", "the second subnet")
    six = lease["ip6"]

    # From the host.
    equal(ask(lease["ip"], 80, "tcp", six, 80, "tcp6", "127.0.0.1", 8080, "tcp", "127.0.0.1", 8080, "udp",
              "127.0.0.1", 8081, "tcp", "192.0.2.1", 8080, "tcp", "192.0.2.1", 8081, "no-tcp"),
          ["10.88.0.1", "fd6d:6e72:a58::1", "10.88.0.1", "10.88.0.1", "10.88.0.1", "192.0.2.1", "-"],
          "answers to the host")
    equal(ask("fd6d:6e72:a58::1", 8080, "tcp6"), ["fd6d:6e72:a58::1"], "a published port over IPv6")

    # From a container on the same bridge: by name (both families), the host, published ports, and the world.
    questions = [lease["ip"], 80, "tcp", "web", 80, "tcp6", web, 80, "udp4", "web", 80, "tcp4", "host.minirun.internal", 7001,
                 "tcp4", "10.88.0.1", 8080, "tcp", "192.0.2.2", 7000, "tcp", "192.0.2.2", 7000, "udp",
                 other["ip"], 80, "no-tcp", other["ip6"], 80, "no-tcp6", "10.88.0.1", 8081, "no-tcp"]
    client = t.run({"command": ["python3", "-c", CLIENT, *map(str, questions)], "network": "bridge"}).good()
    answers = client.out.split()
    mine = answers[0]
    check(mine.startswith("10.88.0.") and mine != "10.88.0.1", f"not the address of a container: {mine}")
    equal(answers[1:5], ["fd6d:6e72:a58::" + mine.rpartition(".")[2], mine, mine, mine], "answers inside the bridge")
    equal(answers[5], "10.88.0.1", "a published port from a container")
    equal(answers[6:8], ["192.0.2.1"] * 2, "the sender that the outside sees (masquerade)")
    equal(answers[8:], ["-"] * 3, "the other bridge, and a port of the host's loopback")

    # Its own published port, out of the bridge and in again.
    equal(t.minirun("exec", web, "python3", "-c", CLIENT, "10.88.0.1", "8080", "tcp4").good().out.split(), ["10.88.0.1"],
          "a container's own published port")

    # From outside: what is published, and nothing else.
    equal(outside.ask("192.0.2.1", 8080, "tcp", "192.0.2.1", 8080, "udp", "192.0.2.1", 8082, "tcp", "192.0.2.1", 8081,
                      "no-tcp", lease["ip"], 80, "no-tcp"), ["192.0.2.2"] * 3 + ["-"] * 2, "answers to the outside")

    for container in json.loads(json.dumps([*networks(t)["minirun0"]["containers"],
                                            *networks(t)["minirun1"]["containers"]])):
        t.minirun("delete", "-f", container).good()
    nothing_left(t)
    with open("/proc/sys/net/ipv4/conf/up0/forwarding", encoding="ascii") as forwarding:
        equal(forwarding.read().strip(), "0", "forwarding of the uplink after the last network")
    hosted.kill()
    hosted.wait()
    outside.end()


@test(limit=90)
def network_ipv6(t):
    """Where the host forwards IPv6: published ports from outside, masquerading, and no way in without a port. No packet
    leaves with a sender that is not of the network. Where the host forwards no IPv4: it is turned on for the bridge and
    the uplink only, and said so."""
    own_network()
    outside = Outside(six=True)
    ip("link add other0 type veth peer name other1")
    conf = pathlib.Path("/proc/sys/net")
    (conf / "ipv6/conf/all/forwarding").write_text("1")
    said = t.run({"command": ["true"], "network": "bridge"}).good().err
    check("IPv4 forwarding is off on this host: it is turned on for minirun0 and, for its packets only, for up0" in said,
          f"not said: {said}")
    state = {name: (conf / f"ipv4/conf/{name}/forwarding").read_text().strip()
             for name in ("all", "minirun0", "up0", "other0")}
    equal(state, {"all": "0", "minirun0": "1", "up0": "1", "other0": "0"}, "forwarding of IPv4")
    web, lease = serve(t, 80, {"mode": "bridge", "ports": ["8080:80/tcp", "8080:80/udp"]}, "web")
    equal(outside.ask("2001:db8::1", 8080, "tcp6", "2001:db8::1", 8080, "udp6", lease["ip6"], 80, "no-tcp6"),
          ["2001:db8::2", "2001:db8::2", "-"], "answers to the outside")
    asked = t.minirun("exec", web, "python3", "-c", CLIENT, "2001:db8::2", "7000", "tcp6", "2001:db8::2", "7000", "udp6")
    equal(asked.good().out.split(), ["2001:db8::1"] * 2, "the sender that the outside sees (masquerade)")
    # The way is the same for both packets, and the forged one goes first.
    hears = subprocess.Popen([*outside.words(), sys.executable, "-c", HEAR, "7002"], stdout=subprocess.PIPE, text=True)
    equal(hears.stdout.readline(), "listens\n", "a listener outside")
    t.minirun("exec", web, "python3", "-c", FORGE, "192.0.2.2", "7002").good()
    equal(hears.communicate(timeout=20)[0], "honest\n", "what the outside hears of a container that forges its sender")
    t.minirun("delete", "-f", web).good()
    nothing_left(t)
    equal((conf / "ipv4/conf/up0/forwarding").read_text().strip(), "0", "forwarding of the uplink after the last network")
    ip("link del other0")
    outside.end()


@test(limit=60)
def network_files(t):
    """/etc/hosts, hostname and resolv.conf are the container's own; a joined container shares network and names; peers
    that go are forgotten."""
    own_network()
    spec = {"name": "first", "hostname": "first", "command": ["sleep", "60"],
            "network": {"mode": "bridge", "dns": ["192.0.2.53"], "hosts": {"db": "192.0.2.9"}, "ip": "10.88.0.77"}}
    first = t.id()
    t.run(spec, options=["--id", first, "-d"]).good()
    seen = t.minirun("exec", first, "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf").good().out
    for line in ("192.0.2.9\tdb", f"10.88.0.77\tfirst {first}", "first", "nameserver 192.0.2.53"):
        check(line in seen.splitlines(), f"{line!r} is not in {seen!r}")
    refused = t.minirun("exec", first, "sh", "-c", "echo x >> /etc/hosts")
    check(refused.status != 0, "/etc/hosts is the host's and can be written")
    for path, mode in (("@network", 0o700), ("@network/state.json", 0o600), ("@network/lock", 0o600)):
        equal(stat.S_IMODE((t.root / path).stat().st_mode), mode, f"permissions of {path}")
    table = t.minirun("network", "ls").good().out.splitlines()
    equal([line.split() for line in table[1:]], [["minirun0", "10.88.0.0/16", "fd6d:6e72:a58::/64", "1"]], "network ls")
    inspected, = json.loads(t.minirun("network", "inspect", "minirun0").good().out)
    equal((inspected["gateway"], inspected["containers"][first]["ip"]), ("10.88.0.1", "10.88.0.77"), "network inspect")
    t.refused(t.minirun("network", "inspect", "nosuch0"), "nosuch0", "no such network", status=1)
    second = t.id()
    t.run({"name": "second", "command": ["sleep", "60"], "network": "bridge"}, options=["--id", second, "-d"]).good()
    check("second" in t.minirun("exec", first, "cat", "/etc/hosts").out, "the first does not know the second")
    joined = t.run({"command": ["sh", "-c", "ip -br addr; cat /etc/hosts"], "network": {"join": first}}).good()
    check("10.88.0.77" in joined.out and "second" in joined.out, f"not the network of the first: {joined.out}")
    t.minirun("delete", "-f", second).good()
    check("second" not in t.minirun("exec", first, "cat", "/etc/hosts").out, "the second is still known")
    t.refused(t.run({"command": ["true"], "network": {"join": second}}), "network.join", "does not exist")
    t.refused(t.minirun("network", "rm", "minirun0"), "minirun0", f"has containers: {first}", status=1)
    t.minirun("delete", "-f", first).good()
    nothing_left(t)


# Says how much of each second this machine did not let a thread with a real-time priority run: what it was late, when it
# had asked to be woken every 5 ms. A limit cannot be reached in time that nobody had.
LATENESS = """
import sys, time
while True:
    lost, begin = 0.0, time.monotonic()
    while (now := time.monotonic()) < begin + 0.1:
        time.sleep(0.005)
        lost += max(0.0, time.monotonic() - now - 0.010)
    print(begin, lost, flush=True)
"""


class Iperf:
    """iperf3 in one direction for 5 s, client and server with a real-time priority, so that others on the processors do
    not take part in the measurement. The receiver, which is the server, tells what came through in each second."""
    priority = ["chrt", "-r", "20"]

    def __init__(self, server, client, listening):
        self.processes = [subprocess.Popen([*self.priority, *server], stdout=subprocess.PIPE, text=True,
                                           stdin=subprocess.DEVNULL)]
        wait_until(listening, "an iperf3 server that listens", 20)
        self.begin = time.monotonic()
        self.processes.append(subprocess.Popen([*self.priority, *client], stdout=subprocess.PIPE, text=True,
                                               stdin=subprocess.DEVNULL))

    def result(self):
        """Bits of payload in each of the five seconds."""
        found = json.loads(self.processes[0].communicate(timeout=25)[0])
        self.processes[1].communicate(timeout=10)
        check("error" not in found and found["intervals"], f"iperf3: {found.get('error')}")
        rates = [i["sum"]["bits_per_second"] / 1e6 for i in found["intervals"] if i["sum"]["seconds"] > 0.5][:5]
        equal(len(rates), 5, "seconds that iperf3 measured")
        return rates

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@test(limit=90)
def network_bandwidth(t):
    """10 Mbit/s of ingress and egress hold within 10 % over 5 s, the first second included (iperf3); `explain` has the
    rate and the burst."""
    if not shutil.which("iperf3"):
        raise Skip("iperf3 is not installed")
    own_network()
    limit = {"mode": "bridge", "bandwidth": {"ingress": "10M", "egress": "10M"}}
    explained = t.minirun("explain", t.write("explain.json", {"command": ["true"], "network": limit})).good().out
    check("rate 1250000bps burst 62500 limit 375000" in explained, f"not explained: {explained}")
    # One for each direction: in the same one acknowledgements would wait behind the data of the other stream.
    sender, receiver = t.id(), t.id()
    for container in (sender, receiver):
        t.run({"command": ["sleep", "80"], "network": limit}, options=["--id", container, "-d"]).good()
    address = networks(t)["minirun0"]["containers"][receiver]["ip"]
    pid = json.loads(t.minirun("state", receiver).good().out)["pid"]

    def listens(*where):
        return lambda: ":5201 " in subprocess.run([*where, "ss", "-Hltn"], capture_output=True, text=True, check=True).stdout

    client = ["iperf3", "-t", "5", "-i", "1", "--connect-timeout", "5000", "-c"]
    server = ["iperf3", "-s", "-1", "-J", "-i", "1"]
    late = subprocess.Popen([*Iperf.priority, sys.executable, "-c", LATENESS], stdout=subprocess.PIPE, text=True)
    # Each by its sender: a reverse test (-R) of iperf3 can hang when its receiver stops reading at the end.
    started = []
    try:
        started.append(Iperf(server, [*t.command("exec", sender), *client, "10.88.0.1"], listens()))
        started.append(Iperf([*t.command("exec", receiver), *server], [*client, address], listens("nsenter", "-t", str(pid), "-n")))
        results = [(name, iperf.begin, iperf.result()) for name, iperf in zip(("egress", "ingress"), started)]
    finally:
        late.kill()
        for iperf in started:
            iperf.end()
    lost = [tuple(map(float, line.split())) for line in late.communicate()[0].splitlines() if line.count(" ") == 1]
    for name, begin, rates in results:
        # The client needs its own time to come up: what was lost within two seconds counts for the first.
        first = sum(seconds for when, seconds in lost if begin <= when < begin + 2)
        whole = sum(seconds for when, seconds in lost if begin <= when < begin + 7)
        print(f"# the machine was away for {first:.3f} s in the first and {whole:.3f} s in all seconds of {name}")
        print(f"# Mbit/s of {name}: {[round(rate, 2) for rate in rates]}")
        within(round(rates[0], 2), 9 * (1 - min(first, 0.5)), 11, f"Mbit/s of {name} in the first second")
        within(round(sum(rates) / 5, 2), 9 * (1 - min(whole / 5, 0.5)), 11, f"Mbit/s of {name} in 5 s")
    for container in (sender, receiver):
        t.minirun("delete", "-f", container).good()
    nothing_left(t)


@test(limit=120)
def network_many(t):
    """100 containers that start at once get 100 addresses; nothing of them is left (20 of them in the VM)."""
    own_network()
    count = 20 if t.alone else 100
    spec = t.write("many.json", {"command": ["sleep", "100"], "root": {"overlay": {}}, "network": "bridge"})
    ids = [t.id() for _ in range(count)]
    start = time.monotonic()
    with open(t.dir / "errors", "w+", encoding="utf-8") as errors:
        starts = [subprocess.Popen(t.command("run", "--id", i, "-d", spec), stdout=subprocess.DEVNULL, stderr=errors)
                  for i in ids]
        statuses = [process.wait() for process in starts]
        errors.seek(0)
        equal(statuses, [0] * count, f"statuses ({errors.read()[-500:]})")
    print(f"# {count} started within {time.monotonic() - start:.1f} s")
    leases = networks(t)["minirun0"]["containers"]
    equal(sorted(leases), sorted(ids), "containers with a lease")
    equal(len({lease["ip"] for lease in leases.values()}), count, "different addresses")
    seen = {line.split()[2].partition("/")[0] for i in (ids[0], ids[-1])
            for line in t.minirun("exec", i, "ip", "-br", "-4", "addr", "show", "eth0").good().out.splitlines()}
    equal(seen, {leases[ids[0]]["ip"], leases[ids[-1]]["ip"]}, "the addresses inside")
    ends = [subprocess.Popen(t.command("delete", "-f", i)) for i in ids]
    equal([process.wait() for process in ends], [0] * count, "statuses of delete")
    print(f"# and removed after {time.monotonic() - start:.1f} s")
    nothing_left(t)


@test(limit=180)
def network_crash(t):
    """minirun is killed before each of its system calls that changes a network, a lease or a file: gc leaves nothing."""
    own_network()
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    spec = t.write("crash.json", {"command": ["true"], "network": {
        "mode": "bridge", "ports": ["8080:80"], "bandwidth": {"egress": "1M", "ingress": "1M"}}})
    cases = 0
    # sendto carries every request of rtnetlink; only a few in the VM, where a case takes some seconds.
    for call, step in (("sendto", 2), ("renameat", 1), ("setns", 1), ("memfd_create", 1), ("unlinkat", 1), ("pwrite64", 1)):
        for n in range(1, 200, step * (12 if t.alone else 1)):
            container = t.id()
            done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                                   f"inject={call}:signal=SIGKILL:when={n}", *t.command("run", "--id", container, spec)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=30,
                                  text=True, check=False)
            if done.returncode == 0:
                break
            equal(done.returncode, -9, f"status with SIGKILL at {call} {n} ({done.stderr})")
            cases += 1
            t.minirun("gc").good()
            try:
                nothing_left(t)
            except Failure as why:
                raise Failure(f"SIGKILL at {call} {n}: {why}") from why
            check(not (t.root / container).exists(), f"SIGKILL at {call} {n}: the state is left")
        else:
            raise Failure(f"{call} had no end")
    check(cases >= (5 if t.alone else 40), f"only {cases} points were reached")
    print(f"# killed at {cases} points")
    nothing_left(t)


@test(limit=90)
def network_bad_input(t):
    """What cannot be had is refused with one line that names the field, and nothing is left."""
    own_network()

    def refused(network, *words, options=()):
        before = links()
        t.refused(t.run({"command": ["true"], "network": network}, options=options), *words)
        equal(links(), before, f"interfaces after the refusal of {network}")

    ip("link add veth0 type veth peer name veth1")
    ip("addr add 10.50.1.1/24 dev veth0")
    ip("link set veth0 up")
    refused({"subnet": "10.50.0.0/16"}, "network", "10.50.0.0/16 overlaps 10.50.1.0/24, a route of the host on veth0")
    refused({"name": "veth0"}, "network", "veth0 exists and is no bridge")
    ip("link add foreign0 type bridge")
    refused({"name": "foreign0"}, "network", "the bridge foreign0 exists and is not this minirun's")
    refused({"name": "a-name-of-16-chr"}, "network/name", "16 characters, an interface at most 15")
    check("foreign0" in links(), "a foreign bridge is gone")

    # What would become a line of a file or a word of a rule or of a command is refused before it is one.
    for network, field in (({"name": "br;reboot"}, "network/name"), ({"name": "-x"}, "network/name"),
                           ({"name": "a b"}, "network/name"), ({"name": "a/b"}, "network/name"),
                           ({"hosts": {"a b": "192.0.2.1"}}, "network/hosts"),
                           ({"hosts": {"a\nb": "192.0.2.1"}}, "network/hosts"),
                           ({"hosts": {"a": "192.0.2.1\n192.0.2.2 b"}}, "network/hosts"),
                           ({"dns": ["192.0.2.1\noptions x"]}, "network/dns"),
                           ({"ip": "10.88.0.9 accept"}, "network/ip"), ({"subnet": "10.88.0.0/16;"}, "network/subnet"),
                           ({"ports": ["8080:80/tcp accept"]}, "network/ports"),
                           ({"ports": ["127.0.0.1 :8080:80"]}, "network/ports"),
                           ({"bandwidth": {"ingress": "10M burst 1"}}, "network/bandwidth/ingress")):
        refused(network, field)
    # A port that a process of the host has, with its name.
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 8080))
        listener.listen()
        refused({"ports": ["8080:80"]}, "network.ports[0]", "port 8080/tcp is in use by", f"(pid {os.getpid()})")
        refused("bridge", "--publish", "port 8080/tcp is in use by", options=["-p", "8080:80"])
    refused({"ports": ["192.0.2.77:80:80"]}, "network.ports[0]", "no address of this host")
    refused("none", "--publish", "needs the network bridge", options=["-p", "1:1"])

    holder = t.id()
    t.run({"command": ["sleep", "60"], "network": {"name": "small0", "subnet": "10.60.0.0/30", "ports": ["8080:80"]}},
          options=["--id", holder, "-d"]).good()
    refused({"name": "small0"}, "network", "10.60.0.0/30 is exhausted")
    refused({"ports": ["127.0.0.1:8080:80"]}, "network.ports[0]", f"port 8080/tcp is published by container {holder}")
    refused({"name": "small0", "subnet": "10.61.0.0/24"}, "network", "the network small0 has 10.60.0.0/30")
    refused({"name": "small0", "ip": "10.60.0.2"}, "network", f"10.60.0.2 belongs to container {holder}")
    t.minirun("delete", "-f", holder).good()
    # What belongs to another state directory is foreign, too.
    other = t.dir / "other"
    other.mkdir(mode=0o700)
    spec = t.write("other.json", {"command": ["true"], "network": {"name": "small0"}})
    result = subprocess.run([MINIRUN, "--root", str(other), "run", str(spec)], capture_output=True, text=True,
                            check=False, stdin=subprocess.DEVNULL)
    check(result.returncode == 125 and "is not this minirun's" in result.stderr, f"accepted: {result.stderr}")
    t.minirun("network", "rm", "small0").good()

    # Somebody has removed the leases: the bridge is not used, and what the error says to do works.
    t.run({"command": ["true"], "network": {"name": "lost0"}}).good()
    shutil.rmtree(t.root / "@network")
    refused({"name": "lost0"}, "network", "nothing is known of its addresses", "minirun network rm lost0")
    t.minirun("network", "rm", "lost0").good()
    check("lost0" not in links() and "lost0" not in rules(), "a rest of the lost network")

    # A change that the kernel refuses in the middle: all undone, the network that was made for it too.
    before = links()
    bad = t.run({"command": ["/nonexistent"], "network": "bridge"})
    equal(bad.status, 127, "exit status of a program that is not there")
    equal([l for l in links() if l.startswith("mr")], [], "veth of a container that did not start")
    t.minirun("network", "gc").good()
    equal(links(), before, "interfaces after a failed start")
    # nft out of reach: /usr/sbin is empty in this mount namespace.
    subprocess.run(["mount", "-t", "tmpfs", "none", "/usr/sbin"], check=True)
    try:
        refused("bridge", "network", "needs the program nft, which is not installed")
    finally:
        subprocess.run(["/bin/umount", "/usr/sbin"], check=True)


# A CNI plugin that passes the result of the one before, and fails on the command "on".
PLUGIN = """#!/usr/bin/python3
import json, os, sys
told = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == told["on"]:
    print(json.dumps({"cniVersion": "1.0.0", "code": 100, "msg": "was told to fail", "details": "it is a test"}))
    sys.exit(1)
if os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps(told["prevResult"]))
"""


@test(limit=90)
def network_cni(t):
    """`--cni`: Debian's plugins make the network with ADD and CHECK, published ports go to portmap, and DEL leaves
    nothing; a list that cannot work is refused."""
    own_network()
    if not os.path.exists("/usr/lib/cni/bridge"):
        raise Skip("the CNI plugins are not installed (package containernetworking-plugins)")
    leases = t.dir / "leases"
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True,
              "ipam": {"type": "host-local", "dataDir": str(leases), "ranges": [[{"subnet": "10.70.0.0/24"}]],
                       "routes": [{"dst": "0.0.0.0/0"}]}}
    conflist = t.write("net.conflist", {"cniVersion": "1.0.0", "name": "test", "plugins": [
        bridge, {"type": "bandwidth", "capabilities": {"bandwidth": True}}]})
    rates = {"bandwidth": {"ingress": "10M", "egress": "10M"}}
    spec = {"name": "cni", "network": rates, "command": ["sh", "-c", "ip -br -4 addr show eth0; ip route; cat /etc/hosts"]}

    def held():
        return [name for name in os.listdir(leases / "test") if name.startswith("10.")] if leases.exists() else []

    done = t.run(spec, options=["--cni", conflist]).good()
    check("10.70.0.2/24" in done.out and "default via 10.70.0.1" in done.out and "10.70.0.2\tcni" in done.out,
          f"not the plugins' network: {done.out}")
    equal(held(), [], "addresses after DEL")
    container = t.id()
    t.run({"command": ["sleep", "60"], "network": rates}, options=["--cni", conflist, "--id", container, "-d"]).good()
    equal(len(held()), 1, "addresses of a detached container")
    t.minirun("delete", "-f", container).good()
    equal(held(), [], "addresses after delete")
    dry = t.run(spec, options=["--cni", conflist, "--dry-run"]).good()
    check("CNI_COMMAND=ADD" in dry.out and "/usr/lib/cni/bridge" in dry.out, "the plan does not show the plugins")
    t.refused(t.run(spec, options=["--cni", conflist, "-p", "8080:80"]), "--cni", "no plugin", "portMappings")
    # A minirun that dies after ADD: its container's record is enough for DEL.
    wait = t.write("wait.json", {"command": ["sleep", "60"], "network": rates})
    with subprocess.Popen(t.command("run", "--id", t.id(), "--cni", conflist, wait), stdin=subprocess.DEVNULL) as running:
        wait_until(lambda: len(held()) == 1, "the address of a foreground run")
        running.kill()
    wait_until(lambda: t.minirun("gc").status == 0 and held() == [], "DEL by gc")
    bad = t.write("bad.conflist", {"cniVersion": "1.0.0", "name": "bad", "plugins": [
        {"type": "no-such-plugin", "capabilities": {"bandwidth": True}}]})
    t.refused(t.run(spec, options=["--cni", bad]), "--cni", "the plugin no-such-plugin is not in")
    bridge["ipam"] = {"type": "host-local", "dataDir": str(leases), "ranges": [[{"subnet": "wrong"}]]}
    broken = t.write("broken.conflist", {"cniVersion": "1.0.0", "name": "broken", "plugins": [
        {**bridge, "capabilities": {"bandwidth": True}}]})
    failed = t.run(spec, options=["--cni", broken])
    equal(failed.status, 125, "exit status with a plugin that fails")
    check("CNI plugin bridge ADD" in failed.err and "invalid CIDR address" in failed.err, f"not said: {failed.err}")
    # A plugin that fails behind one that has worked: the first is undone, whether ADD or CHECK failed.
    bridge["ipam"] = {"type": "host-local", "dataDir": str(leases), "ranges": [[{"subnet": "10.70.0.0/24"}]]}
    t.write("fails", PLUGIN, mode=0o755)
    for command in ("ADD", "CHECK"):
        chain = t.write(f"{command}.conflist", {"cniVersion": "1.0.0", "name": "test", "plugins": [
            bridge, {"type": "fails", "on": command}]})
        failed = t.run({"command": ["true"]}, options=["--cni", chain],
                       env={**os.environ, "CNI_PATH": f"{t.dir}:/usr/lib/cni"})
        t.refused(failed, f"CNI plugin fails {command}", "was told to fail: it is a test")
        equal(held(), [], f"addresses after a failed {command}")
    ip("link del cni0")
    left = [link for link in links() if link.startswith(("veth", "bwp"))]
    equal(left, [], "interfaces of the plugins")


# As SERVER, but over TCP it hears first: the pasta of Debian 12 loses the words of a server that closes at once.
LISTENER = SERVER.replace("c, peer = s.accept(); c.sendall", "c, peer = s.accept(); c.recv(100); c.sendall")


@test(limit=120)
def network_pasta(t):
    """An ordinary user's container has a network through pasta: the way out over TCP and UDP, published ports from this
    host and from outside, and not the host's loopback. Neither delete nor a SIGKILL of minirun leaves a pasta, and where
    it is missing that is said."""
    if not shutil.which("pasta"):
        raise Skip("pasta is not installed (package passt)")
    own_network()
    outside = Outside()
    hosted = subprocess.Popen([sys.executable, "-c", SERVER, "7001"])
    # As udev makes it; the node of a build machine may be root's alone.
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/net"], check=True)
    subprocess.run(["mknod", "-m", "666", "/dev/net/tun", "c", "10", "200"], check=True)
    user = User(t)
    for name in ("usr", "etc"):
        (user.home / "rootfs" / name).mkdir()
        os.chown(user.home / "rootfs" / name, UID, GID)
    for name in ("lib", "lib64"):
        (user.home / "rootfs" / name).symlink_to(f"usr/{name}")

    def spec(*command, **network):
        path = user.home / f"pasta-{t.id()}.json"
        path.write_text(json.dumps({"command": ["/usr/bin/python3", "-c", *map(str, command)],
                                    "root": str(user.home / "rootfs"), "mounts": ["/usr:/usr:ro"],
                                    "network": {"mode": "pasta", **network}}))
        return path

    def pastas():
        return [pid for pid in descendants(os.getpid()) if command_line(pid).startswith("/usr/bin/pasta")]

    asked = user.call("run", spec(CLIENT, "192.0.2.2", 7000, "tcp", "192.0.2.2", 7000, "udp", "127.0.0.1", 7001, "no-tcp",
                                  "192.0.2.1", 7001, "no-tcp"))
    equal((asked.returncode, asked.stdout.split()), (0, ["192.0.2.1"] * 2 + ["-"] * 2), "answers to a container")
    wait_until(lambda: not pastas(), "the end of pasta")
    name = t.id()
    published = ["8081:8080/tcp", "8080:8080/udp"]
    equal(user.call("run", "-d", "--id", name, spec(LISTENER, 8080, ports=published)).returncode, 0, "status of run -d")
    wait_until(lambda: ask("127.0.0.1", 8081, "no-ask") != ["-"], "the published port", 30)
    # From loopback that pasta has no answers over UDP when the numbers differ.
    equal(ask("127.0.0.1", 8080, "udp"), ["127.0.0.1"], "an answer over UDP to loopback")
    equal(outside.ask("192.0.2.1", 8081, "ask", "192.0.2.1", 8080, "udp", "192.0.2.1", 8080, "no-ask"),
          ["192.0.2.2"] * 2 + ["-"], "answers to the outside")
    equal(user.call("delete", "-f", name).returncode, 0, "status of delete -f")
    wait_until(lambda: not pastas(), "the end of pasta after delete")

    # The same command as of `call`, but killed; also before pasta has told its number.
    for told in (True, False, False, False, False):
        name = t.id()
        killed = subprocess.Popen(["setpriv", "--reuid", str(UID), "--regid", str(GID), "--clear-groups", "--", "env", "-i",
                                   f"XDG_RUNTIME_DIR={user.home}", "PATH=/usr/bin:/bin", user.minirun, "run", "--id", name,
                                   spec("import time; time.sleep(1000)")], stdin=subprocess.DEVNULL)
        number = user.home / "minirun" / name / "network/pasta.pid"
        wait_until(lambda: pastas() and (not told or (number.exists() and number.read_text())), "pasta of a foreground run")
        killed.kill()
        killed.wait()
        if not told:
            number.unlink(missing_ok=True)
        equal(user.call("gc").returncode, 0, "status of gc")
        wait_until(lambda: not pastas(), f"the end of pasta after a SIGKILL and gc (number told: {told})")

    subprocess.run(["mount", "--bind", "/dev/null", "/usr/bin/pasta"], check=True)
    try:
        refused = user.call("run", spec("pass"))
    finally:
        subprocess.run(["umount", "/usr/bin/pasta"], check=True)
    equal(refused.returncode, 125, "status without pasta")
    check("network: pasta is not installed (package passt), and without it users other than root have only the networks "
          "none and host" in refused.stderr, f"not said: {refused.stderr}")
    limited = user.call("run", spec("pass", bandwidth={"egress": "1M"}))
    check(limited.returncode == 125 and "/network: bandwidth needs a bridge" in limited.stderr, limited.stderr)
    subprocess.run(["umount", "/dev/net"], check=True)
    hosted.kill()
    hosted.wait()
    outside.end()
