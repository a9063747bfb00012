"""Somebody flushes the host's rules; the daemon is killed at any moment; things of ours are deleted behind its back."""

import random
import subprocess
import threading
import time

from lab import container, segment
from lab.engine_api import ApiError, wait_until
from lab.registry import expect, test
from lab.traffic import Forbidden, Streams, expect_unharmed, trio

KILLS = 50


@test("flush")
def flush(context):
    host, microseg = context.machine()
    client, server, stranger = trio(host, microseg, "flushed", "10.67.0.0/24")
    streams = Streams(client, server, 7001, "flush")
    forbidden = Forbidden(stranger, server.ip + ":7000")
    started = time.monotonic()
    count = 0
    while time.monotonic() - started < 10:
        host.run("nft", "flush", "ruleset")
        count += 1
        time.sleep(max(0, count / 20 - (time.monotonic() - started)))
    # Attaching works meanwhile, too.
    late = container.start(host, "flushed-late", "flushed", service="client")
    verdict = late.probe(f"tcp:{server.ip}:7000")
    unharmed = streams.stop()
    dialled, accepted = forbidden.stop(server)
    found = wait_clean(microseg)
    for c in (client, server, stranger, late):
        c.remove()
    host.api.call("DELETE", "/networks/flushed")
    figures = (f"{count} flushes in 10 s: {accepted} of {dialled} forbidden connections delivered; {unharmed['tcp'][1]} of {unharmed['tcp'][0]} TCP "
               f"and {unharmed['udp'][1]} of {unharmed['udp'][0]} UDP packets lost; {len(found)} differences afterwards")
    expect(accepted == 0 and "accepted" not in verdict.values(), f"{figures} {verdict}")
    expect_unharmed(unharmed, figures, 9)
    expect(not found, f"{figures}: {found[:5]}")
    # Docker's own rules were flushed with the host's; its next network would miss them.
    context.shared.pop(context.engine, None)
    return figures


def wait_clean(microseg, timeout=5):
    """The differences between kernel and desired state that are still there after a while; normally none."""
    deadline = time.monotonic() + timeout
    while True:
        found = segment.differences(microseg)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


@test("kill")
def kill(context):
    seed = time.time_ns() % 1_000_000
    dice = random.Random(seed)
    host, microseg = context.own_machine()
    client, server, stranger = trio(host, microseg, "killed", "10.68.0.0/24")
    streams = Streams(client, server, 7001, "kill")
    forbidden = Forbidden(stranger, server.ip + ":7000")
    over = threading.Event()
    counts = {"attached": 0, "attach failed": 0, "policies": 0, "policies failed": 0}
    leaks = []

    def attach(n):
        """Containers come and go; each tries what is forbidden as soon as it runs."""
        i = 0
        while not over.is_set():
            i += 1
            name = f"killed-{n}-{i}"
            try:
                c = container.start(host, name, "killed", service=f"worker{n}")
                counts["attached"] += 1
                if c.ip and "accepted" in c.probe(f"tcp:{server.ip}:7000", timeout_ms=200).values():
                    leaks.append(name)
            except (ApiError, RuntimeError):
                counts["attach failed"] += 1  # Docker could not reach the driver: an answer of its own
            try:
                host.api.remove(name)
            except ApiError:
                counts["attach failed"] += 1

    def policies():
        i = 0
        while not over.is_set():
            i += 1
            text = f"allow worker{i % 3} -> worker{(i + 1) % 3} : {1000 + i % 50}\nallow new{i} -> client"
            try:
                done = microseg.cli("policy", "apply", "killed", "-", input=text, check=False)
                counts["policies" if done.returncode == 0 else "policies failed"] += 1
            except subprocess.TimeoutExpired:
                counts["policies failed"] += 1

    threads = [threading.Thread(target=attach, args=(n,), daemon=True) for n in range(2)] + [threading.Thread(target=policies, daemon=True)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    downtimes = []
    for _ in range(KILLS):
        time.sleep(dice.random() * 0.4)
        microseg.kill()
        began = time.monotonic()
        microseg.start()
        downtimes.append(time.monotonic() - began)
    over.set()
    for thread in threads:
        thread.join(60)
    seconds = time.monotonic() - started
    unharmed = streams.stop()
    dialled, accepted = forbidden.stop(server)
    for found in host.api.call("GET", "/containers/json", all="1"):
        if found["Names"][0].startswith("/killed-") and found["Names"][0].split("-")[-1].isdigit():
            host.api.remove(found["Id"])
    differences = wait_clean(microseg)
    living = {c.endpoint for c in (client, server, stranger)}
    # A restart finds nothing to do: what it observes is what it wants.
    before = segment.snapshot(host)
    microseg.stop()
    microseg.start()
    wait_until(lambda: microseg.json("status")["health"] == "ok", 5, "health is ok")
    same = segment.snapshot(host) == before
    # A driver call that was cut off is repeated by Docker without its body, so Docker may have given up on a removal:
    # what it no longer knows is found out by asking it.
    deadline = time.monotonic() + 5
    while (listed := {e["id"] for e in microseg.json("endpoints")["endpoints"]}) != living and time.monotonic() < deadline:
        time.sleep(0.05)
    downtimes.sort()
    figures = (f"seed {seed}: {KILLS} kills in {seconds:.0f} s among {counts['attached']} attaches and {counts['policies']} policy changes "
               f"({counts['attach failed']} and {counts['policies failed']} failed meanwhile): {accepted} of {dialled} forbidden connections delivered; "
               f"{unharmed['tcp'][1]} of {unharmed['tcp'][0]} TCP and {unharmed['udp'][1]} of {unharmed['udp'][0]} UDP packets lost; "
               f"{len(differences)} orphans or differences; ready again in {downtimes[KILLS // 2] * 1e3:.0f} ms (slowest {downtimes[-1] * 1e3:.0f})")
    expect(accepted == 0 and not leaks, f"{figures} {leaks[:3]}")
    expect_unharmed(unharmed, figures, seconds * 0.9)
    expect(not differences, f"{figures}: {differences[:5]}")
    expect(listed == living, f"{figures}: endpoints {sorted(listed - living)} belong to no container, {sorted(living - listed)} are not known")
    expect(same, f"{figures}: a restart changed the kernel's state from {before} to {segment.snapshot(host)}")
    return figures


# What somebody may break in a segment. {link} {ip} {mac} are the client's endpoint; {name} is the segment's file.
BREAKS = {
    "a link deleted": "ip link del {link}",
    "a link down": "ip link set {link} down",
    "a route deleted": "ip route del {ip}/32 dev {link}",
    "a neighbour deleted": "ip neigh del {ip} dev {link}",
    "a neighbour forged": "ip neigh replace {ip} lladdr 02:00:00:00:00:99 nud permanent dev {link}",
    "an address deleted": "ip address flush dev {link}",
    "an element deleted": "nft flush map inet microseg tag4",
    "an element added": "nft add element inet microseg class4 {{ 10.69.0.99 : 1 }}",
    "a rule added": "nft insert rule inet microseg forward accept",
    "the chain flushed": "nft flush chain inet microseg forward",
    "the table deleted": "nft delete table inet microseg",
    "everything flushed": "nft flush ruleset",
    "a foreign link": "ip link add ms0123456789ab type dummy || ip link add ms0123456789ab type veth peer name ms0123456789ac",
    "a route of ours too many": "ip route add 10.69.0.99/32 dev {link} proto 77",
    "forwarding off": "sysctl -qw net.ipv4.ip_forward=0",
}


@test("drift")
def drift(context):
    host, microseg = context.machine()
    client, server, stranger = trio(host, microseg, "drifted", "10.69.0.0/24")
    network = host.api.call("GET", "/networks/drifted")["Id"]
    repaired, failed = {}, []
    good, bad = f"tcp:{server.ip}:7001", f"tcp:{server.ip}:7000"
    server.spawn("serve", "tcp:7001", log="drift.serve.log", ready=True)
    for what, command in BREAKS.items():
        endpoint = next(e for e in microseg.json("endpoints")["endpoints"] if e["id"] == client.endpoint)
        words = {"link": endpoint["link"], "ip": client.ip, "mac": endpoint["mac"]}
        path = segment.segments(host)[network[:12]]
        done = segment.in_netns(path, "sh", "-c", command.format(**words))
        expect(done.returncode == 0, f"{what}: {done.stderr}")
        # The kernel announces all changes but those of sysctls, which the daemon's regular look finds.
        took, trouble = until_repaired(microseg, client, stranger, good, bad, limit=3 if "forwarding" in what else 1)
        repaired[what] = took
        if trouble:
            failed.append(f"{what}: {trouble}")
    # The namespace itself: nobody can delete what is mounted, but its mount can be taken away.
    host.run("umount", "-l", "/run/microseg/netns/" + network[:12])
    took, trouble = until_repaired(microseg, client, stranger, good, bad)
    repaired["the namespace gone"] = took
    if trouble:
        failed.append(f"the namespace gone: {trouble}")
    for c in (client, server, stranger):
        c.remove()
    host.api.call("DELETE", "/networks/drifted")
    expect(not failed, "; ".join(failed))
    worst = max(repaired, key=repaired.get)
    return f"{len(repaired)} kinds of damage repaired, the slowest ({worst}) in {repaired[worst] * 1e3:.0f} ms"


def until_repaired(microseg, client, stranger, good, bad, limit=1):
    """How long it took, and what is wrong if that was too long."""
    began = time.monotonic()
    verdicts = {}
    while True:
        took = time.monotonic() - began
        found = segment.differences(microseg)
        if not found:
            verdicts = {**client.probe(good, timeout_ms=150), **stranger.probe(bad, timeout_ms=150)}
            if verdicts == {good: "accepted", bad: "refused"}:
                # The look itself takes up to two tenths of a second; one second is what is promised.
                return took, f"repaired after {took:.2f} s, expected within {limit} s" if took > limit + 0.2 else ""
        if took > limit + 2:
            return took, f"still not repaired after {took:.1f} s: {found[:4]} {verdicts}"
