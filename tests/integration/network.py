"""Networks, in test hosts made of network namespaces: what reaches what, what does not, and that nothing is left.

Each test first enters a network namespace of its own: its bridge, rules and forwarding are nobody else's.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import time

from harness import MINIRUN, Failure, Skip, check, equal, libc, test, wait_until, within

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

# Asks HOST PORT KIND ... and prints one answer or "-" per question.
CLIENT = """
import socket, sys
for host, port, kind in zip(*[iter(sys.argv[1:])] * 3):
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), {"6": socket.AF_INET6, "4": socket.AF_INET}.get(kind[-1], 0))[0]
        s = socket.socket(family, socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM)
        s.settimeout(1.5)
        s.connect(address)
        if kind.startswith("udp"): s.send(b"?")
        print(s.recv(100).decode().removeprefix("::ffff:") or "-")
    except OSError as error:
        print("-")
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
    wait_until(lambda: ask(lease["ip"], port, "tcp") != ["-"], f"the server of {name}", 30)
    return container, lease


class Outside:
    """A machine beyond this host: 192.0.2.2, which has a route to the containers and the server on port 7000."""

    def __init__(self):
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
        self.server = subprocess.Popen([*self.words(), sys.executable, "-c", SERVER, "7000"])
        wait_until(lambda: ask("192.0.2.2", 7000, "tcp") != ["-"], "the server outside")

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
              "127.0.0.1", 8081, "tcp", "192.0.2.1", 8080, "tcp", "192.0.2.1", 8081, "tcp"),
          ["10.88.0.1", "fd6d:6e72:a58::1", "10.88.0.1", "10.88.0.1", "10.88.0.1", "192.0.2.1", "-"],
          "answers to the host")
    equal(ask("fd6d:6e72:a58::1", 8080, "tcp6"), ["fd6d:6e72:a58::1"], "a published port over IPv6")

    # From a container on the same bridge: by name (both families), the host, published ports, and the world.
    questions = [lease["ip"], 80, "tcp", "web", 80, "tcp6", web, 80, "udp4", "web", 80, "tcp4", "host.minirun.internal", 7001,
                 "tcp4", "10.88.0.1", 8080, "tcp", "192.0.2.2", 7000, "tcp", "192.0.2.2", 7000, "udp",
                 other["ip"], 80, "tcp", other["ip6"], 80, "tcp6", "10.88.0.1", 8081, "tcp"]
    client = t.run({"command": ["python3", "-c", CLIENT, *map(str, questions)], "network": "bridge"}).good()
    answers = client.out.split()
    mine = answers[0]
    check(mine.startswith("10.88.0.") and mine != "10.88.0.1", f"not the address of a container: {mine}")
    equal(answers[1:5], ["fd6d:6e72:a58::" + mine.rpartition(".")[2], mine, mine, mine], "answers inside the bridge")
    equal(answers[5], "10.88.0.1", "a published port from a container")
    equal(answers[6:8], ["192.0.2.1"] * 2, "the sender that the outside sees (masquerade)")
    equal(answers[8:], ["-"] * 3, "the other bridge, and a port of the host's loopback")

    # From outside: what is published, and nothing else.
    equal(outside.ask("192.0.2.1", 8080, "tcp", "192.0.2.1", 8080, "udp", "192.0.2.1", 8082, "tcp", "192.0.2.1", 8081,
                      "tcp", lease["ip"], 80, "tcp"), ["192.0.2.2"] * 3 + ["-"] * 2, "answers to the outside")

    for container in json.loads(json.dumps([*networks(t)["minirun0"]["containers"],
                                            *networks(t)["minirun1"]["containers"]])):
        t.minirun("delete", "-f", container).good()
    nothing_left(t)
    with open("/proc/sys/net/ipv4/conf/up0/forwarding", encoding="ascii") as forwarding:
        equal(forwarding.read().strip(), "0", "forwarding of the uplink after the last network")
    hosted.kill()
    hosted.wait()
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


@test(limit=60)
def network_bandwidth(t):
    """10 Mbit/s of ingress and egress hold within 10 % over 5 s, the first second included (iperf3)."""
    if not shutil.which("iperf3"):
        raise Skip("iperf3 is not installed")
    own_network()
    t.run({"command": ["true"], "network": "bridge"}).good()
    limit = {"mode": "bridge", "bandwidth": {"ingress": "10M", "egress": "10M"}}
    servers, clients = [], []
    for port, more in ((5201, []), (5202, ["-R"])):
        servers.append(subprocess.Popen(["iperf3", "-s", "-1", "-J", "-p", str(port)], stdout=subprocess.PIPE,
                                        text=True))
        wait_until(lambda: f":{port} " in subprocess.run(["ss", "-Hltn"], capture_output=True, text=True,
                                                        check=True).stdout, "iperf3", 20)
        spec = t.write(f"iperf-{port}.json", {"command": ["iperf3", "-c", "10.88.0.1", "-p", str(port), "-t", "5", "-i",
                                                          "1", "-J", *more], "network": limit})
        clients.append(subprocess.Popen(t.command("run", "--id", t.id(), spec), stdout=subprocess.PIPE, text=True))
    results = [json.loads(process.communicate(timeout=40)[0]) for process in clients]
    for result in results:  # else its server would wait for ever
        check("error" not in result, f"iperf3: {result.get('error')}")
    results += [json.loads(process.communicate(timeout=40)[0]) for process in servers]
    # Who receives tells what came through: the host for egress, the container for ingress.
    for name, result in (("egress", results[2]), ("ingress", results[1])):
        check("intervals" in result and result["intervals"], f"iperf3 measured nothing: {result}")
        rates = [i["sum"]["bits_per_second"] / 1e6 for i in result["intervals"] if i["sum"]["seconds"] > 0.5][:5]
        equal(len(rates), 5, f"seconds of {name}")
        within(round(rates[0], 2), 9, 11, f"Mbit/s of {name} in the first second")
        within(round(sum(rates) / 5, 2), 9, 11, f"Mbit/s of {name} in 5 s")
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


@test(limit=120)
def network_crash(t):
    """minirun is killed before each of its system calls that changes a network, a lease or a file: gc leaves nothing."""
    own_network()
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    spec = t.write("crash.json", {"command": ["true"], "network": {
        "mode": "bridge", "ports": ["8080:80"], "bandwidth": {"egress": "1M", "ingress": "1M"}}})
    cases = 0
    # sendto carries every request of rtnetlink; a step of 3 in the VM, where a case takes a second.
    for call, step in (("sendto", 2), ("renameat", 1), ("setns", 1), ("memfd_create", 1), ("unlinkat", 1), ("pwrite64", 1)):
        for n in range(1, 200, step * (3 if t.alone else 1)):
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
    check(cases >= (15 if t.alone else 40), f"only {cases} points were reached")
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
    ip("link del cni0")
    left = [link for link in links() if link.startswith(("veth", "bwp"))]
    equal(left, [], "interfaces of the plugins")
