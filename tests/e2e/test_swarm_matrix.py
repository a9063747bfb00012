"""Services whose tasks the scheduler spreads over three hosts: who reaches whom, before and after it moves them."""

import json
import time

from lab import segment
from lab.engine_api import wait_until
from lab.matrix import LISTEN, Matrix
from lab.registry import expect, swarm_test
from lab.swarm import server
from lab.traffic import Knocker

BOTH = ("swarm", "swarm mixed")
POLICY = """
allow web -> api : 7000, 7001/udp, icmp
allow api -> db : 7001, 7003, 7000/udp
allow {tier=data} -> web : 7002, 7002/udp
allow web -> web : 7003
allow any -> db : 7002/udp
deny web -> db
"""
LABELS = {"web": {}, "api": {}, "db": {"tier": "data"}}
REPLICAS = 3


def stack(swarm, network, subnet, name):
    """Three services of three tasks each, named as `docker stack deploy` names them; the policy is a label of the network."""
    swarm.network(network, subnet=subnet, labels={"microseg.policy": POLICY})
    return [swarm.service(service, network, server(*LISTEN), REPLICAS, stack=name, labels=labels) for service, labels in LABELS.items()]


def tasks_of(swarm, ids):
    return {service: swarm.tasks(found, REPLICAS) for service, found in zip(LABELS, ids)}


@swarm_test("matrix", BOTH)
def matrix(context):
    swarm = context.swarm()
    started = time.monotonic()
    ids = stack(swarm, "grid", "10.101.0.0/24", "shop")
    found = Matrix(swarm, "grid", tasks_of(swarm, ids))
    running = time.monotonic() - started
    nodes = {task.node.name for _, task in found.everybody()}
    wrong, converged = until_equal(found, 5)
    allowed = sum(found.allowed.values())
    again = found.differences()
    swarm.remove_services(*ids)
    swarm.remove_network("grid")
    figures = (f"{len(found.everybody())} tasks on {len(nodes)} nodes run after {running:.1f} s; {found.tries()} connections tried, {allowed} of "
               f"{len(found.allowed)} combinations allowed, {len(wrong)} differences to explain {converged:.1f} s later, {len(again)} in the next round")
    expect(len(nodes) == 3, figures)
    expect(not wrong and not again, f"{figures}: {wrong[:10]} {again[:10]}")
    return figures


def until_equal(found, seconds):
    """Rounds until one shows no difference or the time is over: (differences of the last one, seconds)."""
    started = time.monotonic()
    while True:
        wrong = found.differences()
        took = time.monotonic() - started
        if not wrong or took > seconds:
            return wrong, took


@swarm_test("drain", BOTH)
def drain(context):
    swarm = context.swarm()
    ids = stack(swarm, "moved", "10.102.0.0/24", "move")
    before = Matrix(swarm, "moved", tasks_of(swarm, ids))
    wrong, _ = until_equal(before, 5)
    # Strangers try every address that a task has or may get. Nobody may ever reach port 7004.
    strangers = [swarm.run(node, f"moved-stranger-{node.name}", "moved", service="stranger") for node in swarm.nodes[:2]]
    addresses = [f"10.102.0.{n}" for n in range(2, 32)]
    knockers = [Knocker(stranger, [f"{address}:7004" for address in addresses], rate=200) for stranger in strangers]
    leaving = swarm.nodes[2]
    old = {task.id for _, task in before.everybody()}
    started = time.monotonic()
    swarm.update_node(leaving, Availability="drain")
    wait_until(lambda: all(t["NodeID"] != leaving.id for i in ids for t in swarm.running(i)), 30, "no task is on the drained node", step=0.1)
    after = Matrix(swarm, "moved", tasks_of(swarm, ids))
    moved = time.monotonic() - started
    # What a task that is gone was delivered counts as well, and what it had sent.
    before.names = after.names = {**before.names, **after.names}
    late, took = until_equal(after, 5)
    knocked = [knocker.stop() for knocker in knockers]
    seconds = time.monotonic() - started
    delivered = [row for group in (before, after) for _, task in group.everybody() for row in task.received(port=7004)]
    forbidden = before.forbidden_deliveries() + after.forbidden_deliveries()
    fresh = [task for _, task in after.everybody() if task.id not in old]
    swarm.update_node(leaving, Availability="active")
    for stranger in strangers:
        stranger.remove()
    swarm.remove_services(*ids)
    swarm.remove_network("moved")
    figures = (f"{len(fresh)} tasks of {leaving} run elsewhere {moved:.1f} s after it was drained; {len(late)} differences to explain {took:.1f} s later; "
               f"{sum(knocked)} forbidden packets and connections sent in {seconds:.0f} s, {len(delivered) + len(forbidden)} delivered")
    expect(not wrong, f"before the drain: {wrong[:10]}")
    expect(fresh and not late and took <= 5, f"{figures}; expected none within 5 s: {late[:10]}")
    expect(not delivered and not forbidden, f"{figures}: {delivered[:5]} {forbidden[:5]}")
    expect(sum(knocked) >= 150 * len(knockers) * seconds, f"{figures}; expected {200 * len(knockers)} a second")
    return figures


@swarm_test("peers", BOTH)
def peers(context):
    """The nodes that hold the network flood to each other, and to no others."""
    swarm = context.swarm()
    network = swarm.network("peered", subnet="10.103.0.0/24", options={"microseg.policy": "allow any -> any"})
    made, times, wrong = [], [], []

    def follow(nodes, what):
        started = time.monotonic()
        addresses = {node.name: node.address for node in nodes}
        for node in nodes:
            expected = {address for name, address in addresses.items() if name != node.name}
            try:
                wait_until(lambda: flooded(node, network) == expected, 2 - (time.monotonic() - started), "")
            except TimeoutError:
                wrong.append(f"{what}: {node.name} floods to {sorted(flooded(node, network))} after 2 s, expected {sorted(expected)}")
        times.append(time.monotonic() - started)

    for n, node in enumerate(swarm.nodes, 1):
        made.append(swarm.run(node, f"peered-{node.name}", "peered"))
        follow(swarm.nodes[:n], f"the first container on {node.name}")
    # A request for an address that was made before the other end knew its asker is made again after a second.
    reached = made[0].probe(*[f"icmp:{c.ip}" for c in made[1:]], timeout_ms=2000)
    for n, gone in reversed(list(enumerate(made))):
        gone.remove()
        follow(swarm.nodes[:n], f"the last container on {gone.node.name} gone")
    swarm.remove_network("peered")
    figures = f"flood entries of all follow within {', '.join(f'{t:.2f}' for t in times)} s of nodes joining and leaving"
    expect(not wrong, "; ".join(wrong))
    expect(set(reached.values()) == {"accepted"}, f"{figures}; {reached}")
    return figures


def flooded(node, network):
    """The underlay addresses that the network's segment on the node floods to."""
    path = segment.segments(node.host).get(network[:12])
    done = path and segment.in_netns(path, "bridge", "-j", "fdb", "show", "dev", "msvx")
    return {entry["dst"] for entry in json.loads(done.stdout or "[]") if entry["mac"] == "00:00:00:00:00:00"} if done else set()
