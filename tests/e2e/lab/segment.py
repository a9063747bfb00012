"""What the kernel holds for microseg: shown when a test fails, and compared with what the daemon says it wants."""

import glob
import json
import os
import subprocess


def in_netns(path, *command):
    return subprocess.run(["nsenter", "--net=" + path, "--", *command], capture_output=True, text=True, timeout=30)


def segments(host):
    """{file name below /run/microseg/netns: path as seen from here}"""
    return {os.path.basename(p): p for p in sorted(glob.glob(host.path("/run/microseg/netns") + "/*"))}


def dump(host):
    """Every segment's rules, links, routes, neighbours and connections, as text."""
    out = []
    for name, path in segments(host).items():
        for command in ("nft list ruleset", "ip -d link", "ip address", "ip route", "ip -6 route", "ip neigh",
                        "bridge fdb", "conntrack -L"):
            done = in_netns(path, *command.split())
            out.append(f"--- segment {name}: {command}\n{done.stdout}{done.stderr}")
    for command in ("nft list table inet microseg", "ip address"):
        done = in_netns(f"/proc/{host.holder}/ns/net", *command.split())
        out.append(f"--- the host itself: {command}\n{done.stdout}{done.stderr}")
    return "\n".join(out)


def table(path):
    """The segment's table: {"sets": {name: {key: data}}, "chains": n}. A key is a tuple of what nft shows."""
    done = in_netns(path, "nft", "-j", "list", "table", "inet", "microseg")
    if done.returncode != 0:
        return None
    sets, rules = {}, 0
    for entry in json.loads(done.stdout)["nftables"]:
        rules += "rule" in entry
        for kind in ("set", "map"):
            if kind in entry:
                sets[entry[kind]["name"]] = dict(map(element, entry[kind].get("elem", [])))
    return {"sets": sets, "rules": rules}


def element(entry):
    key, data = entry if isinstance(entry, list) else (entry, None)
    if isinstance(key, dict) and "elem" in key:
        key = key["elem"]["val"]
    if isinstance(key, dict) and "concat" in key:
        key = tuple(json.dumps(k) if isinstance(k, dict) else k for k in key["concat"])
    return (key if isinstance(key, tuple) else (key,)), data


def address(prefix):
    return prefix.split("/")[0] if prefix else None


def differences(microseg):
    """Where the kernel is not what the daemon's API says: one sentence each; empty when all agrees. Orphans (what
    belongs to no endpoint and no network) are among them."""
    host, found = microseg.host, []
    networks = microseg.json("networks")["networks"]
    endpoints = [e for e in microseg.json("endpoints")["endpoints"] if e["phase"] == "joined"]
    there = segments(host)
    wanted = {n["id"][:12] for n in networks}
    found += [f"orphan: segment {name} belongs to no network" for name in there if name not in wanted]
    found += [f"missing: segment {name}" for name in wanted if name not in there]
    found += [f"network {n['name'] or n['id'][:12]}: state {n['state']}" for n in networks if n["state"] != "ok"]
    loose = json.loads(host.run("ip", "-j", "link").stdout)
    found += [f"orphan: link {link['ifname']} in the host's namespace" for link in loose
              if link["ifname"].startswith("ms")]
    for name in sorted(wanted & set(there)):
        found += [f"segment {name}: {text}"
                  for text in segment_differences(there[name], [e for e in endpoints if e["network"][:12] == name])]
    return found


def segment_differences(path, endpoints):
    held = table(path)
    if held is None:
        return ["no table inet microseg"]
    wanted = {"tag4": {}, "tag6": {}, "class4": {}, "class6": {}}
    routes, neighbours = set(), set()
    for e in endpoints:
        for family in "46":
            ip = address(e["ipv" + family])
            if ip:
                wanted["tag" + family][(e["link"], ip)] = e["class"]
                wanted["class" + family][(ip,)] = e["class"]
                routes.add((ip, e["link"]))
                neighbours.add((ip, e["link"], e["mac"]))
    found = []
    for name, elements in wanted.items():
        for key in sorted(elements.items() ^ held["sets"].get(name, {}).items(), key=str):
            side = "missing" if key in elements.items() else "orphan or wrong"
            found.append(f"{side}: element {key} of {name}")
    links = {link["ifname"]: link for link in json.loads(in_netns(path, "ip", "-j", "link").stdout)}
    for e in endpoints:
        link = links.get(e["link"])
        if not link:
            found.append(f"missing: link {e['link']}")
        elif "UP" not in link["flags"] or link.get("ifalias") != "microseg:" + e["id"]:
            found.append(f"wrong: link {e['link']} {link['flags']} {link.get('ifalias')}")
    found += [f"orphan: link {name}" for name in links if name.startswith("ms") and name not in {e["link"] for e in endpoints}]
    held_routes = set()
    for family in "46":
        for route in json.loads(in_netns(path, "ip", "-j", "-" + family, "route").stdout or "[]"):
            if route.get("dev", "").startswith("ms") and not route["dst"].startswith("fe80") and \
                    route["dst"] in {ip for ip, _ in routes} | {address(route["dst"])}:
                held_routes.add((route["dst"], route["dev"]))
    found += [f"missing: route {r}" for r in sorted(routes - held_routes)]
    found += [f"orphan: route {r}" for r in sorted(held_routes - routes) if not is_gateway(path, r)]
    held_neighbours = {(n["dst"], n["dev"], n.get("lladdr")) for n in json.loads(in_netns(path, "ip", "-j", "neigh").stdout or "[]")
                       if "PERMANENT" in n["state"]}
    found += [f"missing: neighbour {n}" for n in sorted(neighbours - held_neighbours)]
    found += [f"orphan: neighbour {n}" for n in sorted(held_neighbours - neighbours)]
    return found


def is_gateway(path, route):
    """The kernel shows a route for each address of a link itself."""
    ip, dev = route
    for link in json.loads(in_netns(path, "ip", "-j", "address", "show", "dev", dev).stdout or "[]"):
        if ip in {a["local"] for a in link.get("addr_info", [])}:
            return True
    return False


def snapshot(host):
    """Everything a restart must leave alone, per segment: sets, links and routes, without counters and generation."""
    result = {}
    for name, path in segments(host).items():
        held = table(path)
        links = {l["ifname"]: (l["ifindex"], l["address"], tuple(l["flags"])) for l in json.loads(in_netns(path, "ip", "-j", "link").stdout)}
        result[name] = (held and held["sets"], links, in_netns(path, "ip", "route").stdout, in_netns(path, "ip", "-6", "route").stdout)
    return result
