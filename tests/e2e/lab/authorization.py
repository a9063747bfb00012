"""dockerd --authorization-plugin, switched on and off while it runs: its configuration file read anew."""

import json
import os
import signal
from contextlib import contextmanager

from .engine_api import wait_until
from .host import read

CONFIG = "/etc/docker/daemon.json"


@contextmanager
def authorized_by(host, plugin):
    """As long as this lasts, dockerd asks `plugin` about each request to its API."""
    reload(host, [plugin])
    try:
        yield
    finally:
        reload(host, [])
        os.unlink(host.path(CONFIG))


def reload(host, plugins):
    before = len(read(host.dockerd.log))
    with open(host.path(CONFIG), "w") as f:
        json.dump({"authorization-plugins": plugins}, f)
    host.dockerd.kill(signal.SIGHUP)
    wait_until(lambda: "Reloaded configuration" in read(host.dockerd.log)[before:], 10, f"{host.name} has reloaded its configuration")
