"""The examples as a user runs them: compose up on every engine, legacy and managed; then every pair on many ports."""

import json
import os
import random
import subprocess

from lab.container import Container
from lab.engines import REPOSITORY
from lab.host import ENVIRONMENT
from lab.image import load_image
from lab.microsegd import Managed
from lab.registry import ALL, PRIMARY, expect, test

ALLOWED = {("web", "api", 8080), ("api", "db", 5432)}
LISTENED = (80, 8080, 5432)  # by the example's own servers


def on_machine(host, *command):
    """A program of the examples, against the host's engine."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env={**ENVIRONMENT, "DOCKER_HOST": "unix://" + host.path("/run/docker.sock"),
                               "COMPOSE_PROJECT_NAME": "example"})
    expect(done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def run_example(host, microseg, name, look=lambda containers: ""):
    """Compose up, the example's own check, `look`, compose down. Returns the check's last line and look's."""
    on_machine(host, os.path.join(REPOSITORY, "examples/image/build"))
    compose = ["-p", "example", "-f", "compose.yaml"]
    env = {"MICROSEG_DRIVER": microseg.driver}
    directory = f"/run/src/examples/{name}"
    host.compose(*compose, "up", "-d", directory=directory, env=env)
    try:
        said = on_machine(host, os.path.join(REPOSITORY, "examples/check"), os.path.join(REPOSITORY, "examples", name))
        containers = {}
        for found in host.api.call("GET", "/containers/json", filters={"label": ["com.docker.compose.project=example"]}):
            containers[found["Labels"]["com.docker.compose.service"]] = Container(host, found["Id"], "example_app")
        more = look(containers)
    finally:
        host.compose(*compose, "down", "-t", "1", directory=directory, env=env)
    return said.splitlines()[-1].split(": ", 1)[1], more


# Counts in a container's namespace, ahead of everything: what arrives there and is no answer to what it sent itself.
WATCH = """
table inet lab {{
  counter forbidden {{ }}
  chain arriving {{
    type filter hook input priority -400; policy accept;
    iifname "eth0" tcp flags & (syn | ack) == syn tcp dport != {{ {ports} }} counter name forbidden
    iifname "eth0" meta l4proto udp counter name forbidden
    iifname "eth0" icmp type echo-request counter name forbidden
  }}
}}
"""


def scan(containers, every_port=False):
    """All pairs: TCP on 1-1023 and 500 ports by lot (or on all), UDP on 40, ping. Servers listen on those of the lot, so
    that only policy refuses, and what arrives at any port is counted where it arrives."""
    # Docker's resolver listens in the container on ports of its choice, of the kernel's range from 32768 on.
    lot = random.Random(int(os.environ.get("MICROSEG_SEED", "1"))).sample(range(1024, 32768), 500)
    tcp = sorted({*range(1, 1024), *lot, *LISTENED})
    udp = sorted({53, 80, 8080, 5432, *lot[:36]})
    for name, container in containers.items():
        container.log = os.path.join(container.host.work, name + ".scan.log")
        ports = [str(port) for _, target, port in ALLOWED if target == name] or ["0"]
        container.run("nft", "-f", "-", input=WATCH.format(ports=", ".join(ports)))
        container.spawn("serve", "-o", container.log, *[f"tcp:{p}" for p in tcp if p not in LISTENED],
                        *[f"udp:{p}" for p in udp], log=name + ".serve.log", ready=True)
    tried = 0
    for source, a in containers.items():
        for target, b in containers.items():
            if source == target:
                continue
            out = a.run("probe", "-s", "-t", 300, *[f"tcp:{b.ip}:{p}" for p in (["1-65535"] if every_port else tcp)],
                        *[f"udp:{b.ip}:{p}" for p in udp], f"icmp:{b.ip}").stdout
            rows = [json.loads(line) for line in out.splitlines()]
            tried += sum(v for k, v in rows[-1].items() if k != "summary")
            got = {(source, target, int(row["target"].rsplit(":", 1)[1])) for row in rows[:-1]}
            want = {key for key in ALLOWED if key[:2] == (source, target)}
            expect(got == want, f"{source} -> {target}: answered {sorted(got)}, the policy allows {sorted(want)}: {rows}")
    arrived = {name: json.loads(c.run("nft", "-j", "list", "counters").stdout)["nftables"][1]["counter"]["packets"]
               for name, c in containers.items()}
    delivered = [(name, row) for name, c in containers.items() for row in c.received()]
    expect(not delivered and not any(arrived.values()), f"forbidden packets arrived: {arrived}; at servers: {delivered[:5]}")
    return f"{tried} connections tried on {65535 if every_port else len(tcp)} TCP and {len(udp)} UDP ports and by ping, 0 forbidden delivered"


@test("compose", engines=ALL)
def compose(context):
    host, microseg = context.machine()
    said, scanned = run_example(host, microseg, "three-tier", lambda c: scan(c, context.engine == PRIMARY))
    others = [run_example(host, microseg, name)[0] for name in ("labels", "preview")]
    return f"three-tier {said}; {scanned}; labels {others[0]}; preview {others[1]}"


@test("managed", engines=ALL)
def managed(context):
    host = context.own_host().start_dockerd()
    load_image(host)
    microseg = Managed(host, context.bin).create(context.bin).enable()
    said, scanned = run_example(host, microseg, "three-tier", scan)
    return f"three-tier {said}; {scanned}"
