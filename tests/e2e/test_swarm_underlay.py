"""Encapsulated packets that no node of the network sent: from a third machine on the wire, and from containers."""

import json

from lab import container, segment
from lab.engine_api import wait_until
from lab.host import Process, read
from lab.image import BUILT
from lab.registry import expect, swarm_test

PORT = 4799
VNI, OTHER_VNI = 5003, 5103  # a network that was just removed holds its number for a moment
VNIS, CLASSES = f"{VNI - 3}-{VNI + 3}", "0-4"
GUESSES = 7 * 5
REPEAT = 3
POLICY = "allow client -> server : 7000, 7000/udp\nallow any -> server : 7001/udp"
ANY_MAC = "02:4d:53:00:00:02"


class Watch:
    """Sniffers for the tools' marks: in a host's segments and in a container."""

    def __init__(self, host, **spaces):
        self.processes = {}
        for name, path in spaces.items():
            log = f"{host.work}/sniff.{name}.log"
            open(log, "w").close()
            process = Process(["nsenter", "-t", str(host.holder), "-p", "--net=" + path, "--", BUILT + "/sniff"], log)
            wait_until(lambda: "ready" in read(process.log), 10, f"the sniffer {name} is ready")
            self.processes[name] = process

    def stop(self):
        """{where: {kind: frames}} of what was seen, without places that saw nothing."""
        seen = {}
        for name, process in self.processes.items():
            process.stop()
            seen[name] = json.loads(read(process.log).splitlines()[-1])
        return {name: kinds for name, kinds in seen.items() if kinds}


def segment_of(node, network):
    return segment.segments(node.host)[network[:12]]


def tunnel_mac(node, network):
    """What a guess can at best come to."""
    done = segment.in_netns(segment_of(node, network), "ip", "-j", "link", "show", "msvx")
    return json.loads(done.stdout)[0]["address"]


def dropped(node, name="underlay"):
    """The guard's counter on the node; None where there is no guard."""
    done = segment.in_netns(f"/proc/{node.host.holder}/ns/net", "nft", "-j", "list", "table", "inet", "microseg")
    if done.returncode != 0:
        return None
    found = [entry["counter"] for entry in json.loads(done.stdout)["nftables"] if "counter" in entry]
    return next((c["packets"] for c in found if c["name"] == name), None)


def attack(machine, outer_from, node, inner_from, inner_to, mac):
    """Every form, VNI and class at the node. Returns how many packets the wire carried as VXLAN."""
    forms = [f"{form}:{PORT}" for form in ("vxlan", "bare", "arp", "pieces")]
    sent = json.loads(machine.run("encap", REPEAT, outer_from, node.address, inner_from, inner_to, 7000, mac, VNIS, CLASSES, *forms).stdout)
    expect(all(n == REPEAT * GUESSES for n in sent.values()), f"the attacker could not send: {sent}")
    return sum(sent.values())


@swarm_test("underlay", ("swarm", "swarm mixed"))
def underlay(context):
    swarm = context.swarm()
    machine, own = swarm.fabric.machine("intruder")
    first, second, third = swarm.nodes
    sent, wrong, seen = 0, [], {}

    def strike(node, what, network=None, victim=None, outer_from=own, inner_from="10.106.0.50"):
        nonlocal sent
        places = {"segment": segment_of(node, network)} if network else {}
        if victim:
            places["victim"] = victim.netns
        watch, before = Watch(node.host, **places), dropped(node)
        packets = attack(machine, outer_from, node, inner_from, victim.ip if victim else "10.106.0.2",
                         tunnel_mac(node, network) if network else ANY_MAC)
        sent += packets
        found, after = watch.stop(), dropped(node)
        if found:
            seen[f"{node.name}, {what}"] = found
        if before is None or after is None or after - before < packets:
            wrong.append(f"{node.name}, {what}: the guard counts {before} and then {after} after {packets} packets")

    for node in swarm.nodes:
        strike(node, "before any network")
    network = swarm.network("guarded", subnet="10.106.0.0/24", options={"microseg.policy": POLICY, "microseg.vni": str(VNI)})
    server = swarm.serve(first, "guarded-server", "guarded", "udp:7000", "tcp:7000", service="server")
    strike(first, "with one endpoint and no peer", network, server)
    client = swarm.run(second, "guarded-client", "guarded", service="client", ip="10.106.0.50")
    honest = f"tcp:{server.ip}:7000", f"udp:{server.ip}:7000"
    wait_until(lambda: set(client.probe(*honest).values()) == {"accepted"}, 5, "the client reaches the server across nodes")
    strike(first, "with a peer", network, server)
    strike(second, "with a peer", network, client, inner_from=server.ip)
    # The same from the peer itself arrives, so what is sent is right, and would be seen.
    known = next(e for e in second.microseg.json("endpoints")["endpoints"] if e["id"] == client.endpoint)
    watch = Watch(first.host, victim=server.netns)
    second.host.run("/run/src/build/tools/encap", "1", second.address, first.address, client.ip, server.ip, "7000", tunnel_mac(first, network),
                    str(VNI), str(known["class"]), f"vxlan:{PORT}", f"pieces:{PORT}")
    control = watch.stop().get("victim", {})
    # A node of the swarm that is not on the network is no peer of it; nor is the host itself.
    strike(first, "from a node without the network", network, server, outer_from=third.address)
    first.microseg.disable()
    strike(first, "while the plugin is disabled", network, server)
    first.microseg.enable()
    still = client.probe(*honest)
    received = [row for row in server.received() if row["from"] != client.ip]
    client.remove()
    server.remove()
    swarm.remove_network("guarded")
    for node in (first, second):
        strike(node, "after the last endpoint")
    swarm.fabric.unplug(machine)
    figures = (f"{sent} VXLAN packets of 4 forms with 7 VNIs and 5 classes, the right ones among them, before, during and after the network: "
               f"{sum(sum(k.values()) for where in seen.values() for k in where.values())} seen behind the guard, {len(received)} delivered")
    expect(not seen and not received, f"{figures}: {seen} {received[:5]}")
    expect(not wrong, f"{figures}; {'; '.join(wrong)}")
    expect(len(control) == 2, f"{figures}; of the same from a peer only {control} arrived: this shows nothing")
    expect(set(still.values()) == {"accepted"}, f"{figures}; the client's own connections afterwards: {still}")
    return figures


TUNNELS = [f"vxlan:{PORT}", f"bare:{PORT}", f"pieces:{PORT}", f"arp:{PORT}", "vxlan:4789", "bare:8472", "geneve:6081", "ipip", "6in4", "gre", "gretap"]


@swarm_test("injected", ("swarm", "swarm mixed"))
def injected(context):
    """Through docker_gwbridge a container's packets leave with the host's own address, which is a known peer's."""
    swarm = context.swarm()
    first, second, _ = swarm.nodes
    network = swarm.network("inject", subnet="10.107.0.0/24", options={"microseg.policy": POLICY + "\nallow any -> world\nallow any -> host", "microseg.vni": str(OTHER_VNI)})
    mallory = swarm.run(first, "inject-mallory", "inject", service="mallory", capabilities=["NET_RAW", "NET_ADMIN"])
    near = swarm.serve(first, "inject-near", "inject", "udp:7000", service="server")
    far = swarm.serve(second, "inject-far", "inject", "udp:7000", "udp:7001", service="server")
    bridged = container.start(first.host, "inject-bridged", "bridge", CapAdd=["NET_RAW"])
    wait_until(lambda: mallory.probe(f"udp:{far.ip}:7001") == {f"udp:{far.ip}:7001": "accepted"}, 5, "the nodes know each other")
    for knob in ("all", "docker_gwbridge"):  # what the host's own defaults would stop is not ours to claim
        first.host.run("sh", "-c", f"echo 0 >/proc/sys/net/ipv4/conf/{knob}/rp_filter")
    gateways = {c.name: json.loads(c.run("ip", "-j", "-4", "route", "get", second.address).stdout)[0]["prefsrc"] for c in (mallory, bridged)}
    watches = {"the other host": Watch(second.host, wire=f"/proc/{second.host.holder}/ns/net", segment=segment_of(second, network), far=far.netns),
               "its own host": Watch(first.host, segment=segment_of(first, network), near=near.netns)}
    attempts = [(mallory, gateways[mallory.name], second, far, TUNNELS), (mallory, second.address, first, near, TUNNELS),
                (mallory, gateways[mallory.name], first, near, TUNNELS), (bridged, gateways[bridged.name], second, far, TUNNELS[:4])]
    sent = 0
    for source, outer_from, node, victim, forms in attempts:
        out = json.loads(source.run("encap", REPEAT, outer_from, node.address, "10.107.0.99", victim.ip, 7000, tunnel_mac(node, network),
                                    OTHER_VNI, "0-4", *forms).stdout)
        sent += sum(out.values())
        # What is no tunnel passes: the road is open.
        source.run("encap", REPEAT, outer_from if node is second else gateways[source.name], second.address, "10.107.0.99", victim.ip, 7000,
                   ANY_MAC, 0, 0, "plain:9999")
    control = "plain-9999"
    seen = {where: watch.stop() for where, watch in watches.items()}
    honest = seen["the other host"].get("wire", {}).pop(control, 0)
    seen = {f"{where}, {place}": kinds for where, places in seen.items() for place, kinds in places.items() if kinds}
    received = [row for c in (near, far) for row in c.received() if row["from"] not in (mallory.ip,)]
    for c in (mallory, near, far, bridged):
        c.remove()
    swarm.remove_network("inject")
    figures = (f"{sent} encapsulated packets of {len(TUNNELS)} forms sent by containers to their own and to another host: "
               f"{sum(sum(k.values()) for k in seen.values())} arrived, {len(received)} delivered; {honest} of {REPEAT * len(attempts)} plain ones arrived")
    expect(not seen and not received, f"{figures}: {seen} {received[:5]}")
    expect(honest == REPEAT * len(attempts), f"{figures}; the road was not open")
    return figures
