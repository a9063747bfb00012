"""Who reaches what beyond the network: containers with and without permission, others' containers, the host, the world."""

from lab.outside import BEYOND, EXCEPTED, EXCEPTION, HOST_PORT, INCLUDED, Outside, Table, look, resolves
from lab.registry import expect, test

ENGINES = ("20.10.24", "28.5.2")
POLICY = f"""
allow open -> web : 7000
allow open -> world : 8000, 8000/udp
allow open -> host : {HOST_PORT}
allow open -> {BEYOND} except {EXCEPTION} : 8002
"""

# published: web's port by the host's address; direct: by web's own address on the gateway bridge; host, bridge: a program
# on the host, by the host's address and the gateway bridge's; included, excepted: either side of the CIDR's exception.
WRITTEN = Table("""
from     published  loopback  direct  host  bridge  world  world-udp  other-port  included  excepted  dns  dns-tcp
open     +          .         -       +     +       +      +          -           +         -         +    +
closed   -          .         -       -     -       -      -          -           -         -         -    -
host     +          +         +       .     .       .      .          .           .         .         .    .
world    +          .         -       .     .       .      .          .           .         .         .    .
bridged  +          .         -       .     .       .      .          .           .         .         .    .
overlaid +          .         -       .     .       .      .          .           .         .         .    .
""")


def targets(outside, published, direct):
    world, here = outside.world_address, outside.address
    return {"published": f"tcp:{here}:{published}", "loopback": f"tcp:127.0.0.1:{published}", "direct": f"tcp:{direct}:7000",
            "host": f"tcp:{here}:{HOST_PORT}", "bridge": f"tcp:{outside.host_gateway()}:{HOST_PORT}",
            "world": f"tcp:{world}:8000", "world-udp": f"udp:{world}:8000", "other-port": f"tcp:{world}:8001",
            "included": f"tcp:{INCLUDED}:8002", "excepted": f"tcp:{EXCEPTED}:8002", "dns": f"udp:{world}:53",
            "dns-tcp": f"tcp:{world}:53"}


def foreigners(outside):
    """Containers that are none of ours: on Docker's bridge and, by a Swarm of one, on its overlay."""
    overlay = outside.overlay()
    return {"bridged": outside.start("bridged", "bridge"), "overlaid": outside.start("overlaid", overlay)}


def watched(outside, others, published, direct):
    """What foreigners, the host and the world see of each other, to be compared with and without microseg."""
    places = {**others, "host": outside.here, "world": outside.world}
    return look(places, targets(outside, published, direct))


@test("north lab", engines=ENGINES)
def lab(context):
    """The lab itself, by plain Docker: everything that a test takes for refused by microseg is open without."""
    outside = Outside(context, docker_first=True)
    others = foreigners(outside)
    plain = outside.start("plain", "bridge", ports={"7000/tcp": 8180}, listen=("tcp:7000", "udp:7000"))
    on_overlay = outside.start("served", "foreign-overlay", ports={"7000/tcp": 8181}, listen=("tcp:7000",))
    seen = watched(outside, others, 8180, plain.ip)
    also = watched(outside, others, 8181, outside.gateway_address(on_overlay))
    expected = Table("""
        from     published  loopback  host  bridge  world  world-udp  other-port  included  excepted  dns  dns-tcp
        bridged  +          -         +     +       +      +          +           +         +         +    +
        overlaid +          -         +     +       +      +          +           +         +         +    +
        host     +          +         +     +       +      +          +           +         +         +    +
        world    +          -         +     +       +      +          +           +         +         +    +
    """)
    found = [f"plain: {line}" for line in expected.differences(seen)] + \
            [f"overlay: {line}" for line in expected.differences(also)]
    figures = f"{len(seen) + len(also)} cells by plain Docker, {len(found)} differences"
    expect(not found, f"{figures}: {found}")
    outside.count(forbidden=8003)
    others["bridged"].probe(f"udp:{outside.world_address}:8003")
    expect(outside.counted("forbidden") == 1, f"the world counts packets: {outside.counted('forbidden')} of 1")
    return figures


@test("north matrix", engines=ENGINES)
def matrix(context):
    outside = Outside(context, docker_first=True)
    others = foreigners(outside)
    plain = outside.start("plain", "bridge", ports={"7000/tcp": 8180}, listen=("tcp:7000",))
    before = watched(outside, others, 8180, plain.ip)

    outside.microseg.start()
    api = outside.host.api
    api.create_network("north", outside.microseg.driver, ["10.70.0.0/24"], {"microseg.policy": POLICY})
    web = outside.start("web", "north", "web", {"7000/tcp": 8080}, ("tcp:7000",))
    sources = {name: outside.start(name, "north", name) for name in ("open", "closed")}
    places = {**sources, **others, "host": outside.here, "world": outside.world}
    aims = targets(outside, 8080, outside.gateway_address(web))
    seen = look(places, aims)
    found = WRITTEN.differences(seen)

    after = watched(outside, others, 8180, plain.ip)
    changed = [f"{source} -> {target}: {before[source, target]} without microseg, {mark} with"
               for (source, target), mark in after.items() if before[source, target] != mark]
    # The host and the world reach a container that publishes nothing as little as they may.
    for name, made in sources.items():
        direct = f"icmp:{outside.gateway_address(made)}"
        for place in (outside.here, outside.world):
            if place.probe(direct)[direct] == "accepted":
                found.append(f"{place.name} -> {name} by ping: accepted")
    unresolved = [name for name, made in sources.items() if not resolves(outside.host, made, "web")]
    rows = {row["from"] for row in web.received()}
    figures = (f"{len(WRITTEN.expected)} cells, {len(found)} differences; {len(after)} cells of others before and after, "
               f"{len(changed)} changed; names resolve for {len(sources) - len(unresolved)} of {len(sources)}")
    expect(not found and not changed and not unresolved,
           f"{figures}: {found + changed} unresolved {unresolved}, web heard from {sorted(rows)}")
    return figures
