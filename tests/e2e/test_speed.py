"""18-byte UDP packets per second from one core between two containers: microseg beside Docker's bridge network."""

import json

from lab import container
from lab.image import BUILT
from lab.registry import ALL, expect, test

# What is aimed at, and what the test fails below: how long Docker's own rules take differs from engine to engine, and
# other machines on the same core spoil a run. The figures say which it was.
AIM, FLOOR = 1.3, 1.1
ROUNDS = 41
MILLISECONDS = 100
RUNS = 3
# A hundred statements, of which one is about these two.
POLICY = "\n".join(["allow fast -> sink : 9000/udp"] +
                   [f"allow client{i} -> server{i % 10} : {1000 + i}, {2000 + i}-{2100 + i}/udp" for i in range(98)] +
                   ["deny stranger -> any"])


def datagrams(c):
    """What the receiver's kernel was handed, read or not."""
    rows = [line.split() for line in c.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Udp:")]
    counters = dict(zip(rows[0][1:], map(int, rows[1][1:])))
    return counters["InDatagrams"] + counters["RcvbufErrors"]


@test("speed", engines=ALL, alone=True)
def speed(context):
    host, microseg = context.machine()
    host.api.create_network("fast", microseg.driver, ["10.65.0.0/24"], {"microseg.policy": POLICY})
    host.api.create_network("plain", "bridge", ["10.66.0.0/24"])
    pairs = {}
    for network in ("fast", "plain"):
        options = {"service": "fast"} if network == "fast" else {}
        sender = container.start(host, network + "-sender", network, **options)
        options = {"service": "sink"} if network == "fast" else {}
        sink = container.start(host, network + "-sink", network, ["blast", "sink", "9000"], **options)
        pairs[network] = sender, sink
    # Another machine on the same core can spoil a run. One that fails is followed by two more, all are printed, and
    # the middle one counts: nothing is run again because it only misses the aim.
    runs = []
    while not runs or (runs[0][0] < FLOOR and len(runs) < RUNS):
        runs.append(interleaved(pairs))
    for pair in pairs.values():
        for c in pair:
            c.remove()
    for network in pairs:
        host.api.call("DELETE", "/networks/" + network)
    ratio, medians, each, delivered = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    earlier = f" (the middle of {', '.join(f'{r[0]:.2f}' for r in runs)})" if runs[1:] else ""
    figures = (f"median of {ROUNDS} interleaved rounds: microseg with 100 statements {medians['fast'] / 1e3:.0f} kpps, Docker's bridge "
               f"{medians['plain'] / 1e3:.0f} kpps, ratio {ratio:.2f}, the aim is {AIM} (rounds {each[0]:.2f} to {each[-1]:.2f}){earlier}; delivered "
               f"{100 * delivered['fast']:.1f}% and {100 * delivered['plain']:.1f}%")
    expect(min(delivered.values()) > 0.99, figures)
    expect(ratio >= FLOOR, f"{figures}; expected at least {FLOOR}")
    return figures


def interleaved(pairs):
    """A B A B: (ratio of medians, medians, ratio of each round in order, least share delivered)."""
    rates = {network: [] for network in pairs}
    delivered = {network: 1.0 for network in pairs}
    for number in range(ROUNDS + 1):
        for network, (sender, sink) in pairs.items():
            before = datagrams(sink)
            result = json.loads(sender.run("taskset", "-c", "1", BUILT + "/blast", "send", sink.ip, 9000,
                                           MILLISECONDS).stdout)
            if number == 0:
                continue  # warms up neighbours, connections and caches
            rates[network].append(result["pps"])
            delivered[network] = min(delivered[network], (datagrams(sink) - before) / result["packets"])
    medians = {network: sorted(r)[ROUNDS // 2] for network, r in rates.items()}
    each = sorted(a / b for a, b in zip(rates["fast"], rates["plain"]))
    return medians["fast"] / medians["plain"], medians, each, delivered
