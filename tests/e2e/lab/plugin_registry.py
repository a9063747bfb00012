"""A registry for plugins on a host's own loopback address, which engines trust without a certificate."""

import fcntl
import os
import shutil
import subprocess
import sys

from .engine_api import wait_until
from .engines import CACHE
from .host import Process, tail

ADDRESS = "127.0.0.1:5000"
CONFIG = """version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {storage}}}}}
http: {{addr: {address}}}
"""


def program():
    """Debian's docker-registry, unpacked and not installed: its package would start a service of the machine's."""
    tree = os.path.join(CACHE, "docker-registry")
    path = tree + "/usr/bin/docker-registry"
    os.makedirs(CACHE, exist_ok=True)
    with open(tree + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            new = tree + ".new"
            shutil.rmtree(new, ignore_errors=True)
            os.makedirs(new)
            run("apt-get", "download", "docker-registry", cwd=new)
            package = next(name for name in os.listdir(new) if name.endswith(".deb"))
            run("dpkg-deb", "-x", package, ".", cwd=new)
            os.rename(new, tree)
    return path


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


class PluginRegistry:
    def __init__(self, host):
        config = os.path.join(host.work, "registry.yml")
        with open(config, "w") as f:
            f.write(CONFIG.format(storage=os.path.join(host.work, "registry"), address=ADDRESS))
        self.host = host
        # The program is the machine's, the network the host's.
        self.process = Process(["nsenter", "-t", str(host.holder), "-n", "-p", "--", program(), "serve", config],
                               os.path.join(host.work, "registry.log"))
        host.closers.append(self.process.stop)
        wait_until(self._answers, 10, "the registry answers")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("the registry ended: " + tail(self.process.log, 10))
        where, port = ADDRESS.split(":")
        command = ["nsenter", "-t", str(self.host.holder), "-n", sys.executable, "-c",
                   "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()", where, port]
        return subprocess.run(command, capture_output=True).returncode == 0

    def push(self, name, source):
        """The plugin in `source`, a directory of the host, as ADDRESS/NAME; the engine does not keep it."""
        reference = f"{ADDRESS}/{name}"
        self.host.docker("plugin", "create", reference, source)
        self.host.docker("plugin", "push", reference)
        self.host.docker("plugin", "rm", reference)
        return reference
