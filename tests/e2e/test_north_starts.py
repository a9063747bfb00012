"""Containers whose first instruction sends to the world: with permission none is refused, without nothing arrives."""

from lab import container
from lab.outside import Outside
from lab.registry import expect, test

STARTS = {"20.10.24": 200, "28.5.2": 60}
POLICY = "allow early -> world : 8000"


@test("north starts", engines=tuple(STARTS), alone=True)  # how many are late is a matter of time
def starts(context):
    count = STARTS[context.engine]
    outside = Outside(context)
    outside.host.api.create_network("first", outside.microseg.driver, ["10.71.0.0/22"], {"microseg.policy": POLICY})
    # Packets are counted before anything else looks at them: a SYN that is answered by nobody counts, too.
    outside.count(allowed=8000, forbidden=8001)
    addresses = [outside.world_address, "8000", outside.world_address, "8001", "2000"]
    results = container.first_connects(outside.host, "first", addresses, count)
    accepted = sum(r["allowed"] == "accepted" for r in results)
    leaked, arrived = outside.counted("forbidden"), outside.counted("allowed")
    ms = sorted(r["allowed_ms"] for r in results)
    late = sum(m > 500 for m in ms)  # a first packet was lost: TCP repeats it after a second
    figures = (f"{count} starts: {accepted} allowed connections accepted, {leaked} forbidden packets at the world "
               f"({arrived} allowed ones); connect median {ms[len(ms) // 2]:.2f} ms, slowest {ms[-1]:.1f} ms, {late} at the second attempt")
    expect(accepted == count and leaked == 0, figures + f"; not accepted: "
           f"{[r for r in results if r['allowed'] != 'accepted'][:5]}")
    expect(late <= count // 10, figures + ": containers speak before their ports are found")
    expect(arrived >= count, figures + "; the world's counter does not count")
    return figures
