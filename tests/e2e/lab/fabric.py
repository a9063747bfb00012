"""The wire between hosts: a bridge in a namespace of its own, one veth to every host, and no route out of it."""

import ipaddress
import os
import subprocess

from .host import ENVIRONMENT
from .image import BUILT

UNDERLAY = ipaddress.ip_network("198.51.100.0/24")  # for documentation: nothing real answers there
LINK = "wire"  # the name of a host's end


class Namespace:
    """A network namespace without a name. It ends with this process, whatever becomes of it: its keeper reads a pipe."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        if self.keeper.stdout.readline().strip() != "ready":
            raise RuntimeError("no network namespace for the fabric")
        self.pid = self.keeper.pid

    def run(self, *command, check=True, input=None, timeout=60):
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, input=input, timeout=timeout,
                              env=ENVIRONMENT)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}")
        return done

    def enter(self, program, *args):
        tool = os.path.join(BUILT, program)
        return ["nsenter", "-t", str(self.pid), "-n", "--", tool if os.path.exists(tool) else program, *map(str, args)]

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(10)


class Fabric:
    def __init__(self):
        self.space = Namespace()
        self.machines = []
        self.next = 11
        self.space.run("ip", "-batch", "-", input="link add lan type bridge\nlink set lan up\n")

    def connect(self, name, pid):
        """Plugs the namespace of process `pid` in. Returns its address."""
        address = str(UNDERLAY[self.next])
        self.next += 1
        self.space.run("ip", "-batch", "-", input=f"link add {name} type veth peer name {LINK} netns {pid}\n"
                                                  f"link set {name} master lan up\n")
        done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], text=True, capture_output=True,
                              input=f"address add {address}/{UNDERLAY.prefixlen} dev {LINK}\nlink set {LINK} up\n")
        if done.returncode != 0:
            raise RuntimeError(f"{name} is not connected: {done.stderr}")
        return address

    def machine(self, name):
        """One more machine on the wire, without an engine: (namespace, address)."""
        machine = Namespace()
        self.machines.append(machine)
        return machine, self.connect(name, machine.pid)

    def unplug(self, machine):
        """Ends a machine; its link goes with it."""
        self.machines.remove(machine)
        machine.close()

    def cut(self, name):
        """Takes the plug out: the carrier stays, nothing passes."""
        self.space.run("ip", "link", "set", name, "nomaster")

    def mend(self, name):
        self.space.run("ip", "link", "set", name, "master", "lan")

    def close(self):
        for machine in self.machines:
            machine.close()
        self.space.close()
