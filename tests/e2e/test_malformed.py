"""Ten malformed inputs of every kind, at the daemon itself and by docker network create: each is answered with an error that says
what is wrong, and nothing that was there before is lost."""

import json
import os
import shutil
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from lab import container, driver, segment
from lab.authorization import authorized_by
from lab.engine_api import wait_until
from lab.host import read
from lab.image import IMAGE
from lab.microsegd import DriverError, Legacy
from lab.registry import ALL, expect, test

POLICY = "allow web -> db : 5432"
ID = "ab" * 32


def raw_socket(path, data, timeout=5):
    """What comes back for bytes that are no proper request; half of it is closed so that the server sees their end."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(path)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, OSError):
            pass  # refused before all of it was sent; the answer may be there all the same
        out = b""
        try:
            while chunk := s.recv(65536):
                out += chunk
        except ConnectionResetError:
            pass
        return out


HTTP = [
    ("no request line", b"hello\r\n\r\n"),
    ("a line without an end", b"POST /NetworkDriver.Join HTTP/1.1" + b"x" * 200_000),
    ("no such version", b"POST /NetworkDriver.Join HTTP/9.9\r\nHost: x\r\n\r\n"),
    ("endless headers", b"POST /NetworkDriver.Join HTTP/1.1\r\n" + b"A: b\r\n" * 100_000 + b"\r\n"),
    ("a header without a colon", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost x\r\n\r\n"),
    ("a length that is no number", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n{}"),
    ("a negative length", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}"),
    ("two lengths", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 900\r\n\r\n{}"),
    ("more promised than sent", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{}"),
    ("a bad chunk", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
]

JSON = [
    ("empty", "CreateNetwork", b""),
    ("cut short", "CreateNetwork", b'{"NetworkID": "'),
    ("no object", "CreateEndpoint", b"[]"),
    ("a number for an id", "DeleteNetwork", b'{"NetworkID": 7}'),
    ("no id", "Join", b'{"SandboxKey": "/x"}'),
    ("an id that is none", "CreateNetwork", b'{"NetworkID": "../../etc", "Options": {}, "IPv4Data": [], "IPv6Data": []}'),
    ("a pool that is none", "CreateNetwork", json.dumps({"NetworkID": ID, "Options": {}, "IPv6Data": [], "IPv4Data": [
        {"Pool": "10.0.0.0/99", "Gateway": "10.0.0.1/99"}]}).encode()),
    ("too deep", "CreateNetwork", b"[" * 100_000),
    ("not UTF-8", "CreateNetwork", b'{"NetworkID": "\xff\xfe"}'),
    ("an address that is none", "CreateEndpoint", json.dumps({"NetworkID": ID, "EndpointID": ID, "Options": {}, "Interface": {
        "Address": "10.0.0.300/24", "AddressIPv6": "", "MacAddress": ""}}).encode()),
]

# (what, driver option, what the error has to name)
OPTIONS = [
    ("an unknown key", {"microseg.polcy": POLICY}, "microseg.policy"),
    ("a mode that is none", {"microseg.mode": "enforced"}, "enforce"),
    ("a refusal that is none", {"microseg.deny": "ignore"}, "reject"),
    ("a VNI of text", {"microseg.vni": "blue"}, "vni"),
    ("a VNI too big", {"microseg.vni": "16777216"}, "vni"),
    ("an MTU too small", {"com.docker.network.driver.mtu": "100"}, "mtu"),
    ("an MTU of text", {"com.docker.network.driver.mtu": "big"}, "mtu"),
    ("a policy with an error", {"microseg.policy": "allow web db"}, "line 1"),
    ("an interface prefix too long", {"com.docker.network.container_iface_prefix": "averyveryverylongname"}, "prefix"),
    ("a second policy with an error", {"microseg.policy.more": "permit all"}, "microseg.policy.more"),
]

POLICIES = ["allow", "allow web", "allow web ->", "allow web - > db", "permit web -> db", "allow web -> db : 99999", "allow web -> db : 80-70",
            "allow web -> db : 80/xyz", "allow {tier=} -> db", "allow web -> db : 80,,81", "allow world -> host : 443"]


@test("malformed", engines=())
def malformed(context):
    host = context.own_host()
    microseg = Legacy(host, context.bin, "--docker-socket", "").start()
    network = driver.Network(microseg, options={"microseg.policy": POLICY}).create()
    endpoint = network.endpoint("web")
    endpoint.create()
    driver.make_sandboxes(host, [endpoint])
    endpoint.join()
    driver.plug(host, [endpoint])
    kept = segment.snapshot(host)
    pid = microseg.process.pid
    counted = {}

    for path in ("/run/docker/plugins/microseg.sock", "/run/microseg/api.sock"):
        for what, data in HTTP:
            answer = raw_socket(host.path(path), data)
            # A request cut short may be left unanswered: there is nobody to answer it to. All others get a 4xx or 5xx.
            status = answer.split(b" ")[1][:1] if answer.startswith(b"HTTP/1.1 ") else b""
            expect(status in (b"4", b"5") or (not answer and what == "more promised than sent"),
                   f"HTTP, {what}, at {path}: answered {answer[:200]!r}, expected an error status")
            counted["HTTP"] = counted.get("HTTP", 0) + 1
    for what, method, data in JSON:
        status, answer = microseg.raw("/NetworkDriver." + method, data)
        expect(status == 400 and json.loads(answer).get("Err"), f"JSON, {what}: answered {status} {answer[:200]!r}, expected 400 and Err")
        counted["JSON"] = counted.get("JSON", 0) + 1
    status, answer = microseg.raw("/NetworkDriver.NoSuchMethod", b"{}")
    expect(status == 404, f"an unknown method: answered {status} {answer[:200]!r}, expected 404")
    for what, options, named in OPTIONS:
        try:
            driver.Network(microseg, "10.71.0.0/16", options).create()
            expect(False, f"options, {what}: the network was made")
        except DriverError as error:
            expect(named in str(error), f"options, {what}: answered '{error}', expected it to name {named}")
        counted["options"] = counted.get("options", 0) + 1
    for text in POLICIES:
        done = microseg.cli("policy", "apply", network.id, "-", input=text, check=False)
        expect(done.returncode == 1 and "line 1" in done.stderr,
               f"policy '{text}': exit {done.returncode}, said '{done.stderr.strip()}'")
        counted["policy"] = counted.get("policy", 0) + 1

    expect(microseg.process.poll() is None and microseg.process.pid == pid, "the daemon ended")
    expect(segment.snapshot(host) == kept, f"the kernel's state changed: {segment.snapshot(host)} was {kept}")
    counted["database"] = databases(host, microseg, kept)
    found = segment.differences(microseg)
    expect(not found, f"afterwards: {found}")
    return ", ".join(f"{n} {kind}" for kind, n in counted.items()) + ": all answered with an error, nothing lost"


def databases(host, microseg, kept):
    """Each damage is refused with its name and a remedy, the kernel keeps what it holds, and the good file works again."""
    directory = os.path.join(host.work, "state")
    microseg.stop()
    good = os.path.join(host.work, "good-state")
    shutil.copytree(directory, good)
    name = max((f for f in os.listdir(good) if not f.endswith(("-wal", "-shm", ".lock"))), key=lambda f: os.path.getsize(os.path.join(good, f)))

    def write(change):
        def damage(path):
            with open(path, "rb") as f:
                data = bytearray(f.read())
            data = change(data)
            with open(path, "wb") as f:
                f.write(data)
        return damage

    def sql(*statements):
        def damage(path):
            with closing(sqlite3.connect(path)) as db, db:  # closed, it is all in one file
                for statement in statements:
                    db.execute(statement)
        return damage
    with closing(sqlite3.connect(f"file:{good}/{name}?mode=ro", uri=True)) as db:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table' and name not like 'sqlite%'")]
    busiest = next(t for t in tables if "network" in t)
    damages = [
        ("not a database", write(lambda d: b"this is no database, it is a letter to whoever finds it. " * 40)),
        ("its head overwritten", write(lambda d: b"\0" * 100 + d[100:])),
        ("cut in half", write(lambda d: d[:len(d) // 2])),
        ("cut inside a page", write(lambda d: d[:4096 + 1000])),
        ("random bytes in the middle", write(lambda d: d[:4096] + os.urandom(len(d) - 4096))),
        ("a newer version of the schema", sql("pragma user_version = 9999")),
        ("a table missing", sql(f"drop table {busiest}")),
        ("nonsense in a row", sql(f"update {busiest} set body = 'nonsense'")),
        ("a directory instead of a file", lambda path: (os.unlink(path), os.mkdir(path))),
        ("a database of something else", lambda path: (os.unlink(path), sql("create table poems (text)")(path))),
    ]
    for what, damage in damages:
        shutil.rmtree(directory + "/x", ignore_errors=True)
        for file in os.listdir(directory):
            path = os.path.join(directory, file)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for file in os.listdir(good):
            shutil.copy2(os.path.join(good, file), directory)
        with closing(sqlite3.connect(os.path.join(directory, name))) as db:
            db.execute("pragma wal_checkpoint(truncate)")
        damage(os.path.join(directory, name))
        for file in os.listdir(directory):
            if file.endswith(("-wal", "-shm")):
                os.unlink(os.path.join(directory, file))
        open(microseg.log, "w").close()
        microseg.start(wait=False)
        try:
            said = wait_until(lambda: refused(microseg), 5, "x")
        except TimeoutError:
            said = ""
        expect(said and name in said, f"database, {what}: expected a refusal that names {name}; the daemon "
               f"{'ended' if microseg.process.poll() is not None else 'runs'} and logged: {read(microseg.log)[-600:]}")
        microseg.stop()
        now = segment.snapshot(host)
        expect(now == kept, f"database, {what}: the kernel's state changed to {now} from {kept}")
    shutil.rmtree(directory + "/x", ignore_errors=True)
    for file in os.listdir(directory):
        path = os.path.join(directory, file)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    for file in os.listdir(good):
        shutil.copy2(os.path.join(good, file), directory)
    microseg.start()
    return len(damages)


def refused(microseg):
    """What the daemon says of its state: at the end of its log when it gave up, or in its status when it stayed."""
    if microseg.process.poll() is not None:
        return read(microseg.log)
    done = microseg.cli("status", check=False)
    return done.stdout if "failed" in done.stdout else ""


LABELS = ["allow", "allow web", "allow web ->", "allow web - > db", "permit web -> db", "allow web -> db : 99999", "allow web -> db : 80-70",
          "allow web -> db : 80/xyz", "allow {tier=} -> db", "allow world -> host : 53/udp"]


@test("malformed labels")
def malformed_labels(context):
    host, microseg = context.machine()
    quarantined = 0
    for i, text in enumerate(LABELS):
        name = f"bad{i}"
        host.api.create_network(name, microseg.driver, [f"10.8{i}.0.0/24"], labels={"microseg.policy": text})
        c = container.start(host, name + "-web", name, service="web")

        def seen():
            found = next(n for n in microseg.json("networks")["networks"] if n["name"] in (name, ""))
            return found if found["state"].startswith("policy error") else None
        state = wait_until(seen, 5, f"label '{text}' is reported")
        status = microseg.json("status")
        endpoint = next(e for e in microseg.json("endpoints")["endpoints"] if e["id"] == c.endpoint)
        expect(any(name in p or state["id"][:12] in p for p in status["problems"]), f"label '{text}': not among {status['problems']}")
        expect(endpoint["class"] == 0 and endpoint["quarantined"], f"label '{text}': its endpoint is {endpoint}")
        quarantined += 1
        c.remove()
        host.api.call("DELETE", "/networks/" + name)
    expect(microseg.json("status")["problems"] == [], f"afterwards: {microseg.json('status')['problems']}")
    return f"{quarantined} networks with a broken policy in their labels: all quarantined, all reported by status and log"


# Two names and fifteen selectors; and what is wrong with that, and with a typing error, as `docker network create` says it.
TOO_BIG = "allow a -> b\n" + "\n".join(f"allow {{l{n}}} -> b" for n in range(15))
REFUSED = [({"microseg.policy": TOO_BIG}, "98304 classes"), ({"microseg.policy": "allow web > api"}, "line 1, column 11: expected '->'"),
           ({"microseg.polcy": "allow web -> api"}, "microseg.policy")]


@test("refused at create", engines=ALL)
def refused_at_create(context):
    host, microseg = context.machine()
    for options, why in REFUSED:
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        done = host.docker("network", "create", "-d", microseg.driver, *flags, "wrong", check=False)
        expect(done.returncode != 0 and why in done.stderr, f"docker network create with {options}: exit {done.returncode}, said {done.stderr}")
    networks = host.docker("network", "ls", "-q", "--filter", "name=wrong").stdout.split()
    expect(not networks and microseg.json("networks")["networks"] == [], f"left behind: {networks} {microseg.json('networks')}")
    return f"{len(REFUSED)} networks refused by docker network create, 98304 classes with that sum among them; 0 left behind"


@test("authorization", engines=ALL)
def authorization(context):
    """The same and what is wrong in labels, said by dockerd --authorization-plugin; all else goes on as without it."""
    host, microseg = context.machine()
    in_labels = [({"microseg.policy": TOO_BIG}, "98304 classes"), ({"microseg.policy.more": "allow web > api"}, "label microseg.policy, line 1, column 11")]
    with authorized_by(host, microseg.driver):
        for flag, rows in (("-o", REFUSED), ("--label", in_labels)):
            for values, why in rows:
                flags = [part for key, value in values.items() for part in (flag, f"{key}={value}")]
                done = host.docker("network", "create", "-d", microseg.driver, *flags, "wrong", check=False)
                expect(done.returncode != 0 and why in done.stderr and "authorization denied by plugin " + microseg.driver in done.stderr,
                       f"docker network create with {flag} {values}: exit {done.returncode}, said {done.stderr}")
        made = [("ours", "-d", microseg.driver, "-o", "microseg.policy=allow web -> api"), ("theirs", "-d", "bridge", "--label", "microseg.policy=allow web > api")]
        for name, *flags in made:
            host.docker("network", "create", *flags, name)
        # Docker tells requests and answers whole, as long as they are.
        long = host.api.call("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], "Labels": {"long": "x" * 900_000}}, name="long")["Id"]
        listed = host.api.call("GET", "/containers/json?all=1")
        expect(any(c["Id"] == long and len(c["Labels"]["long"]) == 900_000 for c in listed), f"containers listed: {[c['Id'] for c in listed]}")
        host.api.remove(long)
        host.docker("network", "rm", *(name for name, *_ in made))
        microseg.kill()
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            waiting = pool.submit(host.api.call, "GET", "/networks")
            microseg.start()
            waiting.result()
            waited = time.monotonic() - began
    networks = host.docker("network", "ls", "-q", "--filter", "name=wrong").stdout.split()
    expect(not networks and microseg.json("networks")["networks"] == [], f"left behind: {networks} {microseg.json('networks')}")
    return f"{len(REFUSED)} networks refused for options and {len(in_labels)} for labels by docker network create, with the parser's words; {len(made)} of {len(made)} others made, requests and answers of 900 kB passed, one that came while microsegd was down waited {waited:.1f} s"
