"""What lies beyond a host: a machine on the fabric that stands for the world, and who on the host talks to it.

The world machine has an address of its own, which is the resolver too, and two addresses of a further network, so that a
CIDR with an exception has something on either side. It knows a way back to every address of the host, those of Docker's
gateway bridge included: what is not answered was not let through, rather than lost.
"""

import json
import os
import subprocess

from . import container
from .engine_api import wait_until
from .fabric import Fabric
from .host import ENVIRONMENT, Process, read
from .image import BUILT, load_image, tools
from .microsegd import Legacy
from .registry import expect

BEYOND = "203.0.113.0/24"          # for documentation, as is the fabric's own network
INCLUDED, EXCEPTED = "203.0.113.10", "203.0.113.200"
EXCEPTION = "203.0.113.128/25"
WORLD_PORTS = ("tcp:8000-8003", "udp:8000-8003", "tcp:53", "udp:53")
HOST_PORT = 7100                   # of a program on the host
GATEWAY = "docker_gwbridge"


class Place:
    """Somewhere that probes and servers run: a way in, and where logs go."""

    def __init__(self, name, enter, work):
        self.name, self.enter, self.work = name, enter, work
        self.server = None

    def run(self, program, *args, check=True, timeout=60):
        done = subprocess.run(self.enter(program, *args), capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT)
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(map(str, args))} at {self.name}: exit {done.returncode}: {done.stderr}")
        return done

    def probe(self, *targets, timeout_ms=700):
        out = self.run("probe", "-t", timeout_ms, *targets).stdout
        return {row["target"]: row["verdict"] for row in map(json.loads, out.splitlines())}

    def spawn(self, program, *args, log):
        """Starts a tool and returns when it has said that it is ready."""
        log = os.path.join(self.work, log)
        if os.path.exists(log):
            os.unlink(log)
        process = Process(self.enter(program, *args), log)
        wait_until(lambda: "ready" in read(log) or process.poll() is not None, 10, f"{program} at {self.name} is ready")
        expect(process.poll() is None, f"{program} at {self.name} ended: {read(log)}")
        return process

    def serve(self, *ports, log):
        self.stop()
        self.log = os.path.join(self.work, log)
        for path in (self.log, self.log + ".out"):
            if os.path.exists(path):
                os.unlink(path)
        self.server = Process(self.enter("serve", "-o", self.log, *ports), self.log + ".out")
        wait_until(lambda: "ready" in read(self.log + ".out"), 10, f"servers at {self.name} listen")

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None

    def received(self, **match):
        """As Container.received."""
        rows = [json.loads(line) for line in read(self.log).splitlines() if line.endswith("}")]
        return [row for row in rows if all(row[k] == v for k, v in match.items())]


class Outside:
    """A host with Docker on a fabric with the world. Microseg is started by the test, or not at all."""

    def __init__(self, context, docker_first=False):
        tools()
        self.host = context.own_host()
        self.fabric = Fabric()
        self.host.closers.append(self.fabric.close)
        self.address = self.fabric.connect("h1", self.host.holder)
        self.machine, self.world_address = self.fabric.machine("world")
        self.world = Place("world", lambda *command: self._in(self.machine.pid, *command), self.host.work)
        self.here = Place("host", lambda *command: self._in(self.host.holder, *command), self.host.work)
        self.host.closers += [self.world.stop, self.here.stop]
        for address in (INCLUDED, EXCEPTED):
            self.machine.run("ip", "address", "add", address + "/32", "dev", "lo")
        self.machine.run("ip", "route", "add", "172.16.0.0/12", "via", self.address)
        self.host.run("ip", "route", "add", "default", "via", self.world_address)
        with open(os.path.join(self.host.work, "resolv.conf"), "w") as f:  # in place: it is mounted in the host
            f.write(f"nameserver {self.world_address}\n")
        self.world.serve(*WORLD_PORTS, log="world.log")
        self.here.serve(f"tcp:{HOST_PORT}", f"udp:{HOST_PORT}", log="hostservice.log")
        self.microseg = Legacy(self.host, context.bin)
        if not docker_first:
            self.microseg.start()
        self.host.start_dockerd()
        load_image(self.host)

    def _in(self, pid, program, *args):
        """In the network of process `pid`; whatever is left of it ends with the host."""
        tool = os.path.join(BUILT, program)
        return ["nsenter", "-t", str(self.host.holder), "-p", f"--net=/proc/{pid}/ns/net", "--",
                tool if os.path.exists(tool) else program, *map(str, args)]

    # ---- counting at the world machine, whatever becomes of connections ----

    def count(self, **ports):
        """From now on counts every packet that arrives at the world for these ports, by name: count(forbidden=8001)."""
        rules = "".join(f"add counter ip lab {name}\nadd rule ip lab in meta l4proto {{ tcp, udp }} th dport {port} "
                        f"counter name {name}\n" for name, port in ports.items())
        self.machine.run("nft", "-f", "-", input="add table ip lab\ndelete table ip lab\nadd table ip lab\n"
                         "add chain ip lab in { type filter hook prerouting priority -400; }\n" + rules)

    def counted(self, name):
        found = json.loads(self.machine.run("nft", "-j", "list", "counter", "ip", "lab", name).stdout)
        return next(entry["counter"]["packets"] for entry in found["nftables"] if "counter" in entry)

    # ---- who is who ----

    def start(self, name, network, service=None, ports=None, listen=(), **more):
        """A container; `ports` {container port: host port, "" for any}."""
        bindings = {port: [{"HostPort": str(there)}] for port, there in (ports or {}).items()}
        make = container.serve if listen else container.start
        return make(self.host, name, network, *listen, service=service, PortBindings=bindings, **more)

    def gateway_address(self, made):
        """Of a container on Docker's gateway bridge."""
        found = self.host.api.call("GET", "/networks/" + GATEWAY)["Containers"]
        return found[made.id]["IPv4Address"].split("/")[0]

    def host_gateway(self):
        return self.host.api.call("GET", "/networks/" + GATEWAY)["IPAM"]["Config"][0]["Gateway"]

    def overlay(self, name="foreign-overlay"):
        """A Swarm of this one host, and an overlay network of Docker's own that containers may join."""
        self.host.docker("swarm", "init", "--advertise-addr", self.address)
        self.host.docker("network", "create", "-d", "overlay", "--attachable", name)
        return name


class Table:
    """Who reaches what, as a person would write it: one row per source, "+" where it is let through, "-" where not.

        table("from  world:8000  host\nopen     +         -")
    """

    def __init__(self, text):
        head, *rows = [line.split() for line in text.strip().splitlines() if line.strip()]
        self.targets = head[1:]
        self.expected = {(row[0], target): mark for row in rows for target, mark in zip(self.targets, row[1:], strict=True)}
        self.sources = [row[0] for row in rows]

    def differences(self, seen):
        """One sentence for each cell that is not as written. A "." is not tried."""
        return [f"{source} -> {target}: {seen[source, target]}, expected {mark}"
                for (source, target), mark in self.expected.items() if mark != "." and seen[source, target] != mark]


def look(sources, targets, skip=()):
    """{(source, target): "+" or "-"}. `sources` {name: place or container}, `targets` {name: probe target}."""
    seen = {}
    for name, place in sources.items():
        wanted = {target: probe for target, probe in targets.items() if (name, target) not in skip}
        got = place.probe(*wanted.values(), timeout_ms=700)
        seen |= {(name, target): "+" if got[probe] == "accepted" else "-" for target, probe in wanted.items()}
    return seen


def resolves(host, made, name):
    """Whether Docker's own resolver answers a name of the network."""
    said = host.docker("exec", made.name, "ping", "-c", "1", "-W", "1", name, check=False)
    expect("not found" not in said.stderr, f"no ping in {made.name}: {said.stderr}")
    return said.stdout.startswith("PING " + name)


