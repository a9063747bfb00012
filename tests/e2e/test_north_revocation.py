"""A permission toward the world is taken away while connections use it: from then on nothing leaves and nothing returns."""

import os
import signal
import time

from lab.engine_api import wait_until
from lab.outside import Outside
from lab.registry import expect, test
from lab.traffic import arrivals

TRIALS = 30
GRACE_NS = 20_000_000
PORT, KEPT_PORT = 8010, 8011
KEPT = f"allow open -> world : {KEPT_PORT}, {KEPT_PORT}/udp"
OPEN = KEPT + f"\nallow open -> world : {PORT}, {PORT}/udp"


@test("north revocation", engines=("20.10.24", "28.5.2"), alone=True)
def revocation(context):
    outside = Outside(context)
    host, microseg = outside.host, outside.microseg
    host.api.create_network("away", microseg.driver, ["10.76.0.0/24"])
    source = outside.start("open", "away", "open")
    microseg.apply("away", OPEN)
    there, receivers = {}, []
    for proto in ("tcp", "udp"):
        for port in (PORT, KEPT_PORT):
            there[proto, port] = os.path.join(host.work, f"world.{proto}.{port}.bin")
            receivers.append(outside.world.spawn("stream", "recv", proto, port, there[proto, port],
                                                 log=f"world.{proto}.{port}.log"))
    kept = {proto: os.path.join(host.work, f"kept.{proto}.bin") for proto in ("tcp", "udp")}
    keepers = [source.spawn("stream", "send", proto, outside.world_address, KEPT_PORT, 2000, path, log=f"kept.{proto}.log",
                            ready=True) for proto, path in kept.items()]
    late, latest, took = [], 0, []
    for trial in range(TRIALS):
        senders, watched = [], {}
        for proto in ("tcp", "udp"):
            path = there[proto, PORT]
            watched[path] = os.path.getsize(path) if os.path.exists(path) else 0
            echo = os.path.join(host.work, f"echo.{proto}.bin")
            if os.path.exists(echo):
                os.unlink(echo)
            watched[echo] = 0
            senders.append(source.spawn("stream", "send", proto, outside.world_address, PORT, 1000, echo, trial << 32,
                                        log=f"trial.{proto}.log", ready=True))
        wait_until(lambda: all(os.path.exists(p) and os.path.getsize(p) >= size + 24 * 20 for p, size in watched.items()),
                   10, f"trial {trial}: both streams and their echoes flow")
        started = time.monotonic_ns()
        microseg.apply("away", KEPT)
        revoked = time.monotonic_ns()
        took.append(revoked - started)
        time.sleep(0.15)  # the time in which nothing may arrive
        for sender in senders:
            sender.stop(signal.SIGKILL)
        for path, size in watched.items():
            for seq, _, arrived in arrivals(path)[size // 24:]:
                latest = max(latest, arrived - revoked)
                if arrived > revoked + GRACE_NS:
                    late.append((trial, os.path.basename(path), seq, round((arrived - revoked) / 1e6, 2)))
        microseg.apply("away", OPEN)
    lost = {}
    for keeper, (proto, path) in zip(keepers, kept.items()):
        keeper.stop()
        echoed = {seq for seq, _, _ in arrivals(path)}
        lost[proto] = len(set(range(max(echoed))) - echoed), max(echoed)
    for receiver in receivers:
        receiver.stop()
    took.sort()
    figures = (f"{TRIALS} trials, TCP and UDP with echoes: {len(late)} packets later than 20 ms after apply returned (the last "
               f"arrived {latest / 1e6:.1f} ms after); connections that stay allowed lost {lost['tcp'][0]} of {lost['tcp'][1]} TCP "
               f"and {lost['udp'][0]} of {lost['udp'][1]} UDP echoes; apply median {took[len(took) // 2] / 1e6:.1f} ms")
    expect(not late, f"{figures}: {late[:10]}")
    expect(lost["tcp"][0] == 0 and lost["udp"][0] == 0, figures)
    return figures
