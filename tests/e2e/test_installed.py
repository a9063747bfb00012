"""The plugin as a Swarm's nodes get it: installed from a registry, whose address is then a part of the driver's name."""

from lab import container
from lab.authorization import authorized_by
from lab.image import load_image
from lab.microsegd import Managed
from lab.plugin_registry import PluginRegistry
from lab.registry import expect, test


@test("installed")
def installed(context):
    host = context.own_host().start_dockerd()
    load_image(host)
    microseg = Managed(host, context.bin)
    microseg.package(context.bin)
    name = PluginRegistry(host).push("team/microseg:1.0", "/run/lab/plugin")
    host.docker("plugin", "install", "--grant-all-permissions", name)
    microseg.name = name
    host.api.create_network("pulled", name, ["10.79.0.0/24"], {"microseg.policy": "allow client -> server : 7000"})
    server = container.serve(host, "pulled-server", "pulled", "tcp:7000-7001", service="server")
    verdicts = {}
    for service in ("client", "stranger"):
        c = container.start(host, "pulled-" + service, "pulled", service=service)
        verdicts |= {(service, target[-4:]): verdict for target, verdict in c.probe(f"tcp:{server.ip}:7000", f"tcp:{server.ip}:7001").items()}
    accepted = [pair for pair, verdict in verdicts.items() if verdict == "accepted"]
    expect(accepted == [("client", "7000")], f"of {verdicts}, client to 7000 alone is allowed")
    with authorized_by(host, name):
        said = {}
        for driver in (name, "bridge"):
            done = host.docker("network", "create", "-d", driver, "--label", "microseg.policy=allow web > api", "labelled-" + driver[-3:], check=False)
            said[driver] = done.returncode, done.stderr.strip()
    expect(said[name][0] != 0 and "line 1, column 11" in said[name][1] and said["bridge"][0] == 0,
           f"docker network create with a broken policy in the labels: {said}; expected the first alone to be refused with line and column")
    return f"{name}: {len(accepted)} allowed, {len(verdicts) - len(accepted)} refused; a broken label refused at docker network create under that name"
