"""Whatever people do to containers, in any order and side by side: after each step a container may do what its policy says of
who it is now, and in the end microseg knows exactly what Docker has."""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lab import container, segment
from lab.engine_api import ApiError, wait_until
from lab.registry import ALL, expect, test

WORKERS, STEPS = 3, 25
NETWORKS = {"left": "10.78.0.0/24", "right": "10.79.0.0/24"}
# By label, by the container's name, by another label, and what nobody may.
POLICY = "allow client -> server : 7000\nallow inner -> server : 7001\nallow {tier=x} -> server : 7002"
PORTS = range(7000, 7004)


class Subject:
    """One container slot of one worker: what it should be now."""

    def __init__(self, host, worker, rng):
        self.host, self.rng = host, rng
        self.id = None
        self.names = ["inner", "outer"] if worker == 0 else [f"lc-{worker}", f"lc-{worker}-too"]  # "inner" is a service of the policy

    def create(self):
        self.label = self.rng.choice([None, "client", "inner"])
        self.tier = self.rng.choice([None, "x"])
        self.name = self.rng.choice(self.names)
        labels = {k: v for k, v in {"microseg.service": self.label, "tier": self.tier}.items() if v}
        self.networks = {"left"}
        self.id = container.start(self.host, self.name, "left", labels=labels).id

    def may(self, port):
        service = self.label or self.name
        allowed = {7000: service == "client", 7001: service == "inner", 7002: self.tier == "x"}.get(port, False)
        return "accepted" if allowed else "refused"

    def call(self, verb, **query):
        self.host.api.call("POST", f"/containers/{self.id}/{verb}", **query)

    # ---- what may happen to it ----

    def restart(self):
        self.call("restart", t=0)

    def stop_and_start(self):
        self.call("stop", t=0)
        self.call("start")

    def kill_and_start(self):
        self.call("kill")
        self.host.api.wait(self.id)
        self.call("start")

    def pause(self):
        self.call("pause")
        self.call("unpause")

    def rename(self):
        self.name = next(n for n in self.names if n != self.name)
        self.call("rename", name=self.name)

    def connect(self):
        for network in sorted(set(NETWORKS) - self.networks):
            self.host.api.call("POST", f"/networks/{network}/connect", {"Container": self.id})
            self.networks.add(network)

    def disconnect(self):
        network = self.rng.choice(sorted(self.networks))
        self.host.api.call("POST", f"/networks/{network}/disconnect", {"Container": self.id})
        self.networks.remove(network)

    def remove(self):
        self.host.api.remove(self.id)
        self.id = None

    def step(self):
        if not self.id:
            self.create()
            return "create"
        steps = [self.restart, self.stop_and_start, self.kill_and_start, self.pause, self.rename, self.rename, self.connect, self.remove]
        if self.networks:
            steps += [self.disconnect]
        chosen = self.rng.choice(steps)
        chosen()
        return chosen.__name__

    def reaches(self, servers):
        """{(network, port): verdict} as it is now."""
        if not self.id or not self.networks:
            return {}
        me = container.Container(self.host, self.id, min(self.networks))
        targets = {f"tcp:{servers[n].ip}:{p}": (n, p) for n in self.networks for p in PORTS}
        return {targets[t]: v for t, v in me.probe(*targets).items()}


@test("lifecycle", engines=ALL)
def lifecycle(context):
    host, microseg = context.machine()
    seed = int(os.environ.get("MICROSEG_SEED", time.time_ns() % 1_000_000))
    for network, subnet in NETWORKS.items():
        host.api.create_network(network, microseg.driver, [subnet], {"microseg.policy": POLICY})
    servers = {n: container.serve(host, f"{n}-server", n, "tcp:7000-7003", labels={"microseg.service": "server"}) for n in NETWORKS}
    subjects = [Subject(host, worker, random.Random(f"{seed}-{worker}")) for worker in range(WORKERS)]
    wrong, checks, done = [], [0], {}
    counting = threading.Lock()

    def known(subject):
        rows = [e for e in microseg.json("endpoints")["endpoints"] if e["container"] == subject.name and e["phase"] == "joined"]
        return len(rows) == len(subject.networks) and all(e["service"] == (subject.label or subject.name) for e in rows)

    def work(subject):
        for number in range(STEPS):
            what = subject.step()
            if subject.id:
                wait_until(lambda: known(subject), 5, f"seed {seed}, step {number} of {subject.name}, {what}: it is known as what it is")
            got = subject.reaches(servers)
            with counting:
                done[what] = done.get(what, 0) + 1
                checks[0] += len(got)
                wrong.extend(f"seed {seed}, step {number}, {what}: {subject.name} (label {subject.label}, tier {subject.tier}) in {network} "
                             f"to {port}: {verdict}, expected {subject.may(port)}"
                             for (network, port), verdict in got.items() if verdict != subject.may(port))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, subjects))
    have = {e["EndpointID"] for s in subjects if s.id for e in host.api.inspect(s.id)["NetworkSettings"]["Networks"].values()}
    have |= {s.endpoint for s in servers.values()}
    ours = {e["id"] for e in microseg.json("endpoints")["endpoints"] if e["network_name"] in NETWORKS}
    left = [f"endpoints: microseg alone {ours - have}, Docker alone {have - ours}"] if ours != have else []
    left += segment.differences(microseg)
    for made in [*subjects, *servers.values()]:
        if made.id:
            made.remove()
    for network in NETWORKS:
        try:
            host.api.call("DELETE", f"/networks/{network}")
        except ApiError as error:
            left.append(f"docker network rm {network}: {error}")
    figures = (f"seed {seed}: {sum(done.values())} steps of {len(done)} kinds by {WORKERS} at once, {checks[0]} connections tried after them, "
               f"{len(wrong)} not as declared; {len(left)} differences at the end")
    expect(not wrong and not left, f"{figures}: {wrong[:5]} {left[:5]}")
    return figures
