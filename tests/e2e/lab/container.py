"""A container of a host, and programs run in its network namespace without the cost of `docker exec`."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from .engine_api import wait_until
from .host import ENVIRONMENT, Process, read
from .image import BUILT, IMAGE

SHARED = {"Binds": ["/run/lab:/lab"]}  # the host's shared directory


class Container:
    def __init__(self, host, container_id, network):
        self.host, self.id, self.network = host, container_id, network
        self.refresh()

    def refresh(self):
        """Reads addresses and namespace again: a restart changes them."""
        found = self.host.api.inspect(self.id)
        self.name = found["Name"].lstrip("/")
        self.running = found["State"]["Running"]
        endpoint = found["NetworkSettings"]["Networks"][self.network]
        self.ip, self.ip6 = endpoint["IPAddress"], endpoint["GlobalIPv6Address"]
        self.gateway, self.gateway6 = endpoint["Gateway"], endpoint["IPv6Gateway"]
        self.endpoint = endpoint["EndpointID"]
        self.netns = self.host.path(found["NetworkSettings"]["SandboxKey"])
        self.log = os.path.join(self.host.shared, self.name + ".log")
        return self

    def enter(self, program, *args):
        """In the container's network and the host's process namespace; programs and files are this machine's."""
        path = os.path.join(BUILT, program)
        return ["nsenter", "-t", str(self.host.holder), "-p", "--net=" + self.netns, "--",
                path if os.path.exists(path) else program, *map(str, args)]

    def run(self, program, *args, check=True, timeout=60, input=None):
        done = subprocess.run(self.enter(program, *args), capture_output=True, text=True, timeout=timeout,
                              env=ENVIRONMENT, input=input)
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(map(str, args))} in {self.name}: exit {done.returncode}: {done.stderr}")
        return done

    def spawn(self, program, *args, log, ready=False):
        """Starts a tool; with ready, returns when it has said so."""
        log = os.path.join(self.host.work, log)
        if os.path.exists(log):
            os.unlink(log)
        process = Process(self.enter(program, *args), log)
        if ready:
            wait_until(lambda: "ready" in read(log) or process.poll() is not None, 10, f"{program} in {self.name} is ready")
            if process.poll() is not None:
                raise RuntimeError(f"{program} in {self.name} ended: {read(log)}")
        return process

    def probe(self, *targets, timeout_ms=1000):
        """{target: verdict}, see tests/tools/probe.c."""
        out = self.run("probe", "-t", timeout_ms, *targets).stdout
        return {row["target"]: row["verdict"] for row in map(json.loads, out.splitlines())}

    def mac(self, interface="eth0"):
        return json.loads(self.run("ip", "-j", "link", "show", interface).stdout)[0]["address"]

    def received(self, **match):
        """What `serve -o` has logged, oldest first, as dictionaries; only those that have all of `match`."""
        rows = [json.loads(line) for line in read(self.log).splitlines() if line.endswith("}")]
        return [row for row in rows if all(row[k] == v for k, v in match.items())]

    def remove(self):
        self.host.api.remove(self.id)


def start(host, name, network, command=("sleep", "100000"), image=IMAGE, **more):
    """Runs a container with the host's shared directory at /lab. `more` as for EngineApi.run."""
    return Container(host, host.api.run(name, image, list(command), network, **{**SHARED, **more}), network)


def first_connects(host, network, addresses, starts):
    """What each of so many containers, three at a time, saw whose first instruction connects: see tests/tools/firstconnect.c.

    Their service is given by label, as most users do it: the class has to be found through the Engine API before Join
    answers. They leave what they saw in a file, since a busy engine loses what a container says that ends at once.
    """
    def once(i):
        name = f"early-{i}"
        made = host.api.run(name, IMAGE, ["firstconnect", *addresses, f"/lab/{name}.json"], network,
                            {"microseg.service": "early"}, **SHARED)
        if code := host.api.wait(made):
            raise RuntimeError(f"{name}: firstconnect ended with {code}")
        host.api.remove(made)
        with open(os.path.join(host.shared, name + ".json")) as f:
            return json.load(f)

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(once, range(starts)))


def serve(host, name, network, *ports, **more):
    """A container with echo servers, which logs what it was delivered; returns when it listens."""
    log = os.path.join(host.shared, name + ".log")
    if os.path.exists(log):
        os.unlink(log)
    container = start(host, name, network, ["serve", "-o", f"/lab/{name}.log", *ports], **more)
    wait_until(lambda: "ready" in host.api.logs(container.id), 10, name + " listens")
    return container
