"""The example for a Swarm as the README has it: `docker stack deploy`, then the example's own check on every node."""

import os
import subprocess

from lab.engine_api import wait_until
from lab.engines import REPOSITORY
from lab.host import ENVIRONMENT
from lab.registry import expect, swarm_test

TASKS = {"web": 3, "api": 3, "db": 3, "outsider": 1}


def on_machine(node, *command):
    """A program of the examples, against the node's engine."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env={**ENVIRONMENT, "DOCKER_HOST": "unix://" + node.host.path("/run/docker.sock")})


@swarm_test("stack", ("swarm", "swarm mixed"))
def stack(context):
    swarm = context.swarm()
    for node in swarm.nodes:
        built = on_machine(node, os.path.join(REPOSITORY, "examples/image/build"))
        expect(built.returncode == 0, f"examples/image/build on {node}: {built.stdout}{built.stderr}")
    manager = next(node for node in swarm.nodes if node.api is swarm.manager())
    manager.host.docker("stack", "deploy", "--resolve-image", "never", "-c", "/run/src/examples/swarm/stack.yaml", "shop")
    try:
        for name, count in TASKS.items():
            swarm.tasks("shop_" + name, count)
        said = {}
        for node in swarm.nodes:
            done = on_machine(node, os.path.join(REPOSITORY, "examples/check"), os.path.join(REPOSITORY, "examples/swarm"), "shop")
            expect(done.returncode == 0, f"examples/check on {node}: exit {done.returncode}:\n{done.stdout}{done.stderr}")
            said[node.name] = done.stdout.splitlines()[-1].split(": ", 1)[1]
    finally:
        manager.host.docker("stack", "rm", "shop")
    wait_until(lambda: not swarm.manager().call("GET", "/networks", filters={"label": ["com.docker.stack.namespace=shop"]}), 30,
               "the stack's network is gone", step=0.2)
    return "; ".join(f"{name}: {text}" for name, text in said.items())
