"""The daemon under test inside a host: by itself (a legacy plugin) or as a managed plugin."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess

from .engine_api import request, wait_until
from .engines import REPOSITORY
from .host import tail

DRIVER_SOCKET = "/run/docker/plugins/microseg.sock"
API_SOCKET = "/run/microseg/api.sock"


class Microseg:
    """What both forms have in common: the CLI, the two sockets, the segments."""

    driver = "microseg"

    def __init__(self, host, bin_dir):
        self.host = host
        self.bin = bundle(host, bin_dir)

    def cli(self, *args, check=True, input=None, timeout=30):
        """`microseg ARGS` in the host. With check, a refusal raises."""
        return self.host.run(*self.program("microseg"), *args, check=check, input=input, timeout=timeout)

    def json(self, *args):
        return json.loads(self.cli(*args, "--json").stdout)

    def program(self, name):
        return self.bin + [f"/run/lab/bin/{name}"]

    def apply(self, network, text):
        self.cli("policy", "apply", network, "-", input=text)

    def call(self, method, body, timeout=60, interface="NetworkDriver"):
        """A driver call as Docker would make it: the decoded answer, or DriverError."""
        data = b"" if body is None else (json.dumps(body) + "\n").encode()
        status, answer = self.raw(f"/{interface}.{method}", data, timeout)
        decoded = json.loads(answer)
        if status != 200 or decoded.get("Err"):
            raise DriverError(f"{method}: {status} {decoded.get('Err', answer)}")
        return decoded

    def raw(self, url, data, timeout=60, method="POST"):
        return request(self.host.path(self.driver_socket()), method, url, data,
                       {"Accept": "application/vnd.docker.plugins.v1.2+json", "Content-Type": ""}, timeout)

    def answers(self):
        try:
            return self.call("GetCapabilities", None, timeout=2) is not None
        except (OSError, ValueError, DriverError):
            return False

    def admin(self, method, url, body=None):
        return request(self.host.path(API_SOCKET), method, url, body)


class DriverError(RuntimeError):
    pass


class Legacy(Microseg):
    """microsegd started by hand beside dockerd."""

    def __init__(self, host, bin_dir, *options):
        super().__init__(host, bin_dir)
        self.options = options
        self.process = None
        self.log = os.path.join(host.work, "microsegd.log")
        host.closers.append(lambda: self.stop(signal.SIGKILL))

    def driver_socket(self):
        if "--driver-socket" in self.options:
            return self.options[self.options.index("--driver-socket") + 1]
        return DRIVER_SOCKET

    def start(self, *options, wait=True):
        self.process = self.host.spawn(*self.program("microsegd"), "--log-level", "debug", *self.options, *options,
                                       log="microsegd.log")
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=20):
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"microsegd ended with {self.process.poll()}:\n{tail(self.log, 20)}")
            return self.answers() and os.path.exists(self.host.path(API_SOCKET)) and \
                self.cli("status", check=False).returncode == 0
        wait_until(ready, timeout, "microsegd answers")

    def stop(self, sig=signal.SIGTERM):
        if self.process:
            code = self.process.stop(sig)
            self.process = None
            return code
        return None

    def kill(self):
        """kill -9, waited for."""
        self.stop(signal.SIGKILL)


class Managed(Microseg):
    """The plugin as plugin/package makes it, created, set and enabled by the engine itself."""

    def __init__(self, host, bin_dir, name="microseg:latest", **settings):
        super().__init__(host, bin_dir)
        self.name, self.settings = name, settings
        self.log = os.path.join(host.work, "dockerd.log")

    @property
    def driver(self):
        return self.name

    def driver_socket(self):
        plugin = json.loads(self.host.docker("plugin", "inspect", self.name).stdout)[0]
        return glob.glob(self.host.path(f"/run/docker/plugins/{plugin['Id']}") + "/*.sock")[0].split("/root", 1)[1]

    def package(self, bin_dir):
        out = os.path.join(self.host.shared, "plugin")
        shutil.rmtree(out, ignore_errors=True)
        done = subprocess.run([os.path.join(REPOSITORY, "plugin/package"), out, "--bin", bin_dir], capture_output=True,
                              text=True)
        if done.returncode != 0:
            raise RuntimeError(f"plugin/package: {done.stdout}{done.stderr}")
        self.host.run("mkdir", "-p", "/run/microseg")  # the mount's source has to be there

    def create(self, bin_dir):
        self.package(bin_dir)
        self.host.docker("plugin", "create", self.name, "/run/lab/plugin")
        for key, value in self.settings.items():
            self.host.docker("plugin", "set", self.name, f"{key}={value}")
        return self

    def changed(self):
        """The plugin's files with another description and one file more: another plugin. Where they are in the host."""
        other = os.path.join(self.host.shared, "plugin-changed")
        shutil.copytree(os.path.join(self.host.shared, "plugin"), other, symlinks=True, dirs_exist_ok=True)
        with open(other + "/config.json") as f:
            config = json.load(f)
        config["description"] += ", changed"
        with open(other + "/config.json", "w") as f:
            json.dump(config, f)
        with open(other + "/rootfs/changed", "w") as f:
            f.write("changed\n")
        return "/run/lab/plugin-changed"

    def enable(self):
        self.host.docker("plugin", "enable", self.name)
        wait_until(lambda: self.cli("status", check=False).returncode == 0, 20, "the plugin's API answers")
        return self

    def disable(self, force=True):
        self.host.docker("plugin", "disable", *(["-f"] if force else []), self.name)


def bundle(host, bin_dir):
    """Copies the binaries to /run/lab/bin of the host. In a tree of another release they bring this machine's
    libraries and loader along; returns what to put in front of their names."""
    target = os.path.join(host.shared, "bin")
    os.makedirs(target, exist_ok=True)
    libraries = {}
    for name in ("microsegd", "microseg"):
        source = os.path.join(bin_dir, name)
        copy(source, os.path.join(target, name))
        for line in subprocess.run(["ldd", source], capture_output=True, text=True, check=True).stdout.splitlines():
            found = re.search(r"(?:(\S+) => )?(/\S+) \(0x", line)
            if found:
                libraries[os.path.basename(found.group(1) or found.group(2))] = found.group(2)
    if not host.engine.tree:
        return []
    lib = os.path.join(host.shared, "lib")
    os.makedirs(lib, exist_ok=True)
    for name, path in libraries.items():
        copy(path, os.path.join(lib, name))
    loader = next(name for name in libraries if name.startswith("ld-linux"))
    return [f"/run/lab/lib/{loader}", "--library-path", "/run/lab/lib"]


def copy(source, target):
    shutil.copy2(source, target + ".new")
    os.rename(target + ".new", target)
