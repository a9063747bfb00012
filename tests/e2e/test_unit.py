"""What the systemd unit lets the daemon do is enough for it."""

import os
import re

from lab import container
from lab.engines import REPOSITORY
from lab.image import load_image
from lab.microsegd import Legacy
from lab.registry import expect, test

POLICY = "allow web -> api : 7000"


class Restricted(Legacy):
    """With the unit's capabilities and no others."""

    def __init__(self, host, bin_dir, capabilities):
        super().__init__(host, bin_dir)
        self.bounds = ",".join(["-all", *("+" + c.removeprefix("CAP_").lower() for c in capabilities)])

    def program(self, name):
        command = super().program(name)
        return ["setpriv", "--bounding-set=" + self.bounds, *command] if name == "microsegd" else command


@test("unit")
def unit(context):
    with open(os.path.join(REPOSITORY, "plugin/systemd/microsegd.service")) as f:
        settings = dict(re.findall(r"^(\w+)=(.*)$", f.read(), re.MULTILINE))
    host = context.own_host()
    microseg = Restricted(host, context.bin, settings["CapabilityBoundingSet"].split()).start()
    host.start_dockerd()
    load_image(host)
    host.api.create_network("unit", microseg.driver, ["10.81.0.0/24"], {"microseg.policy": POLICY})
    api = container.serve(host, "unit-api", "unit", "tcp:7000-7001", service="api")
    web = container.start(host, "unit-web", "unit", service="web")
    got = web.probe(*(f"tcp:{api.ip}:{port}" for port in (7000, 7001)))
    families = families_used() - set(settings["RestrictAddressFamilies"].split())
    with open(microseg.log) as f:
        complaints = [line for line in f if line.startswith(("warn", "error")) or "not announced" in line]
    figures = (f"with {settings['CapabilityBoundingSet']}: {list(got.values()).count('accepted')} allowed, "
               f"{list(got.values()).count('refused')} refused; {len(complaints)} complaints in the log, {len(families)} families of "
               f"sockets used that the unit forbids")
    expect(got == {f"tcp:{api.ip}:7000": "accepted", f"tcp:{api.ip}:7001": "refused"} and not complaints and not families, f"{figures}: {got} {complaints[:3]} {families}")
    return figures


def families_used():
    """Address families of sockets that the sources open."""
    found = set()
    for directory, _, files in os.walk(os.path.join(REPOSITORY, "src")):
        for name in files:
            with open(os.path.join(directory, name)) as f:
                found |= set(re.findall(r"socket\((AF_\w+)", f.read()))
    return found
