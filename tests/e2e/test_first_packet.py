"""Containers whose first instruction connects, to an allowed and to a forbidden peer at once."""

from lab import container
from lab.registry import ALL, PRIMARY, expect, test

POLICY = "allow early -> open : 7000"


@test("first_packet", engines=ALL)
def first_packet(context):
    starts = 200 if context.engine == PRIMARY else 100
    host, microseg = context.machine()
    late_before = count_late(microseg)
    host.api.create_network("first", microseg.driver, ["10.61.0.0/22"], {"microseg.policy": POLICY})
    servers = {name: container.serve(host, name, "first", "tcp:7000", "udp:7000") for name in ("open", "closed")}
    addresses = [servers["open"].ip, "7000", servers["closed"].ip, "7000", "2000"]

    results = container.first_connects(host, "first", addresses, starts)
    accepted = sum(r["allowed"] == "accepted" for r in results)
    leaked = sum(r["forbidden"] == "accepted" for r in results)
    delivered = len(servers["closed"].received())
    late = count_late(microseg) - late_before
    for server in servers.values():
        server.remove()
    host.api.call("DELETE", "/networks/first")
    ms = sorted(r["allowed_ms"] for r in results)
    figures = (f"{starts} starts: {accepted} allowed connections accepted, {leaked} forbidden accepted, {delivered} delivered; "
               f"class known before Join in {100 * (starts - late) / starts:.1f}%; connect median {ms[len(ms) // 2]:.2f} ms, "
               f"slowest {ms[-1]:.1f} ms")
    expect(accepted == starts and leaked == 0 and delivered == 0, figures + f"; not accepted: "
           f"{[r for r in results if r['allowed'] != 'accepted'][:5]}")
    expect(late <= starts // 100, figures + "; expected at least 99%")
    return figures


def count_late(microseg):
    """Endpoints whose class was not known when Join returned, by the daemon's log."""
    with open(microseg.log) as log:
        return sum("endpoint joined in quarantine" in line for line in log)
