"""One TCP stream, and requests with answers, between two nodes: microseg beside Docker's own overlay network."""

import json

from lab.engine_api import wait_until
from lab.registry import expect, swarm_test

ROUNDS = 7
MILLISECONDS = 250


@swarm_test("speed", ("swarm", "swarm mixed"), alone=True)
def speed(context):
    swarm = context.swarm()
    first, second, _ = swarm.nodes
    swarm.network("fastest", subnet="10.110.0.0/24", options={"microseg.policy": "allow sender -> sink : 9000"})
    swarm.network("overlaid", driver="overlay", subnet="10.111.0.0/24")
    pairs = {}
    for network in ("fastest", "overlaid"):
        ours = network == "fastest"
        sink = swarm.run(second, network + "-sink", network, ["flow", "serve", "9000"], service="sink" if ours else None)
        sender = swarm.run(first, network + "-sender", network, service="sender" if ours else None)
        wait_until(lambda: "accepted" in sender.probe(f"tcp:{sink.ip}:9000", timeout_ms=500).values(), 10, f"{network} reaches the other node")
        pairs[network] = sender, sink
    figures = {(network, kind): [] for network in pairs for kind in ("stream", "ask")}
    for _ in range(ROUNDS):
        for kind in ("stream", "ask"):
            for network, (sender, sink) in pairs.items():
                out = json.loads(sender.run("flow", kind, sink.ip, 9000, MILLISECONDS).stdout)
                figures[network, kind].append(out["mbit" if kind == "stream" else "per_second"])
    for network, pair in pairs.items():
        for c in pair:
            c.remove()
        swarm.remove_network(network)
    medians = {key: sorted(values)[ROUNDS // 2] for key, values in figures.items()}
    expect(all(medians.values()), f"{medians}: nothing was carried")
    stream, ask = ([medians[network, kind] for network in ("fastest", "overlaid")] for kind in ("stream", "ask"))
    return (f"medians of {ROUNDS} interleaved rounds between two nodes: microseg {stream[0]:.0f} Mbit/s and {ask[0]:.0f} requests/s, Docker's overlay "
            f"{stream[1]:.0f} Mbit/s and {ask[1]:.0f} requests/s, ratios {stream[0] / stream[1]:.2f} and {ask[0] / ask[1]:.2f}")
