"""A policy with more classes than fit. Where dockerd asks the plugin for authorization, `docker network create` is refused. Where
it does not, Swarm's allocator asks the driver after that command has answered: the network stays unallocated, nothing can be
attached to it, and the leader says why, in its status and in Docker's log. `microseg policy check` says it before."""

from lab.authorization import authorized_by
from lab.driver import Network
from lab.engine_api import wait_until
from lab.host import read
from lab.matrix import LISTEN
from lab.microsegd import DriverError
from lab.registry import expect, swarm_test
from lab.swarm import server

# Two names and fifteen labels.
LABELS = 15
SUM = 3 * 2 ** LABELS
TOO_BIG = "allow a -> b\n" + "\n".join(f"allow {{l{n}}} -> b" for n in range(LABELS))


@swarm_test("limits", ("swarm", "swarm mixed"))
def limits(context):
    swarm = context.swarm()
    leader = swarm.leader()
    commands = []
    with authorized_by(leader.host, leader.microseg.driver):
        for flag in ("-o", "--label"):
            commands.append(leader.host.docker("network", "create", "-d", leader.microseg.driver, "--attachable", flag,
                                               "microseg.policy=" + TOO_BIG, "big", check=False))
    log = leader.host.work + "/dockerd.log"
    before = len(read(log))
    network = swarm.network("big", subnet="10.109.0.0/24", options={"microseg.policy": TOO_BIG})
    service = swarm.service("big", network, server(*LISTEN), 3)
    said = wait_until(lambda: next((line for line in read(log)[before:].splitlines()
                                    if "Failed allocation" in line and network in line), None), 10,
                      f"the log of {leader}, the leader, tells that the network is not allocated", step=0.1)

    def told():
        return [problem for problem in leader.microseg.json("status")["problems"] if "refused when Swarm allocated it" in problem]
    problem = wait_until(lambda: next((p for p in told() if "network big " in p), None), 10, f"the status of {leader} names the network", step=0.1)
    checked = leader.microseg.cli("policy", "check", "-", check=False, input=TOO_BIG)

    # The network's labels are no part of what the driver is asked: there the nodes find it, and keep the network closed.
    swarm.network("biglabel", subnet="10.112.0.0/24", labels={"microseg.policy": TOO_BIG})
    a, b = (swarm.serve(node, f"biglabel-{name}", "biglabel", *LISTEN, service=name) for node, name in zip(swarm.nodes, "ab"))
    verdicts = [v for x, y in ((a, b), (b, a)) for v in x.probe(f"tcp:{y.ip}:7000", f"udp:{y.ip}:7000", f"icmp:{y.ip}", timeout_ms=500).values()]
    states = {c.node.name: next(n["state"] for n in c.node.microseg.json("networks")["networks"] if n["name"] == "biglabel") for c in (a, b)}

    refusals = {}
    for node in swarm.nodes:
        local = Network(node.microseg, "10.113.0.0/24", {"microseg.policy": TOO_BIG})
        try:
            local.create()
            refusals[node.name] = "created"
            local.delete()
        except DriverError as error:
            refusals[node.name] = str(error)
    states_of_tasks = swarm.task_states(service)
    running = swarm.running(service)
    for c in (a, b):
        c.remove()
    swarm.remove_services(service)
    for name in ("big", "biglabel"):
        swarm.remove_network(name)
    wait_until(lambda: not told(), 10, f"the status of {leader} forgets the network that is gone", step=0.1)
    figures = (f"{SUM} classes refused with that sum by `docker network create` (options, labels), by `policy check`, by the allocator (in the leader's status, too) and by {len(refusals)} nodes; 0 of 3 tasks attached to it; from labels: "
               f"{verdicts.count('accepted')} of {len(verdicts)} connections accepted")
    expect(all(c.returncode != 0 and str(SUM) in c.stderr for c in commands), f"docker network create, authorized by the plugin: {commands}")
    expect(str(SUM) in problem, f"the status of {leader} says why without the sum {SUM}: {problem}")
    expect(checked.returncode == 1 and str(SUM) in checked.stderr, f"policy check of the same policy: {checked}")
    expect(str(SUM) in said, f"the log of {leader} says why without the sum {SUM}: {said}")
    expect(all(task["Status"]["State"] in ("new", "pending") for task in running), f"tasks of a network that was refused: {states_of_tasks}")
    expect(all(str(SUM) in text for text in refusals.values()), f"{figures}; the nodes themselves: {refusals}")
    expect("accepted" not in verdicts, f"{figures}: {verdicts}")
    expect("ok" not in states.values(), f"{figures}; states {states}")
    return figures
