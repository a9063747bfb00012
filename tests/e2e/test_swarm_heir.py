"""An address that passes from one service to another while connections of the first are alive elsewhere."""

import json

from lab import segment
from lab.engine_api import wait_until
from lab.host import read
from lab.registry import expect, swarm_test
from lab.traffic import Streams

POLICY = "allow client -> server : 7001, 7001/udp\nallow server -> client : 7001, 7001/udp"
ADDRESS = "10.108.0.77"
REPEAT = 20
KINDS = ("udp", "tcp-data", "tcp-fin", "tcp-reset", "tcp-syn-ack", "tcp-syn", "error-udp", "error-tcp")


@swarm_test("heir", ("swarm", "swarm mixed"))
def heir(context):
    """The client's connections to a server on another node, in both directions; then a stranger has the client's address,
    on a third node or beside the server, and sends what the client would."""
    swarm = context.swarm()
    home, away, third = swarm.nodes
    network = swarm.network("inherit", subnet="10.108.0.0/24", options={"microseg.policy": POLICY})
    server = swarm.run(away, "inherit-server", "inherit", service="server", capabilities=["NET_RAW"])
    sent = delivered = connections = honest = 0
    seen, inherited, unknown = {}, [], []
    for number, place in enumerate((third, away, home)):
        client = swarm.run(home, f"inherit-client{number}", "inherit", service="client", ip=ADDRESS)
        # The server's segment would call packets with a wrong sequence number invalid; the stamp has to do without that.
        for node in (away, home):
            segment.in_netns(segment.segments(node.host)[network[:12]], "sh", "-c", "echo 1 >/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
        # Nobody listens yet: the answer is an error about the port, and comes from the other end.
        for a, b in ((client, server), (server, client)):
            wait_until(lambda: set(a.probe(f"udp:{b.ip}:7001", timeout_ms=200).values()) == {"refused"}, 5, f"{a.name} reaches {b.name}")
        streams = [Streams(client, server, 7001, f"inherit{number}a", 100), Streams(server, client, 7001, f"inherit{number}b", 100)]
        for each in streams:
            wait_until(each.flowing, 5, "the streams flow")
        flows = live_flows(away, network, server.ip)
        connections += len(flows)
        if len(flows) < 4:
            unknown.append(f"expected 4 connections or more in the server's segment, found {flows}")
        # From the client itself they arrive: what is sent is right, and would be seen.
        honest += forged(server, client, [flow for flow in flows if flow[1] == 7001][:1], 1)[1].get("udp", 0)
        # It goes without a word, as a host that crashes: nothing closes the connections.
        client.remove()
        stranger = swarm.run(place, f"inherit-stranger{number}", "inherit", service="stranger", ip=ADDRESS, capabilities=["NET_RAW"])
        packets, kinds = forged(server, stranger, flows, REPEAT)
        sent += packets
        delivered += sum(kinds.values())
        if kinds:
            seen[f"heir on {place.name}"] = kinds
        verdicts = stranger.probe(*[f"{proto}:{server.ip}:7001" for proto in ("tcp", "udp")], timeout_ms=500)
        inherited += [f"on {place.name} {target}: {verdict}" for target, verdict in verdicts.items() if verdict == "accepted"]
        for each in streams:
            each.stop()
        stranger.remove()
    # The address back in the service that may: nothing of the strangers sticks to it either.
    client = swarm.run(third, "inherit-again", "inherit", service="client", ip=ADDRESS)
    receiver = server.spawn("serve", "tcp:7001", "udp:7001", log="inherit.serve.log", ready=True)
    targets = f"tcp:{server.ip}:7001", f"udp:{server.ip}:7001"
    try:
        wait_until(lambda: set(client.probe(*targets, timeout_ms=500).values()) == {"accepted"}, 5, "the address works again")
    except TimeoutError:
        pass  # the next line tells how far it got
    again = client.probe(*targets)
    receiver.stop()
    client.remove()
    server.remove()
    swarm.remove_network("inherit")
    figures = (f"an address taken over 3 times, on each node once, with {connections} connections of the dead service alive: {sent} packets of {len(KINDS)} "
               f"kinds forged, {delivered} delivered, {len(inherited)} permissions inherited")
    expect(honest >= 3, f"{figures}; of the same from the client itself only {honest} arrived: this shows nothing")
    expect(not unknown, f"{figures}; {'; '.join(unknown)}")
    expect(not seen and not inherited, f"{figures}: {seen} {inherited}")
    expect(set(again.values()) == {"accepted"}, f"{figures}; the address back with a client: {again}")
    return figures


def forged(server, source, flows, repeat):
    """Packets of the connections, sent by `source`: (how many, {kind: frames that arrived at the server})."""
    watch = server.spawn("sniff", log="inherit.sniff.log", ready=True)
    sent = 0
    for own, other in flows:
        out = json.loads(source.run("heir", repeat, ADDRESS, server.ip, own, other).stdout)
        sent += sum(out.values())
    watch.stop()
    return sent, json.loads(read(watch.log).splitlines()[-1])


def live_flows(node, network, server):
    """[(port at the address, port at the server)] of the connections between the two that the segment tracks."""
    done = segment.in_netns(segment.segments(node.host)[network[:12]], "conntrack", "-L", "-o", "extended")
    flows = set()
    for line in done.stdout.splitlines():
        fields = {}
        for word in line.split():
            key, _, value = word.partition("=")
            if value and key not in fields:
                fields[key] = value  # of the original direction: it comes first
        if {fields.get("src"), fields.get("dst")} != {ADDRESS, server} or "7001" not in (fields.get("sport"), fields.get("dport")):
            continue
        ports = int(fields["sport"]), int(fields["dport"])
        flows.add(ports if fields["src"] == ADDRESS else ports[::-1])
    return sorted(flows)
