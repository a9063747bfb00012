"""Many endpoints at once, at the driver socket, and nothing left of them afterwards."""

import time
from concurrent.futures import ThreadPoolExecutor

from lab import driver, segment
from lab.microsegd import Legacy
from lab.registry import expect, test

ENDPOINTS, ROUNDS = 64, 20
POLICY = "allow web -> api : 8080\nallow api -> db : 5432\nallow {tier=a} -> any : 9100"


@test("parallel", engines=(), alone=True)
def parallel(context):
    host = context.own_host()
    microseg = Legacy(host, context.bin, "--docker-socket", "").start()
    network = driver.Network(microseg, options={"microseg.policy": POLICY}).create()
    endpoints = [network.endpoint(("web", "api", "db")[i % 3]) for i in range(ENDPOINTS)]
    errors, alone, together, walls, removals = [], [], [], [], []

    def timed(endpoint):
        start = time.perf_counter()
        try:
            endpoint.create()
            endpoint.join()
        except Exception as error:
            errors.append(f"attach: {error}")
        return time.perf_counter() - start

    def away(endpoint):
        try:
            endpoint.leave()
            endpoint.delete()
        except Exception as error:
            errors.append(f"remove: {error}")

    with ThreadPoolExecutor(ENDPOINTS) as pool:
        for number in range(ROUNDS):
            for e in endpoints:
                e.fresh()
            start = time.perf_counter()
            together += pool.map(timed, endpoints)
            walls.append((time.perf_counter() - start) / ENDPOINTS)
            expect(not errors, f"round {number}: {errors[:3]}")
            if number % 5 == 0:
                found = [f for f in segment.differences(microseg) if "in the host's namespace" not in f]  # Docker moves those
                expect(not found, f"round {number}, all attached: {found[:5]}")
            start = time.perf_counter()
            list(pool.map(away, endpoints))
            removals.append((time.perf_counter() - start) / ENDPOINTS)
            expect(not errors, f"round {number}: {errors[:3]}")
    for e in endpoints:
        alone.append(timed(e.fresh()))
        away(e)
    left = segment.differences(microseg)
    rest = microseg.json("endpoints")["endpoints"]
    network.delete()
    left += segment.differences(microseg)
    counts = sorted(x * 1e3 for x in alone), sorted(x * 1e3 for x in together), sorted(x * 1e3 for x in walls)
    median, queued, each = (c[len(c) // 2] for c in counts)
    figures = (f"{ENDPOINTS} endpoints x {ROUNDS} rounds: {len(errors)} errors, {len(left) + len(rest)} leftovers; attach median {median:.1f} ms "
               f"alone (slowest {counts[0][-1]:.1f}), {each:.1f} ms per endpoint with {ENDPOINTS} at once (each waits {queued:.0f} ms), "
               f"removed in {sorted(removals)[len(removals) // 2] * 1e3:.1f} ms per endpoint")
    expect(not errors and not left and not rest, f"{figures}: {errors[:3]} {left[:5]} {rest[:2]}")
    expect(median <= 10 and each <= 10, figures + "; expected at most 10 ms")
    return figures
