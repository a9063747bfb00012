"""Docker's part of the driver protocol, played at the driver socket without Docker: networks, endpoints, sandboxes."""

import secrets
import subprocess

EXPOSED = {"com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": []}


def new_id():
    return secrets.token_hex(32)


class Network:
    def __init__(self, microseg, pool="10.70.0.0/16", options=None, pool6=None, **more):
        self.microseg, self.id = microseg, new_id()
        prefix, self.bits = pool.rsplit(".", 2)[0] + ".", pool.split("/")[1]
        self.prefix, self.next = prefix, 2
        self.prefix6 = pool6.split("/")[0] if pool6 else None  # ends with ::
        self.body = {"NetworkID": self.id,
                     "Options": {"com.docker.network.enable_ipv6": bool(pool6), "com.docker.network.generic": options or {}, **more},
                     "IPv4Data": [{"AddressSpace": "LocalDefault", "Pool": pool, "Gateway": f"{prefix}0.1/{self.bits}"}],
                     "IPv6Data": [{"AddressSpace": "LocalDefault", "Pool": pool6, "Gateway": pool6.replace("::/", "::1/")}] if pool6 else []}

    def create(self):
        self.microseg.call("CreateNetwork", self.body)
        return self

    def delete(self):
        self.microseg.call("DeleteNetwork", {"NetworkID": self.id})

    def endpoint(self, service, **options):
        n = self.next
        self.next += 1
        return Endpoint(self, service, f"{self.prefix}{n >> 8}.{n & 255}", options)


class Endpoint:
    def __init__(self, network, service, ip, options):
        self.network, self.service, self.ip, self.options = network, service, ip, options
        self.ip6 = network.prefix6 and f"{network.prefix6}{ip.rsplit('.', 1)[1]}"
        self.fresh()

    def fresh(self):
        self.id = new_id()
        self.sandbox = f"/var/run/docker/netns/{self.id[:12]}"
        return self

    def both(self):
        return {"NetworkID": self.network.id, "EndpointID": self.id}

    def create(self):
        self.network.microseg.call("CreateEndpoint", {
            **self.both(), "Interface": {"Address": f"{self.ip}/{self.network.bits}", "AddressIPv6": f"{self.ip6}/64" if self.ip6 else "",
                                         "MacAddress": ""},
            "Options": {**EXPOSED, "microseg.service": self.service, **self.options}})

    def join(self):
        answer = self.network.microseg.call("Join", {**self.both(), "SandboxKey": self.sandbox, "Options": EXPOSED})
        self.link = answer["InterfaceName"]["SrcName"]
        self.routes = answer["StaticRoutes"]
        return answer

    def leave(self):
        self.network.microseg.call("Leave", self.both())

    def delete(self):
        self.network.microseg.call("DeleteEndpoint", self.both())


def make_sandboxes(host, endpoints):
    """Network namespaces bound where Docker binds them."""
    commands = "mkdir -p /run/docker/netns\n" + "".join(
        f"touch {e.sandbox}; unshare --net={e.sandbox} ip link set lo up\n" for e in endpoints)
    host.run("sh", "-ec", commands)


def plug(host, endpoints):
    """What libnetwork does after Join: the link moves into the sandbox, becomes eth0, gets addresses and routes."""
    host.run("ip", "-batch", "-", input="".join(f"link set dev {e.link} netns {e.sandbox} name eth0\n" for e in endpoints))
    for e in endpoints:
        lines = [f"address add {e.ip}/{e.network.bits} dev eth0", "link set eth0 up"]
        lines += [f"address add {e.ip6}/64 dev eth0 nodad"] if e.ip6 else []
        for route in sorted(e.routes, key=lambda r: -r["RouteType"]):
            via = f"via {route['NextHop']}" if route["RouteType"] == 0 else "scope link"
            lines.append(f"route add {route['Destination']} {via} dev eth0")
        host.run("nsenter", "--net=" + e.sandbox, "ip", "-batch", "-", input="\n".join(lines) + "\n")


def remove_sandboxes(host, endpoints):
    host.run("sh", "-c", "".join(f"umount {e.sandbox}; rm -f {e.sandbox}\n" for e in endpoints))


def sandbox_run(host, endpoint, program, *args, check=True, timeout=60):
    """A program of this machine in the endpoint's sandbox."""
    return subprocess.run(["nsenter", "-t", str(host.holder), "-p", "--net=" + host.path(endpoint.sandbox), "--", program,
                           *map(str, args)], capture_output=True, text=True, timeout=timeout, check=check)
