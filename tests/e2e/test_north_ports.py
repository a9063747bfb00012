"""Published ports look to Docker's tools as with a bridge network, ephemeral ones too."""

import json
import os

from lab.engine_api import wait_until
from lab.image import IMAGE
from lab.outside import Outside
from lab.registry import expect, test


@test("north ports", engines=("20.10.24", "28.5.2"))
def ports(context):
    outside = Outside(context)
    host = outside.host
    host.api.create_network("pub", outside.microseg.driver, ["10.72.0.0/24"])
    host.api.create_network("plain", "bridge", ["10.73.0.0/24"])
    said, reached = {}, {}
    for i, network in enumerate(("plain", "pub")):
        bindings = {"7000/tcp": 9000 + i, "7001/udp": 9010 + i, "7002/tcp": ""}
        made = outside.start(f"on-{network}", network, "web", bindings, ("tcp:7000-7002", "udp:7001"))
        shown = host.docker("port", made.name).stdout
        listed = host.docker("ps", "--filter", f"name={made.name}", "--format", "{{.Ports}}").stdout
        # As testcontainers does it: the ephemeral port is read from what the engine says of the container.
        found = host.api.inspect(made.id)["NetworkSettings"]["Ports"]
        ephemeral = found["7002/tcp"][0]["HostPort"]
        aims = {name: f"{name.partition('/')[2]}:{outside.address}:{found[name][0]['HostPort']}" for name in found}
        for place in (outside.world, outside.here):
            got = place.probe(*aims.values())
            reached[network, place.name] = {name: got[aim] for name, aim in aims.items()}

        def anonymous(text, number=i, chosen=ephemeral):
            """Without what has to differ between the two: host ports."""
            for port, word in ((str(9000 + number), "FIXED"), (str(9010 + number), "FIXED-UDP"), (chosen, "EPHEMERAL")):
                text = text.replace(port, word)
            return sorted(text.replace(", ", "\n").split("\n"))
        said[network] = anonymous(shown), anonymous(listed), sorted(found)
        for name, port in (("7000/tcp", str(9000 + i)), ("7001/udp", str(9010 + i)), ("7002/tcp", ephemeral)):
            expect(any(b["HostPort"] == port for b in found[name]), f"{network}: {name} is not at {port}: {found}")
    expect(said["plain"] == said["pub"], f"docker port, docker ps, inspect: {said['plain']} on a bridge, {said['pub']} on microseg")
    closed = [f"{who}: {verdicts}" for who, verdicts in reached.items() if set(verdicts.values()) != {"accepted"}]
    expect(not closed, f"published ports are open: {closed}")

    clash = host.docker("run", "-d", "--network", "pub", "-p", "9001:7000", IMAGE, "sleep", "10", check=False)
    expect(clash.returncode != 0 and "already allocated" in clash.stderr, f"a port taken twice: {clash.stderr}")
    return f"{len(said['pub'][0])} lines alike; by compose: {compose(outside)}"


def compose(outside):
    """`docker compose port` of a service on a microseg network."""
    host = outside.host
    directory = os.path.join(host.shared, "ports")
    os.makedirs(directory, exist_ok=True)
    project = {"version": "3.7", "networks": {"default": {"driver": outside.microseg.driver,
                                                          "ipam": {"config": [{"subnet": "10.74.0.0/24"}]}}},
               "services": {"web": {"image": IMAGE, "command": ["serve", "-o", "/dev/null", "tcp:7000"], "ports": ["7000"]}}}
    with open(os.path.join(directory, "docker-compose.yml"), "w") as f:
        json.dump(project, f)
    host.compose("up", "-d", directory="/run/lab/ports")
    try:
        said = host.compose("port", "web", "7000", directory="/run/lab/ports").stdout.strip()
        aim = f"tcp:{outside.address}:{said.rpartition(':')[2]}"
        wait_until(lambda: outside.world.probe(aim)[aim] == "accepted", 10, f"{aim} answers")
    finally:
        host.compose("down", "-t", "1", directory="/run/lab/ports")
    return said
