"""The calls of a kubelet (CRI v1) to containerd. Owns: the few messages that the tests need, written as protocol buffers by
hand, since Debian has no client; the numbers are those of kubernetes/cri-api, runtime/v1/api.proto."""

import grpc


def message(*fields):
    """(number, value) pairs: int is a varint, text and bytes (a message) have a length. None is left out."""
    out = b""
    for number, value in fields:
        if value is None:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def parsed(data):
    """number -> the last value."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(data):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        elif key & 7 == 2:
            size = number()
            found[key >> 3] = data[at:at + size]
            at += size
        else:
            raise ValueError(f"wire type {key & 7}")
    return found


class Runtime:
    """runtime.v1.RuntimeService behind a socket."""

    def __init__(self, socket, limit):
        self.channel, self.limit = grpc.insecure_channel(f"unix://{socket}"), limit

    def call(self, name, *fields):
        print(f"$ CRI {name}", flush=True)
        method = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{name}")
        return parsed(method(message(*fields), timeout=self.limit, wait_for_ready=True))

    def pod(self, name, cgroup, handler):
        """A sandbox on the node's network, which needs no CNI: (its configuration, its id)."""
        node = 2  # NamespaceMode
        options = message((1, node))
        config = message((1, message((1, name), (2, f"uid-{name}"), (3, "default"))), (3, "/run/engines/pods"),
                         (8, message((1, cgroup), (2, message((1, options))))))
        return config, self.call("RunPodSandbox", (1, config), (2, handler))[1].decode()

    def container(self, pod, name, image, command, **resources):
        """Creates and starts one; its id."""
        config, sandbox = pod
        words = [(3, word) for word in command]
        linux = message((1, limits(**resources)), (2, message((3, message((1, 2))))))
        made = self.call("CreateContainer", (1, sandbox),
                         (2, message((1, message((1, name))), (2, message((1, image))), *words, (11, f"{name}.log"),
                                     (15, linux))), (3, config))[1].decode()
        self.call("StartContainer", (1, made))
        return made

    def exec(self, container, *command):
        """(status, output)"""
        found = self.call("ExecSync", (1, container), *[(2, word) for word in command], (3, 30))
        return found.get(3, 0), found.get(1, b"").decode()

    def status(self, container):
        """(state, exit code, reason); states: 0 created, 1 running, 2 exited."""
        found = parsed(self.call("ContainerStatus", (1, container))[1])
        return found.get(3, 0), found.get(7, 0), found.get(10, b"").decode()

    def update(self, container, **resources):
        self.call("UpdateContainerResources", (1, container), (2, limits(**resources)))

    def remove(self, pod):
        self.call("StopPodSandbox", (1, pod[1]))
        self.call("RemovePodSandbox", (1, pod[1]))


def limits(period=None, quota=None, shares=None, memory=None):
    return message((1, period), (2, quota), (3, shares), (4, memory))
