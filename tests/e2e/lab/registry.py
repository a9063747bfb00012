"""Tests by name, what they need, and what is printed when one fails."""

from dataclasses import dataclass, field

from . import segment
from .engines import SUITES
from .host import read, tail
from .image import load_image
from .microsegd import Legacy
from .swarm import Swarm

TESTS = []
ALL = tuple(SUITES)
PRIMARY = "26.1.5"  # where a test of microseg rather than of an engine runs

# Swarms by name: their hosts' engines, and how many of them, counted from the first, are managers.
SWARMS = {"swarm": ((PRIMARY,) * 3, 3), "swarm mixed": (("28.5.2", "26.1.5", "20.10.24"), 3)}


class Failure(Exception):
    """What was done, what was seen, what was expected: one sentence or a few."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


@dataclass
class Test:
    name: str
    function: object
    engine: str  # "" where the test needs no engine; or the name of a swarm
    spoils: bool = False  # what it shares with others is of no use afterwards: it runs last
    alone: bool = False   # it measures time: nothing else may run beside it

    def engines(self):
        """The versions it runs on."""
        if self.engine in SWARMS:
            return set(SWARMS[self.engine][0])
        return {self.engine} - {""}


def test(name, engines=(PRIMARY,), alone=False):
    """Registers a test; one that names several engines runs once on each. It returns its figures as text."""
    def register(function):
        several = len(engines) > 1
        for engine in engines or ("",):
            TESTS.append(Test(f"{name} {engine}" if several else name, function, engine, alone=alone))
        return function
    return register


def swarm_test(name, swarms=("swarm",), spoils=False, alone=False):
    """The same for a test of several hosts: once in each of the swarms named."""
    def register(function):
        for swarm in swarms:
            TESTS.append(Test(f"{swarm} {name}", function, swarm, spoils, alone))
        return function
    return register


@dataclass
class Context:
    """What a test function gets."""
    lab: object
    bin: str
    engine: str
    shared: dict = field(default_factory=dict)  # engine -> (host, microseg), or swarm -> Swarm; kept between tests
    used: list = field(default_factory=list)    # hosts to show when the test fails

    def machine(self):
        """A host with dockerd, the image and microsegd as a legacy plugin; shared with other tests of the engine, so
        leave networks and containers with your own names, and remove them."""
        if self.engine not in self.shared:
            self.shared[self.engine] = self.own_machine()
        host, microseg = self.shared[self.engine]
        if host not in self.used:
            self.used.append(host)
        return host, microseg

    def own_machine(self, *dockerd_options, daemon_options=()):
        """The same, for this test alone: it may be broken."""
        host = self.own_host()
        microseg = Legacy(host, self.bin, *daemon_options).start()
        host.start_dockerd(*dockerd_options)
        load_image(host)
        return host, microseg

    def own_host(self):
        """Namespaces only."""
        host = self.lab.host(self.engine or PRIMARY)
        self.used.append(host)
        return host

    def swarm(self):
        """The swarm the test is registered for, shared with its other tests: remove your networks and services, by names
        of your own. Leaves every node active and the fabric whole."""
        if self.engine not in self.shared:
            versions, managers = SWARMS[self.engine]
            hosts = [self.lab.host(version) for version in versions]
            self.used += hosts
            self.shared[self.engine] = Swarm(hosts, self.bin, managers)
        swarm = self.shared[self.engine]
        self.used += [host for host in swarm.hosts() if host not in self.used]
        return swarm

    def state(self):
        """Everything about the hosts this test used, for the failure report."""
        out = []
        for host in self.used:
            if host.unshare.poll() is not None:
                continue
            out += [f"--- host {host.name}, engine {host.engine}", segment.dump(host)]
            for log, lines in (("microsegd.log", 60), ("dockerd.log", 30)):
                out.append(f"--- {log}, last {lines} lines\n{tail(f'{host.work}/{log}', lines)}")
            said = [line for line in read(f"{host.work}/dockerd.log").splitlines() if " plugin=" in line]
            out.append("--- of a managed plugin, last 60 lines\n" + "\n".join(said[-60:]))
        return "\n".join(out)


def hosts_of(kept):
    """The hosts of an entry of Context.shared."""
    return kept.hosts() if isinstance(kept, Swarm) else [kept[0]]
