"""What breaks under running connections: a node cut off from the others, the leader lost, plugins killed."""

import time

from lab import segment
from lab.engine_api import wait_until
from lab.registry import expect, swarm_test
from lab.traffic import Knocker, Streams, expect_unharmed

POLICY = "allow client -> server : 7001-7002, 7001-7002/udp"  # 7001: streams; 7002: echoes; 7000: for nobody
CUT_SECONDS = 30       # at the least: until there is another leader, and that is by lot
ELECTION_SECONDS = 90
RATE = 200


class Pair:
    """On one node: a client that streams to a server beside it, and a stranger that knocks at all servers."""

    def __init__(self, swarm, node, network):
        self.node = node
        name = f"{network}-{node.name}"
        self.server = swarm.serve(node, name + "-server", network, "tcp:7000", "udp:7000", "tcp:7002", "udp:7002", service="server")
        self.client = swarm.run(node, name + "-client", network, service="client")
        self.stranger = swarm.run(node, name + "-stranger", network, service="stranger")

    def begin(self, servers):
        self.streams = Streams(self.client, self.server, 7001, self.client.name, RATE)
        self.knocker = Knocker(self.stranger, [f"{s.ip}:{port}" for s in servers for port in (7000, 7002)], RATE)
        wait_until(self.streams.flowing, 10, f"the streams on {self.node.name} flow")


@swarm_test("failure", ("swarm", "swarm mixed"), spoils=True)
def failure(context):
    """Nothing is cleaned up: Docker itself may take minutes until a manager that was cut off is one again."""
    swarm = context.swarm()
    swarm.network("broken", subnet="10.104.0.0/24", options={"microseg.policy": POLICY})
    pairs = [Pair(swarm, node, "broken") for node in swarm.nodes]
    servers = [pair.server for pair in pairs]
    for pair in pairs:
        pair.begin(servers)
    reach = until_reached(pairs, 5)
    started = time.monotonic()

    # The leader is cut off: it and the majority that elects another go on enforcing, each for itself.
    lost = swarm.leader()
    swarm.fabric.cut(lost.name)
    cut = time.monotonic()
    rest = [node for node in swarm.nodes if node is not lost]
    leader = wait_until(lambda: next((n for n in [swarm.leader(node) for node in rest] if n and n is not lost), None), ELECTION_SECONDS,
                        "the majority elects another leader", step=0.2)
    elected = time.monotonic() - cut
    swarm.network("meanwhile", subnet="10.105.0.0/24", options={"microseg.policy": POLICY}, node=rest[0])
    swarm.run(rest[0], "broken-late", "meanwhile", service="client")
    vnis = [swarm.options(network, rest[0]).get("microseg.vni") for network in ("broken", "meanwhile")]
    wait_until(lambda: time.monotonic() - cut >= CUT_SECONDS, CUT_SECONDS + 1, "the cut has lasted", step=0.1)
    swarm.fabric.mend(lost.name)
    mended = time.monotonic()
    lasted = mended - cut
    healed = until_reached(pairs, 90)
    healed_after = time.monotonic() - mended

    # Every plugin in turn. dockerd starts it again by itself.
    back = []
    for node in swarm.nodes:
        held = segment.snapshot(node.host)
        killed = node.plugin_process()
        node.host.run("sh", "-c", f"kill -9 {killed}")
        began = time.monotonic()
        wait_until(lambda: node.plugin_process() not in (None, killed) and node.microseg.cli("status", check=False).returncode == 0, 30,
                   f"the plugin on {node.name} is back", step=0.1)
        back.append(time.monotonic() - began)
        wait_until(lambda: segment.snapshot(node.host) == held, 5, f"{node.name} holds what it held", step=0.1)
    after = until_reached(pairs, 5)

    seconds = time.monotonic() - started
    knocked = sum(pair.knocker.stop() for pair in pairs)
    unharmed = {pair.node.name: pair.streams.stop() for pair in pairs}
    clients = {pair.client.ip for pair in pairs}
    delivered = [(server.name, row) for server in servers for row in server.received() if row["from"] not in clients or row["port"] == 7000]
    figures = (f"{lost.name}, the leader, cut off for {lasted:.0f} s: {leader.name} elected after {elected:.1f} s and a network made there; all reached again "
               f"{healed_after:.1f} s after the cut was mended; plugins killed, back in {', '.join(f'{b:.1f}' for b in back)} s; in {seconds:.0f} s "
               f"{knocked} forbidden packets and connections sent, {len(delivered)} delivered; " +
               "; ".join(f"{name}: {u['tcp'][1]} of {u['tcp'][0]} TCP and {u['udp'][1]} of {u['udp'][0]} UDP packets lost"
                         for name, u in unharmed.items()))
    expect(not reach, f"{figures}; at first: {reach}")
    expect(not delivered, f"{figures}: {delivered[:5]}")
    expect(all(vnis) and vnis[0] != vnis[1], f"{figures}; the two networks have the VNIs {vnis}")
    expect(not healed and not after, f"{figures}; not reached after the cut: {healed}; after the kills: {after}")
    for name, u in unharmed.items():
        expect_unharmed(u, f"{figures}; {name}", seconds * 0.9, RATE)
    return figures


def until_reached(pairs, seconds):
    """Every client tries every server, until all that is allowed works: what still does not when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        wrong = []
        for pair in pairs:
            verdicts = pair.client.probe(*[f"{proto}:{other.server.ip}:7002" for other in pairs for proto in ("tcp", "udp")])
            wrong += [f"{pair.client.name} -> {target}: {verdict}" for target, verdict in verdicts.items() if verdict != "accepted"]
        if not wrong or time.monotonic() > deadline:
            return wrong
