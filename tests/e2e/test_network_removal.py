"""`docker network rm` works after whatever came and went in the network.

Docker 28.1 and newer keep an endpoint for ever that somebody read while Docker removed it, and then refuse to remove its
network. So the daemon does not read a network between its answer to Leave and Docker's DeleteEndpoint.
"""

import threading
import time

from lab import container
from lab.image import load_image
from lab.microsegd import DRIVER_SOCKET, Legacy
from lab.proxy import ReadsProxy, TimedProxy
from lab.registry import expect, test

CHURN_S = 15
CONTAINERS = 4


@test("network removal", engines=("28.5.2",))
def network_removal(context):
    host = context.own_host()
    api = ReadsProxy(host.shared + "/docker.sock", host.path("/run/docker.sock"))
    microseg = Legacy(host, context.bin, "--driver-socket", "/run/lab/driver.sock", "--docker-socket", "/run/lab/docker.sock").start()
    driver = TimedProxy(host.path(DRIVER_SOCKET), host.shared + "/driver.sock")
    host.start_dockerd()
    load_image(host)
    host.api.create_network("home", "bridge", ["10.79.0.0/24"], internal=True)
    containers = [container.start(host, f"guest-{i}", "home") for i in range(CONTAINERS)]
    api.network = host.api.create_network("visited", microseg.driver, ["10.78.0.0/24"], internal=True)

    until = time.monotonic() + CHURN_S
    visits = [visit(host, "visited", c, until) for c in containers]
    for thread in visits:
        thread.join()
    host.api.call("DELETE", "/networks/visited")
    driver.close()
    api.close()

    removals = removal_times(driver.calls, api.network)
    met = [read for read in api.reads if any(read[0] < ended and began < read[1] for began, ended in removals)]
    figures = (f"{len(removals)} endpoints removed in {CHURN_S} s among {len(api.reads)} reads of their network, {len(met)} of them "
               f"during a removal; the network removed at once")
    expect(len(removals) >= 100 and len(api.reads) >= 100, figures)
    # A read waits for 200 ms and no longer: a slow engine's removal may outlast that.
    expect(len(met) <= len(api.reads) // 50, figures)
    return figures


def visit(host, network, c, until):
    """Connects and disconnects the container until then: a running thread."""
    def run():
        while time.monotonic() < until:
            host.api.call("POST", f"/networks/{network}/connect", {"Container": c.id})
            host.api.call("POST", f"/networks/{network}/disconnect", {"Container": c.id})
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def removal_times(calls, network):
    """From the answer to each Leave to the DeleteEndpoint that follows it."""
    left, out = {}, []
    for call in sorted(calls, key=lambda c: c.began):
        if call.body.get("NetworkID") != network:
            continue
        endpoint = call.body.get("EndpointID")
        if call.method == "Leave":
            left[endpoint] = call.ended
        elif call.method == "DeleteEndpoint" and endpoint in left:
            out.append((left.pop(endpoint), call.began))
    return out
