"""Two hosts and one network, IPv4 and IPv6, with Docker's part played at the driver's socket: no Swarm of any version gives
its networks of other drivers IPv6 addresses that are known on more than one node."""

import itertools
import json
import os
import time

from lab.driver import Network, make_sandboxes, new_id, plug, sandbox_run
from lab.engine_api import wait_until
from lab.fabric import Fabric
from lab.fake_engine import FakeEngine
from lab.host import Process, read
from lab.image import BUILT, tools
from lab.microsegd import Legacy
from lab.registry import expect, test

POLICY = "allow web -> api : 7000, 7001/udp, icmp\nallow api -> web : 7001"
KINDS = ("tcp 7000", "tcp 7001", "udp 7000", "udp 7001", "icmp")
ALLOWED = {("web", "api", "tcp 7000"), ("web", "api", "udp 7001"), ("web", "api", "icmp"), ("api", "web", "tcp 7001")}
SERVICES = ("web", "api", "outsider")


class Place:
    """A host with microsegd, a fake engine and an endpoint of each service."""

    def __init__(self, context, fabric, network, number):
        self.host = context.own_host()
        self.address = fabric.connect(self.host.name, self.host.holder)
        self.engine = FakeEngine(self.host.shared + "/engine.sock", self.address)
        self.host.closers.append(self.engine.close)
        self.microseg = Legacy(self.host, context.bin, "--docker-socket", "/run/lab/engine.sock", "--scope", "global").start()
        self.network = network
        self.number = number

    def attach(self, answer):
        net = Network(self.microseg, "10.120.0.0/16", answer, "fd78::/64")
        net.id = net.body["NetworkID"] = self.network
        net.next = 10 * self.number
        net.create()
        self.endpoints = [net.endpoint(service) for service in SERVICES]
        make_sandboxes(self.host, self.endpoints)
        for e in self.endpoints:
            e.create()
            e.join()
        plug(self.host, self.endpoints)
        for e in self.endpoints:
            log = os.path.join(self.host.work, f"serve.{e.service}.log")
            server = Process(["nsenter", "-t", str(self.host.holder), "-p", "--net=" + self.host.path(e.sandbox), "--", BUILT + "/serve",
                              "tcp:7000-7001", "udp:7000-7001"], log)
            wait_until(lambda: "ready" in read(server.log), 10, "servers listen")


@test("span", engines=())
def span(context):
    tools()
    fabric = Fabric()
    network = new_id()[:25]  # as long as Swarm's
    places = [Place(context, fabric, network, n) for n in (1, 2)]
    places[0].host.closers.append(fabric.close)
    answer = places[0].microseg.call("AllocateNetwork", {
        "NetworkID": network, "Options": {"microseg.policy": POLICY}, "IPv4Data": [{"AddressSpace": "", "Pool": "10.120.0.0/16", "Gateway": "10.120.0.1/16"}],
        "IPv6Data": None})["Options"]
    for place in places:
        place.engine.peers[network] = [p.address for p in places]
        place.attach(answer)
    everybody = [(place, e) for place in places for e in place.endpoints]
    deadline, rounds = time.monotonic() + 5, 0
    while True:
        tried, wrong = matrix(everybody)
        rounds += 1
        if not wrong or time.monotonic() > deadline:
            break
    for place in places:
        place.microseg.stop()
    figures = f"{tried} connections by IPv4 and IPv6 between {len(everybody)} endpoints on two hosts, {len(wrong)} not as declared in round {rounds}"
    expect(not wrong, f"{figures}: {wrong[:10]}")
    return figures


def matrix(everybody):
    tried, wrong = 0, []
    for place, source in everybody:
        meant = {}
        for (_, target), kind in itertools.product(everybody, KINDS):
            if target is source:
                continue
            for address in (target.ip, f"[{target.ip6}]"):
                proto, _, port = kind.partition(" ")
                meant[f"{proto}:{address}" + (f":{port}" if port else "")] = (source.service, target.service, kind)
        out = sandbox_run(place.host, source, BUILT + "/probe", "-t", 500, *meant).stdout
        verdicts = {row["target"]: row["verdict"] for row in map(json.loads, out.splitlines())}
        tried += len(meant)
        wrong += [f"{source.service}@{place.host.name} -> {key[1]} {target}: {verdicts.get(target)}" for target, key in meant.items()
                  if (verdicts.get(target) == "accepted") != (key in ALLOWED)]
    return tried, wrong
