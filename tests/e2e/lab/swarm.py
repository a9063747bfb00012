"""Several hosts on one fabric, joined to a Swarm, with the managed plugin on each: nodes, networks, services, tasks.

Everything goes through the Engine API of a manager. Services have endpoint mode dnsrr: a virtual address needs IPVS and
Docker's own overlay, neither of which a network of a plugin has.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from . import container
from .engine_api import ApiError, wait_until
from .fabric import Fabric
from .image import IMAGE, load_image, tools
from .microsegd import Managed

RUNNING = {"desired-state": ["running"]}


class Node:
    """A host of the swarm: its engine, its plugin, its address on the underlay."""

    def __init__(self, host, address, microseg):
        self.host, self.address, self.microseg = host, address, microseg
        self.api, self.name = host.api, host.name
        self.id = None

    def __str__(self):
        return f"{self.name} ({self.host.engine})"

    def plugin_process(self):
        """The pid of microsegd, as the host counts."""
        proc = self.host.path("/proc")
        for pid in os.listdir(proc):
            try:
                with open(f"{proc}/{pid}/comm") as f:
                    if pid.isdigit() and f.read().strip() == "microsegd":
                        return int(pid)
            except OSError:
                pass  # it ended while we looked
        return None


class Swarm:
    def __init__(self, hosts, bin_dir, managers):
        """The first `managers` of the hosts are managers; the first one of all starts as the leader."""
        tools()  # built once, before all ask for them at the same time
        self.fabric = Fabric()
        hosts[0].closers.append(self.fabric.close)
        addresses = [self.fabric.connect(host.name, host.holder) for host in hosts]
        with ThreadPoolExecutor(len(hosts)) as pool:
            self.nodes = list(pool.map(lambda place: start_node(*place, bin_dir), zip(hosts, addresses)))
        self.by_id = {}
        self._join(managers)

    def _join(self, managers):
        first = self.nodes[0]
        first.api.call("POST", "/swarm/init", {"ListenAddr": first.address + ":2377", "AdvertiseAddr": first.address})
        tokens = first.api.call("GET", "/swarm")["JoinTokens"]
        for i, node in enumerate(self.nodes[1:], 1):
            node.api.call("POST", "/swarm/join", {
                "ListenAddr": node.address + ":2377", "AdvertiseAddr": node.address, "RemoteAddrs": [first.address + ":2377"],
                "JoinToken": tokens["Manager" if i < managers else "Worker"]}, timeout=90)
        for node in self.nodes:
            node.id = node.api.call("GET", "/info")["Swarm"]["NodeID"]
            self.by_id[node.id] = node
        self.wait_ready()

    # ---- the control plane ----

    def hosts(self):
        return [node.host for node in self.nodes]

    def manager(self):
        """The API of a node that serves as a manager right now."""
        for node in self.nodes:
            try:
                if node.api.call("GET", "/info", timeout=5)["Swarm"]["ControlAvailable"]:
                    node.api.call("GET", "/swarm", timeout=5)  # refused where there is no quorum
                    return node.api
            except (ApiError, OSError):
                pass
        raise RuntimeError("no manager of the swarm answers")

    def leader(self, seen_by=None):
        """The node that leads, as a manager sees it; None where there is none."""
        try:
            nodes = (seen_by.api if seen_by else self.manager()).call("GET", "/nodes", timeout=5)
        except (ApiError, OSError):
            return None  # no quorum yet
        return next((self.by_id[n["ID"]] for n in nodes if n.get("ManagerStatus", {}).get("Leader")), None)

    def wait_ready(self, timeout=30):
        def ready():
            try:
                return all(n["Status"]["State"] == "ready" for n in self.manager().call("GET", "/nodes"))
            except (ApiError, OSError, RuntimeError):
                return False
        wait_until(ready, timeout, "all nodes are ready", step=0.1)

    def update_node(self, node, **spec):
        """E.g. Availability="drain", Role="worker"."""
        def put():
            api = self.manager()
            found = api.call("GET", "/nodes/" + node.id)
            try:
                return api.call("POST", f"/nodes/{node.id}/update", {**found["Spec"], **spec},
                                version=found["Version"]["Index"]) is not None
            except ApiError as error:
                if "out of sequence" in str(error):  # the node's own report came between
                    return False
                raise
        wait_until(put, 10, f"{node.name} becomes {spec}", step=0.2)

    def network(self, name, driver="microseg:latest", subnet=None, options=None, labels=None, ipv6=None, node=None):
        """Returns the network's id. `node`: the manager that is asked."""
        config = [{"Subnet": s} for s in (subnet, ipv6) if s]
        return (node.api if node else self.manager()).call("POST", "/networks/create", {
            "Name": name, "Driver": driver, "Attachable": True, "EnableIPv6": bool(ipv6), "Options": options or {},
            "Labels": labels or {}, "IPAM": {"Config": config} if config else {}})["Id"]

    def options(self, network, node):
        """The network's options as a node with a container on it sees them: what AllocateNetwork answered."""
        return node.api.call("GET", "/networks/" + network)["Options"]

    def remove_network(self, name):
        def gone():
            try:
                self.manager().call("DELETE", "/networks/" + name)
                return True
            except ApiError as error:
                if error.status == 404:
                    return True
                if "in use" in str(error) or "active endpoints" in str(error):  # by a task that is on its way out
                    return False
                raise
        wait_until(gone, 20, f"network {name} is removed", step=0.2)

    def service(self, name, network, command, replicas=1, node=None, stack=None, labels=None, capabilities=()):
        """Returns the service's id. `node`: all replicas there; `stack`: what `docker stack deploy` adds."""
        marks = {"com.docker.stack.namespace": stack} if stack else {}
        return self.manager().call("POST", "/services/create", {
            "Name": f"{stack}_{name}" if stack else name, "Labels": marks, "EndpointSpec": {"Mode": "dnsrr"},
            "Mode": {"Replicated": {"Replicas": replicas}},
            "TaskTemplate": {
                "ContainerSpec": {"Image": IMAGE, "Command": command, "Labels": {**marks, **(labels or {})},
                                  "StopSignal": "SIGKILL", "CapabilityAdd": list(capabilities),
                                  "Mounts": [{"Type": "bind", "Source": "/run/lab", "Target": "/lab"}]},
                "Networks": [{"Target": network}], "RestartPolicy": {"Condition": "any", "Delay": 10 ** 8},
                "Placement": {"Constraints": [f"node.id=={node.id}"] if node else []}}})["ID"]

    def scale(self, service, replicas):
        api = self.manager()
        found = api.call("GET", "/services/" + service)
        spec = {**found["Spec"], "Mode": {"Replicated": {"Replicas": replicas}}}
        api.call("POST", f"/services/{service}/update", spec, version=found["Version"]["Index"])

    def remove_services(self, *services):
        for service in services:
            self.manager().call("DELETE", "/services/" + service)
        gone = set(services)  # a filter by a service that is gone is refused
        wait_until(lambda: not any(t["ServiceID"] in gone for t in self.manager().call("GET", "/tasks")), 30,
                   "the services' tasks are gone", step=0.1)

    def tasks(self, service, count, timeout=30):
        """The service's running tasks as containers, once there are `count`; each knows its node."""
        def all_run():
            found = self.running(service)
            up = [t for t in found if t["Status"]["State"] == "running"]
            return up if len(up) == len(found) == count else None
        try:
            found = wait_until(all_run, timeout, f"{count} tasks of {service} run", step=0.1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; tasks: {self.task_states(service)}") from None
        return [self._container(task) for task in found]

    def running(self, service):
        """The tasks of the service that are to run, whether they do yet or not."""
        return self.manager().call("GET", "/tasks", filters={"service": [service], **RUNNING})

    def _container(self, task):
        node = self.by_id[task["NodeID"]]
        network = task["NetworksAttachments"][0]["Network"]["Spec"]["Name"]
        made = container.Container(node.host, task["Status"]["ContainerStatus"]["ContainerID"], network)
        made.node = node
        made.log = os.path.join(node.host.shared, made.id[:12] + ".log")
        return made

    def task_states(self, service):
        return [f"{self.by_id[t['NodeID']].name if t.get('NodeID') else 'no node'}: {t['Status']['State']} "
                f"{t['Status'].get('Err', t['Status'].get('Message', ''))}"
                for t in self.manager().call("GET", "/tasks", filters={"service": [service]})]

    # ---- containers of an attachable network, outside of any service ----

    def run(self, node, name, network, command=("sleep", "100000"), service=None, ip=None, ip6=None, capabilities=()):
        endpoint = {"DriverOpts": {"microseg.service": service}} if service else {}
        fixed = {key: value for key, value in (("IPv4Address", ip), ("IPv6Address", ip6)) if value}
        if fixed:
            endpoint["IPAMConfig"] = fixed
        created = node.api.call("POST", "/containers/create", {
            "Image": IMAGE, "Cmd": list(command), "StopTimeout": 1,
            "HostConfig": {"NetworkMode": network, "Init": False, "Binds": ["/run/lab:/lab"], "CapAdd": list(capabilities)},
            "NetworkingConfig": {"EndpointsConfig": {network: endpoint}}}, name=name)["Id"]
        node.api.call("POST", f"/containers/{created}/start", timeout=120)
        made = container.Container(node.host, created, network)
        made.node = node
        made.log = os.path.join(node.host.shared, made.id[:12] + ".log")
        return made

    def serve(self, node, name, network, *ports, **more):
        """A container with echo servers, once it listens; see `server`."""
        made = self.run(node, name, network, server(*ports), **more)
        wait_until(lambda: "ready" in node.api.logs(made.id), 10, name + " listens")
        return made


def start_node(host, address, bin_dir):
    host.start_dockerd()
    load_image(host)
    microseg = Managed(host, bin_dir, MICROSEG_SCOPE="global", MICROSEG_LOG_LEVEL="debug").create(bin_dir).enable()
    return Node(host, address, microseg)


def server(*ports):
    """The command of an echo server that logs what it was delivered, under the container's own short id."""
    return ["sh", "-c", 'exec serve -o "/lab/$(hostname).log" "$@"', "sh", *ports]
