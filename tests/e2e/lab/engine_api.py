"""The Docker Engine's HTTP API over its unix socket: what the tests need of it, without the cost of a CLI start."""

import http.client
import json
import os
import socket
import time
import urllib.parse


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # The path may be longer than an address holds: a managed plugin's id is a part of it.
        directory = os.open(os.path.dirname(self.path), os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(self.path)}")
        finally:
            os.close(directory)


class ApiError(RuntimeError):
    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status


def request(path, method, url, body=None, headers=None, timeout=60):
    """One request on a connection of its own: (status, bytes)."""
    connection = UnixConnection(path, timeout)
    try:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        head = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, url, body=data, headers={**head, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class EngineApi:
    def __init__(self, path):
        self.path = path

    def call(self, method, url, body=None, timeout=60, **query):
        if query:
            url += "?" + urllib.parse.urlencode(
                {k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in query.items()})
        status, data = request(self.path, method, url, body, timeout=timeout)
        if status >= 400:
            try:
                message = json.loads(data)["message"]
            except (ValueError, KeyError):
                message = data.decode(errors="replace")
            raise ApiError(status, message)
        return json.loads(data) if data[:1] in (b"{", b"[") else data

    def ping(self):
        try:
            return request(self.path, "GET", "/_ping", timeout=2)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def create_network(self, name, driver, subnets=(), options=None, labels=None, internal=False, ipv6=False):
        ipam = {"Config": [{"Subnet": s} for s in subnets]} if subnets else {}
        return self.call("POST", "/networks/create", {
            "Name": name, "Driver": driver, "Internal": internal, "EnableIPv6": ipv6, "IPAM": ipam,
            "Options": options or {}, "Labels": labels or {}, "CheckDuplicate": True})["Id"]

    def run(self, name, image, command, network, labels=None, service=None, **more):
        """Create and start. `more`: entries of HostConfig; `service`: the endpoint option microseg.service."""
        created = self.create(name, image, command, network, labels, service, **more)
        self.call("POST", f"/containers/{created}/start", timeout=120)
        return created

    def create(self, name, image, command, network, labels=None, service=None, **more):
        endpoint = {"DriverOpts": {"microseg.service": service}} if service else {}
        return self.call("POST", "/containers/create", {
            "Image": image, "Cmd": command, "Labels": labels or {}, "StopTimeout": 1,
            "ExposedPorts": {port: {} for port in more.get("PortBindings", {})},
            "HostConfig": {"NetworkMode": network, "Init": False, **more},
            "NetworkingConfig": {"EndpointsConfig": {network: endpoint}}}, name=name)["Id"]

    def inspect(self, container):
        return self.call("GET", f"/containers/{container}/json")

    def remove(self, container):
        try:
            self.call("DELETE", f"/containers/{container}", force="1", v="1")
        except ApiError as error:
            if error.status != 404:
                raise

    def logs(self, container):
        """Standard output, without the frame headers of the stream."""
        data = self.call("GET", f"/containers/{container}/logs", stdout="1", stderr="1")
        if isinstance(data, (dict, list)):
            raise RuntimeError("unframed log stream")
        text, at = [], 0
        while at + 8 <= len(data):
            size = int.from_bytes(data[at + 4:at + 8], "big")
            text.append(data[at + 8:at + 8 + size])
            at += 8 + size
        return b"".join(text).decode(errors="replace")

    def wait(self, container, timeout=60):
        return self.call("POST", f"/containers/{container}/wait", timeout=timeout)["StatusCode"]


def wait_until(condition, timeout, what, step=0.02):
    """Polls what has no event to wait for, with a deadline. Returns the first true value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(step)
