"""A container with NET_ADMIN and NET_RAW that lies about everything a frame can say."""

import json
import os

from lab import container
from lab.engine_api import wait_until
from lab.host import Process, read
from lab.image import BUILT
from lab.registry import expect, test

POLICY = "allow mallory -> victim : 5000/udp\nallow friend -> victim : 6000/udp, 6000\nallow victim -> friend : 6000/udp"
REPEAT = 20


def neighbours(c):
    return c.run("ip", "neigh", "show", "dev", "eth0").stdout, c.run("ip", "route").stdout, c.run("ip", "-6", "route").stdout


@test("forge")
def forge(context):
    host, microseg = context.machine()
    host.api.create_network("forged", microseg.driver, ["10.64.0.0/24", "fd64::/64"], {"microseg.policy": POLICY}, ipv6=True)
    caps = {"CapAdd": ["NET_ADMIN", "NET_RAW"]}
    mallory = container.start(host, "mallory", "forged", service="mallory", **caps)
    victim = container.serve(host, "victim", "forged", "udp:5000", "udp:6000", "tcp:6000", service="victim")
    friend = container.serve(host, "friend", "forged", "udp:6000", service="friend")
    other = container.start(host, "other", "forged", service="other")
    watched = [victim, friend, other]

    # All that is true works, and fills the neighbour tables as they should be.
    good = f"udp:{victim.ip}:6000", f"udp:[{victim.ip6}]:6000"
    for target, verdict in friend.probe(*good).items():
        expect(verdict == "accepted", f"friend -> {target}: {verdict}, the policy allows it")
    mallory.probe(f"udp:{victim.ip}:5000", f"udp:[{victim.ip6}]:5000")
    gateway, gateway6 = host_gateway(mallory, "4"), host_gateway(mallory, "6")
    gateway_mac = next(line.split()[2] for line in mallory.run("ip", "neigh", "show", gateway, "dev", "eth0").stdout.splitlines())
    tables = {c.name: neighbours(c) for c in watched}
    received = len(victim.received())

    sniffers = {c.name: c.spawn("sniff", log=f"sniff.{c.name}.log", ready=True) for c in watched}
    # And whoever looks at the host's own interfaces.
    sniffers["host"] = host_sniffer(host)
    sent = json.loads(mallory.run(
        "forge", REPEAT, "eth0", mallory.ip, friend.ip, victim.ip, gateway, mallory.ip6, friend.ip6, victim.ip6, gateway6,
        mallory.mac(), friend.mac(), victim.mac(), gateway_mac, timeout=120).stdout)
    wait_until(lambda: len(victim.received()) >= received + 2 * REPEAT, 10, "the honest frames arrive")
    seen = {}
    for name, sniffer in sniffers.items():
        sniffer.stop()
        seen[name] = json.loads(read(sniffer.log).splitlines()[-1])
    after = {c.name: neighbours(c) for c in watched}
    honest = sum(seen["victim"].pop(kind, 0) for kind in ("honest-4", "honest-6"))
    forged = {name: kinds for name, kinds in seen.items() if kinds}
    kinds = [kind for kind in sent if not kind.startswith("honest")]
    still = friend.probe(*good)
    for c in [mallory, *watched]:
        c.remove()
    host.api.call("DELETE", "/networks/forged")
    figures = (f"{sum(sent[k] for k in kinds)} forged frames of {len(kinds)} kinds sent, "
               f"{sum(sum(k.values()) for k in forged.values())} delivered to {len(sniffers)} watchers; {honest} arrivals of {2 * REPEAT} honest ones")
    expect(not forged, f"{figures}: {forged}")
    expect(honest >= 2 * REPEAT, figures)  # more where the answer to one is an error that quotes it
    expect(all(v == "accepted" for v in still.values()), f"{figures}; afterwards the friend's own connections: {still}")
    for name in tables:
        mac = [line for line in after[name][0].splitlines() if mallory_mac_in(line, tables[name][0])]
        expect(not mac and tables[name][1:] == after[name][1:],
               f"{figures}; {name}'s neighbours or routes changed from {tables[name]} to {after[name]}")
    return figures


def mallory_mac_in(line, before):
    """A neighbour entry that was not there with this MAC before."""
    fields = line.split()
    return "lladdr" in fields and fields[fields.index("lladdr") + 1] not in before


def host_gateway(c, family):
    """The gateway as the container's routes have it: Docker names none where a network is attached beside its own."""
    for route in json.loads(c.run("ip", "-j", "-" + family, "route").stdout):
        if route.get("gateway") and route.get("dev") == "eth0":
            return route["gateway"]
    raise RuntimeError(f"{c.name} has no route via a gateway on eth0")


def host_sniffer(host):
    process = Process(["nsenter", "-t", str(host.holder), "-n", "-p", "--", os.path.join(BUILT, "sniff")],
                      os.path.join(host.work, "sniff.host.log"))
    wait_until(lambda: "ready" in read(process.log), 10, "the host's sniffer is ready")
    return process
