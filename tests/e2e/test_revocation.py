"""A permission is taken away while connections use it: from the moment the command returns nothing more passes."""

import glob
import os
import signal
import time

from lab import container
from lab.engine_api import wait_until
from lab.registry import expect, test
from lab.traffic import arrivals

TRIALS = 100
GRACE_NS = 20_000_000
KEPT = "allow left -> right : 7001\nallow right -> left : 7001\nallow left -> right : 7001/udp\n"
# The connections under test run in both directions, each with an echo: four flows of packets a trial.
BOTH = KEPT + ("allow left -> right : 7000\nallow right -> left : 7000\n"
               "allow left -> right : 7000/udp\nallow right -> left : 7000/udp\n")


@test("revocation", alone=True)
def revocation(context):
    host, microseg = context.machine()
    host.api.create_network("revoke", microseg.driver, ["10.62.0.0/24"])
    left = container.start(host, "left", "revoke", labels={"microseg.service": "left"})
    right = container.start(host, "right", "revoke", labels={"microseg.service": "right"})
    microseg.apply("revoke", BOTH)
    files = {}
    for c in (left, right):
        for proto in ("tcp", "udp"):
            for port in (7000, 7001):
                files[c.name, proto, port] = path = os.path.join(host.work, f"{c.name}.{proto}.{port}.bin")
                c.spawn("stream", "recv", proto, port, path, log=f"{c.name}.{proto}.{port}.log", ready=True)
    # The unaffected ones, for the whole test: what they lose would be lost by every revocation.
    kept_files = {}
    kept = []
    for proto in ("tcp", "udp"):
        kept_files[proto] = os.path.join(host.work, f"kept.{proto}.bin")
        kept.append(left.spawn("stream", "send", proto, right.ip, 7001, 2000, kept_files[proto], log=f"kept.{proto}.log",
                               ready=True))

    late, latest, took, silent = [], 0, [], 0
    for trial in range(TRIALS):
        before = {key: os.path.getsize(path) for key, path in files.items() if key[2] == 7000}
        senders, echoes = [], []
        for source, target in ((left, right), (right, left)):
            for proto in ("tcp", "udp"):
                echo = os.path.join(host.work, f"trial.{source.name}.{proto}.bin")
                if os.path.exists(echo):
                    os.unlink(echo)
                echoes.append(echo)
                senders.append(source.spawn("stream", "send", proto, target.ip, 7000, 1000, echo, trial << 32,
                                            log=f"trial.{source.name}.{proto}.log", ready=True))
        watched = echoes + [files[key] for key in before]
        grown = [0] * len(echoes) + list(before.values())
        wait_until(lambda: all(os.path.exists(p) and os.path.getsize(p) >= size + 24 * 20 for p, size in zip(watched, grown)),
                   10, f"trial {trial}: all four streams and their echoes flow")
        started = time.monotonic_ns()
        microseg.apply("revoke", KEPT)
        revoked = time.monotonic_ns()
        took.append(revoked - started)
        time.sleep(0.15)  # the time in which nothing may arrive
        for sender in senders:
            sender.stop(signal.SIGKILL)
        for path, size in zip(watched, grown):
            rows = arrivals(path)[size // 24:]
            silent += not any(arrived < started for _, _, arrived in rows)
            for seq, sent, arrived in rows:
                latest = max(latest, arrived - revoked)
                if arrived > revoked + GRACE_NS:
                    late.append((trial, os.path.basename(path), seq, round((arrived - revoked) / 1e6, 2)))
        microseg.apply("revoke", BOTH)

    lost = {}
    for process, proto in zip(kept, kept_files):
        process.stop()
        echoed = {seq for seq, _, _ in arrivals(kept_files[proto])}
        received = {seq for seq, _, _ in arrivals(files["right", proto, 7001])}
        last = max(echoed)
        lost[proto] = len(set(range(last)) - received) + len(set(range(last)) - echoed)
        lost[proto + " sent"] = last
    for c in (left, right):
        c.remove()
    host.api.call("DELETE", "/networks/revoke")
    for path in glob.glob(host.work + "/*.bin"):
        os.unlink(path)
    took.sort()
    figures = (f"{TRIALS} trials, TCP and UDP both ways with echoes: {len(late)} packets later than 20 ms after apply returned (the last "
               f"arrived {latest / 1e6:.1f} ms after); unaffected connections lost {lost['tcp']} of {lost['tcp sent']} TCP and {lost['udp']} "
               f"of {lost['udp sent']} UDP packets; apply median {took[len(took) // 2] / 1e6:.1f} ms")
    expect(not late, f"{figures}: {late[:10]}")
    expect(silent == 0, f"{figures}: {silent} streams had not been flowing")
    expect(lost["tcp"] == 0 and lost["udp"] == 0, figures)
    return figures
