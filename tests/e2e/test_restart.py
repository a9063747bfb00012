"""What is restarted around running containers: dockerd, the daemon, the plugin, an Engine API that never answers."""

import json
import socket
import threading
import time

from lab import container, segment
from lab.engine_api import wait_until
from lab.image import load_image
from lab.microsegd import DRIVER_SOCKET, Legacy, Managed
from lab.plugin_registry import PluginRegistry
from lab.proxy import TimedProxy
from lab.registry import ALL, expect, test
from lab.traffic import Forbidden, Streams, expect_unharmed, trio

RESTARTED = 8


@test("live-restore", engines=ALL)
def live_restore(context):
    host, microseg = context.own_machine("--live-restore")
    client, server, stranger = trio(host, microseg, "alive", "10.72.0.0/24")
    streams, forbidden = Streams(client, server, 7001, "alive"), Forbidden(stranger, server.ip + ":7000")
    started = time.monotonic()
    wait_until(streams.flowing, 5, "the streams flow")
    host.stop_dockerd()
    host.start_dockerd("--live-restore")
    up = time.monotonic() - started
    # The restarted engine still knows how to attach and how to remove.
    late = container.start(host, "alive-late", "alive", service="client")
    late.remove()
    seconds = time.monotonic() - started
    unharmed = streams.stop()
    dialled, accepted = forbidden.stop(server)
    found = settled(microseg)
    figures = (f"dockerd down and up in {up:.1f} s: {unharmed['tcp'][1]} of {unharmed['tcp'][0]} TCP and {unharmed['udp'][1]} of "
               f"{unharmed['udp'][0]} UDP packets lost, {accepted} of {dialled} forbidden connections delivered")
    expect_unharmed(unharmed, figures, seconds * 0.9)
    expect(accepted == 0 and not found, f"{figures}; {found[:5]}")
    return figures


@test("dockerd restart", alone=True)
def dockerd_restart(context):
    """Without live-restore: every container stops with dockerd and is started by it, while its API is not served."""
    host, microseg = context.own_machine(daemon_options=("--driver-socket", "/run/lab/driver.sock"))
    proxy = TimedProxy(host.path(DRIVER_SOCKET), host.shared + "/driver.sock")
    host.api.create_network("again", microseg.driver, ["10.73.0.0/24"], {
        "microseg.policy": "allow client -> server : 7001"})
    policy = {"RestartPolicy": {"Name": "always"}}
    server = container.start(host, "again-server", "again", ["serve", "-o", "/lab/again-server.log", "tcp:7000-7001"],
                             labels={"microseg.service": "server"}, **policy)
    client = container.start(host, "again-client", "again", labels={"microseg.service": "client"}, **policy)
    others = [container.start(host, f"again-{i}", "again", labels={"microseg.service": "other"}, **policy) for i in range(RESTARTED - 2)]
    running = [server, client, *others]
    host.stop_dockerd()
    left = segment.differences(microseg)
    proxy.calls.clear()
    started = time.monotonic()
    host.start_dockerd()
    up = time.monotonic() - started
    wait_until(lambda: all(host.api.inspect(c.id)["State"]["Running"] for c in running), 30, "the containers run again")
    resolved = time.monotonic()
    wait_until(lambda: microseg.json("status")["quarantined"] == 0, 10, "everybody is known")
    resolved = time.monotonic() - resolved
    for c in running:
        c.refresh()
    verdicts = client.probe(f"tcp:{server.ip}:7001", f"tcp:{server.ip}:7000")
    expect(list(verdicts.values()).count("accepted") == 1 and verdicts[f"tcp:{server.ip}:7001"] == "accepted", f"afterwards: {verdicts}")
    joins, calls = proxy.times("Join"), [call.ms for call in proxy.calls]
    proxy.close()
    figures = (f"{RESTARTED} containers: dockerd answers after {up:.1f} s; {len(calls)} driver calls meanwhile, the slowest {max(calls):.0f} ms; "
               f"everybody known {resolved * 1e3:.0f} ms after")
    expect(len(joins) == RESTARTED and max(calls) <= 1000, f"{figures}; {joins}")
    expect(up <= RESTARTED + 5, figures)
    found = settled(microseg)
    expect(not left and not found, f"{figures}; {left[:5]} {found[:5]}")
    return figures


@test("hanging API", alone=True)
def hanging_api(context):
    """The Engine API accepts and never answers: nobody waits for it, nobody gets more than quarantine."""
    host = context.own_host()
    hang = socket.socket(socket.AF_UNIX)
    hang.bind(host.shared + "/hang.sock")
    hang.listen(64)
    held = []

    def hold():
        while True:
            try:
                held.append(hang.accept()[0])
            except OSError:
                return
    threading.Thread(target=hold, daemon=True).start()
    microseg = Legacy(host, context.bin, "--docker-socket", "/run/lab/hang.sock", "--driver-socket", "/run/lab/driver.sock").start()
    proxy = TimedProxy(host.path(DRIVER_SOCKET), host.shared + "/driver.sock")
    host.start_dockerd()
    load_image(host)
    host.api.create_network("hangs", microseg.driver, ["10.74.0.0/24"], {"microseg.policy": "allow client -> server : 7000"})
    server = container.serve(host, "hangs-server", "hangs", "tcp:7000", service="server")
    policy = {"RestartPolicy": {"Name": "always"}}
    clients = [container.start(host, f"hangs-{i}", "hangs", labels={"microseg.service": "client"}, **policy) for i in range(RESTARTED)]
    for c in clients[:2]:
        verdict = c.probe(f"tcp:{server.ip}:7000", timeout_ms=300)
        expect("accepted" not in verdict.values(), f"a container whose labels are not known reached the server: {verdict}")
    host.stop_dockerd()
    proxy.calls.clear()
    started = time.monotonic()
    host.start_dockerd()
    wait_until(lambda: all(host.api.inspect(c.id)["State"]["Running"] for c in clients), 40, "the containers run again")
    up = time.monotonic() - started
    calls = [call.ms for call in proxy.calls]
    proxy.close()
    status = microseg.json("status")
    figures = (f"dockerd's start with {RESTARTED} containers took {up:.1f} s beside a hanging API, {len(calls)} driver calls, the slowest {max(calls):.0f} ms; "
               f"{status['quarantined']} quarantined")
    expect(max(calls) <= 1000 and up <= RESTARTED + 5, figures)
    expect(status["quarantined"] == RESTARTED and status["docker"].startswith("unreachable"), f"{figures}: {status}")
    hang.close()
    for connection in held:
        connection.close()
    return figures


@test("plugin", engines=ALL)
def plugin(context):
    """The managed plugin disabled, enabled, replaced by another build and upgraded from a registry, under connections."""
    host = context.own_host().start_dockerd()
    load_image(host)
    microseg = Managed(host, context.bin, MICROSEG_LOG_LEVEL="debug").create(context.bin).enable()
    client, server, stranger = trio(host, microseg, "plugged", "10.75.0.0/24")
    streams, forbidden = Streams(client, server, 7001, "plugged"), Forbidden(stranger, server.ip + ":7000")
    started = time.monotonic()
    wait_until(streams.flowing, 5, "the streams flow")
    held = segment.snapshot(host)
    microseg.disable()
    expect(segment.snapshot(host) == held, "docker plugin disable changed what the kernel holds")
    microseg.enable()
    again = settled(microseg)
    expect(not again, f"after docker plugin enable: {again[:5]}")
    first = container.start(host, "plugged-first", "plugged", service="client")
    # An upgrade as it can be done without a registry: the same name, other files.
    microseg.disable()
    host.docker("plugin", "rm", "-f", microseg.name)
    microseg.create(context.bin).enable()
    upgraded = settled(microseg)
    expect(not upgraded, f"after the exchange: {upgraded[:5]}")
    # And with one, as Docker means it.
    before = inspect_plugin(host, microseg)
    newer = PluginRegistry(host).push("microseg:newer", microseg.changed())
    microseg.disable()
    host.docker("plugin", "upgrade", "--skip-remote-check", "--grant-all-permissions", microseg.name, newer)
    after = inspect_plugin(host, microseg)
    expect(after["Config"] != before["Config"], f"docker plugin upgrade changed nothing: {after}")
    expect(after["Settings"] == before["Settings"], f"docker plugin upgrade changed settings from {before['Settings']} to {after['Settings']}")
    microseg.enable()
    upgraded = settled(microseg)
    expect(not upgraded, f"after docker plugin upgrade: {upgraded[:5]}")
    late = container.start(host, "plugged-late", "plugged", service="client")
    for c in (first, late):
        c.remove()
    seconds = time.monotonic() - started
    unharmed = streams.stop()
    dialled, accepted = forbidden.stop(server)
    for c in (client, server, stranger):
        c.remove()
    host.api.call("DELETE", "/networks/plugged")
    found = settled(microseg)
    figures = (f"disabled, enabled, exchanged and upgraded in {seconds:.1f} s: {unharmed['tcp'][1]} of {unharmed['tcp'][0]} TCP and {unharmed['udp'][1]} of "
               f"{unharmed['udp'][0]} UDP packets lost, {accepted} of {dialled} forbidden connections delivered, {len(found)} leftovers")
    expect_unharmed(unharmed, figures, seconds * 0.9)
    expect(accepted == 0 and not found, f"{figures}: {found[:5]}")
    return figures


def inspect_plugin(host, microseg):
    return json.loads(host.docker("plugin", "inspect", microseg.name).stdout)[0]


def settled(microseg, timeout=3):
    deadline = time.monotonic() + timeout
    while (found := segment.differences(microseg)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
