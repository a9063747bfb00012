"""Every task to every task on every port, held against what `microseg explain` says on every node."""

import itertools
import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from .registry import expect

PORTS = [f"{port}/{proto}" for port in range(7000, 7004) for proto in ("tcp", "udp")]
LISTEN = ("tcp:7000-7004", "udp:7000-7004")  # 7004 is in no policy
KINDS = [*PORTS, "icmp"]


class Matrix:
    """The tasks of some services on one network, by service name, and who may reach whom."""

    def __init__(self, swarm, network, tasks):
        self.network, self.tasks = network, tasks
        self.names = {task.ip: name for name, group in tasks.items() for task in group}
        self.names |= {task.ip6: name for name, group in tasks.items() for task in group if task.ip6}
        self.allowed = agreed(swarm, network, tasks)

    def everybody(self):
        return [(name, task) for name, group in self.tasks.items() for task in group]

    def tries(self):
        """How many connections one round makes."""
        n, v6 = len(self.everybody()), sum(bool(task.ip6) for _, task in self.everybody())
        return len(KINDS) * (n * (n - 1) + v6 * max(v6 - 1, 0))

    def differences(self):
        """One round. One sentence for each connection that is not as explained, and for each delivery that nothing allows."""
        with ThreadPoolExecutor(3) as pool:
            found = list(itertools.chain.from_iterable(pool.map(self._from, self.everybody())))
        return found + self.forbidden_deliveries()

    def _from(self, source):
        name, task = source
        meant = {}
        for other_name, other in self.everybody():
            if other is task:
                continue
            for address in filter(None, (other.ip, other.ip6 if task.ip6 else None)):
                form = f"[{address}]" if ":" in address else address
                for kind in KINDS:
                    port, _, proto = kind.partition("/")
                    meant[f"{proto}:{form}:{port}" if proto else f"icmp:{form}"] = (other_name, other, kind)
        verdicts = task.probe(*meant, timeout_ms=1000)
        found = []
        for target, (other_name, other, kind) in meant.items():
            allowed, got = self.allowed[name, other_name, kind], verdicts.get(target, "no verdict")
            if (got == "accepted") != allowed:
                found.append(f"{name}@{task.node.name} -> {other_name}@{other.node.name} {target}: {got}, explain says "
                             f"{'allowed' if allowed else 'refused'}")
        return found

    def forbidden_deliveries(self):
        """What servers were delivered from an address whose service may not reach them there, or from a stranger's."""
        found = []
        for name, task in self.everybody():
            for row in task.received():
                source = self.names.get(row["from"])
                if not self.allowed.get((source, name, f"{row['port']}/{row['proto']}"), False):
                    found.append(f"delivered to {name}@{task.node.name}: {row}, from {source or 'a stranger'}")
        return found


def agreed(swarm, network, services):
    """{(from, to, port): allowed} as the nodes that hold the network explain it; they have to agree."""
    answers = {}
    for node in swarm.nodes:
        if any(task.node is node for group in services.values() for task in group):
            answers[node.name] = explained(node, network, services)
    first = next(iter(answers.values()))
    for name, said in answers.items():
        differ = [key for key in first if said[key] != first[key]]
        expect(not differ, f"{name} explains {differ[:5]} otherwise than {next(iter(answers))}")
    return first


def explained(node, network, services):
    result = {}
    for source, target, port in itertools.product(services, services, KINDS):
        query = urllib.parse.urlencode({"network": network, "from": source, "to": target, "port": port})
        status, answer = node.microseg.admin("GET", "/v1/explain?" + query)
        expect(status == 200, f"explain {source} {target} {port} on {node.name}: {status} {answer!r}")
        result[source, target, port] = json.loads(answer)["allowed"]
    return result
