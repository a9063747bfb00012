"""Tests by name, what they need, and what is printed when one fails."""

from dataclasses import dataclass, field

from . import segment
from .engines import SUITES
from .host import tail
from .image import load_image
from .microsegd import Legacy

TESTS = []
ALL = tuple(SUITES)
PRIMARY = "26.1.5"  # where a test of microseg rather than of an engine runs


class Failure(Exception):
    """What was done, what was seen, what was expected: one sentence or a few."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


@dataclass
class Test:
    name: str
    function: object
    engine: str  # "" where the test needs no engine


def test(name, engines=(PRIMARY,)):
    """Registers a test; one that names several engines runs once on each. It returns its figures as text."""
    def register(function):
        several = len(engines) > 1
        for engine in engines or ("",):
            TESTS.append(Test(f"{name} {engine}" if several else name, function, engine))
        return function
    return register


@dataclass
class Context:
    """What a test function gets."""
    lab: object
    bin: str
    engine: str
    shared: dict = field(default_factory=dict)  # engine -> (host, microseg), kept between tests
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

    def state(self):
        """Everything about the hosts this test used, for the failure report."""
        out = []
        for host in self.used:
            if host.unshare.poll() is not None:
                continue
            out += [f"--- host {host.name}, engine {host.engine}", segment.dump(host)]
            for log, lines in (("microsegd.log", 60), ("dockerd.log", 30)):
                out.append(f"--- {log}, last {lines} lines\n{tail(f'{host.work}/{log}', lines)}")
        return "\n".join(out)
