"""Rules flushed, firewalls reloaded, dockerd restarted, the daemon killed: nothing forbidden gets out or to the host."""

import os
import signal
import time

from lab.outside import HOST_PORT, Outside
from lab.registry import expect, test

RATE = 500      # forbidden dials a second
SECONDS = 5     # of each fault
POLICY = "allow open -> world : 8000\nallow open -> host : 7100"

# As firewalld and ufw do it: everything goes, and what they know of comes back, in one transaction.
RELOAD = """
flush ruleset
table inet firewall {
  chain input { type filter hook input priority filter; policy accept; }
  chain forward { type filter hook forward priority filter; policy accept; }
  chain output { type filter hook output priority filter; policy accept; }
}
"""


class Attempts:
    """A container without permission that dials the world and the host, as long as it is used as a context."""

    def __init__(self, outside, source):
        self.aims = [f"{outside.world_address}:8001", f"{outside.address}:{HOST_PORT}", f"{outside.host_gateway()}:{HOST_PORT}"]
        self.source, self.log = source, os.path.join(outside.host.work, "dials")
        self.dialled = self.accepted = 0

    def __enter__(self):
        self.process = self.source.spawn("load", RATE, 3_600_000, 0, self.log, *self.aims, log="load.log")
        return self

    def __exit__(self, *_):
        self.process.stop(signal.SIGTERM)
        with open(self.log) as log:
            kinds = [line[0] for line in log]
        self.dialled, self.accepted = len(kinds), kinds.count("c")


def repeat(seconds, each, per_second=20):
    """Does `each` so often for so long. Returns how often it was done."""
    started, count = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        each()
        count += 1
        time.sleep(max(0, count / per_second - (time.monotonic() - started)))
    return count


@test("north faults", engines=("20.10.24", "28.5.2"))
def faults(context):
    outside = Outside(context)
    host, microseg = outside.host, outside.microseg
    host.api.create_network("faulty", microseg.driver, ["10.75.0.0/24"], {"microseg.policy": POLICY})
    allowed = outside.start("open", "faulty", "open")
    aims = [f"tcp:{outside.world_address}:8000", f"tcp:{outside.address}:{HOST_PORT}"]
    expect(set(allowed.probe(*aims).values()) == {"accepted"}, "what is allowed works to begin with")
    heard_before = len(outside.here.received())
    closed = outside.start("closed", "faulty", "closed")
    outside.count(forbidden=8001)

    def iptables():
        for tool in ("iptables", "ip6tables"):
            host.run(tool, "-F", check=False)
            host.run(tool, "-P", "FORWARD", "ACCEPT", check=False)

    def restart_docker():
        host.stop_dockerd()
        time.sleep(1)
        host.start_dockerd()

    def kill_daemon():
        # What it left stays as it is. (Flushed as well while nobody owns it, it would be gone until the daemon is back.)
        microseg.kill()
        time.sleep(SECONDS)
        microseg.start()

    def reload():
        return repeat(SECONDS, lambda: host.run("nft", "-f", "-", input=RELOAD), 5)

    done = []
    for name, fault in (("nft flush ruleset", lambda: repeat(SECONDS, lambda: host.run("nft", "flush", "ruleset"))),
                        ("iptables -F", lambda: repeat(SECONDS, iptables)), ("reload", reload),
                        ("microsegd killed", kill_daemon), ("dockerd restarted", restart_docker)):
        attempts = Attempts(outside, closed)
        with attempts:
            started = time.monotonic()
            fault()
            seconds = time.monotonic() - started
        out, inside = outside.counted("forbidden"), len(outside.here.received()) - heard_before
        done.append(f"{name}: {attempts.dialled} dials in {seconds:.0f} s, {attempts.accepted} accepted, {out} packets at the "
                    f"world, {inside} connections at the host")
        expect(out == 0 and inside == 0 and attempts.accepted == 0, "; ".join(done))
        expect(name == "dockerd restarted" or attempts.dialled >= seconds * RATE * 0.8, f"the attempts went on: {done}")
    return "; ".join(done)
