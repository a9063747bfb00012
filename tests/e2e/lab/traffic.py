"""Steady traffic across a fault: streams that must not lose a packet, and dials that must never be accepted."""

import json
import os
import struct

from . import container
from .registry import expect


def arrivals(path):
    """(sequence, sent, arrived), in ns, of every record in a file of tests/tools/stream."""
    try:
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return []
    return list(struct.iter_unpack("<qqq", data[:len(data) // 24 * 24]))


class Streams:
    """TCP and UDP from one container to another with echoes, 500 records a second each or as told."""

    def __init__(self, source, target, port, name, rate=500):
        self.files, self.processes, self.receivers = {}, {}, []
        for proto in ("tcp", "udp"):
            there = os.path.join(source.host.work, f"{name}.{proto}.there.bin")
            back = os.path.join(source.host.work, f"{name}.{proto}.back.bin")
            for path in (there, back):
                if os.path.exists(path):
                    os.unlink(path)
            self.receivers.append(target.spawn("stream", "recv", proto, port, there, log=f"{name}.{proto}.recv.log", ready=True))
            self.files[proto] = there, back
            self.processes[proto] = source.spawn("stream", "send", proto, target.ip, port, 1_000_000 // rate, back,
                                                 log=f"{name}.{proto}.send.log", ready=True)

    def flowing(self):
        """True when an echo of each has come back."""
        return all(arrivals(back) for _, back in self.files.values())

    def stop(self):
        """Ends them. {proto: (sent, lost, longest gap in ms)}: what was sent and did not arrive or did not come back."""
        result = {}
        for proto, process in self.processes.items():
            process.stop()
            there, back = (arrivals(path) for path in self.files[proto])
            last = max((seq for seq, _, _ in back), default=0)
            lost = len(set(range(last)) - {seq for seq, _, _ in there}) + len(set(range(last)) - {seq for seq, _, _ in back})
            times = sorted(t for _, _, t in there)
            gap = max((b - a for a, b in zip(times, times[1:])), default=0)
            result[proto] = last, lost, gap / 1e6
            with open(process.log) as log:
                result[proto + " open"] = '"open":true' in log.read()
        for receiver in self.receivers:
            receiver.stop()
        return result


def expect_unharmed(result, what, seconds, rate=500):
    """No packet lost, TCP still open, and the streams ran to the end: `seconds` of them at least."""
    for proto in ("tcp", "udp"):
        sent, lost, gap = result[proto]
        expect(lost == 0, f"{what}: {lost} of {sent} {proto} packets lost (longest gap {gap:.0f} ms); allowed connections go on")
        expect(sent >= seconds * rate * 0.8, f"{what}: only {sent} {proto} packets were echoed in {seconds:.0f} s (longest gap {gap:.0f} ms)")
    expect(result["tcp open"], f"{what}: the TCP connection was closed")


class Forbidden:
    """A container that dials what no policy ever allows, all the time."""

    def __init__(self, source, *targets, rate=200):
        self.source = source
        self.log = os.path.join(source.host.work, source.name + ".forbidden")
        self.process = source.spawn("load", rate, 600_000, 0, self.log, *targets, log=source.name + ".forbidden.log")

    def stop(self, *servers):
        """(dialled, accepted): by its own account, and by the servers' whatever it thinks."""
        self.process.stop()
        with open(self.log) as log:
            kinds = [line[0] for line in log]
        delivered = sum(len(server.received(**{"from": self.source.ip})) for server in servers)
        return len(kinds), max(kinds.count("c"), delivered)


class Knocker:
    """A container that is never let in anywhere: it dials and sends datagrams, half of the rate each."""

    def __init__(self, source, targets, rate=200):
        self.source = source
        self.calls = os.path.join(source.host.work, source.name + ".knocks")
        self.processes = [
            source.spawn("load", rate // 2, 600_000, 0, self.calls, *targets, log=source.name + ".load.log"),
            source.spawn("pour", rate // 2, 600_000, *targets, log=source.name + ".pour.log")]

    def stop(self):
        """How many were sent, by its own account. What was delivered is asked of the servers."""
        for process in self.processes:
            process.stop()
        with open(self.calls) as calls, open(self.processes[1].log) as poured:
            return sum(1 for _ in calls) + json.loads(poured.read().splitlines()[-1])["sent"]


def trio(host, microseg, network, subnet, policy="allow client -> server : 7001\nallow client -> server : 7001/udp"):
    """A network with a client that may reach the server's port 7001, and a stranger that may reach nobody."""
    host.api.create_network(network, microseg.driver, [subnet], {"microseg.policy": policy})
    server = container.serve(host, network + "-server", network, "tcp:7000", service="server")
    client = container.start(host, network + "-client", network, service="client")
    stranger = container.start(host, network + "-stranger", network, service="stranger")
    return client, server, stranger
