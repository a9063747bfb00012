"""The README's two commands from a clean checkout, what they print held against what the README says, and the way back."""

import functools
import json
import os
import re
import shutil
import subprocess
import time

from lab.engine_api import wait_until
from lab.engines import REPOSITORY, version_in
from lab.host import ENVIRONMENT
from lab.microsegd import API_SOCKET
from lab.registry import PRIMARY, expect, test

ALLOWED = {("web", "api", "8080"), ("api", "db", "5432")}
BUILD_SECONDS = 1200  # where the cache has nothing to offer


def block(readme, after, language):
    """The lines of the first code block of that language after a text."""
    found = re.search(f"{re.escape(after)}.*?^```{language}\n(.*?)^```", readme, re.S | re.M)
    expect(found, f"README.md has no ```{language} block after '{after}'")
    return found[1].splitlines()


@functools.cache
def checkout(work):
    """A clone of what is committed, and nothing else. Made once; the first quickstart builds in it."""
    path, home = os.path.join(work, "checkout"), os.path.join(work, "home")
    os.makedirs(home)
    with open(os.path.join(home, ".gitconfig"), "w") as f:
        f.write("[safe]\n\tdirectory = *\n")  # the checkout under test may be another user's
    subprocess.run(["git", "clone", "-q", REPOSITORY, path], check=True, env={**ENVIRONMENT, "HOME": home})
    return path


def compose_v2(host, home):
    """The Compose of the engine's own distribution where that is v2, a plugin of the docker command."""
    shipped = host.engine.tree + "/usr/libexec/docker/cli-plugins/docker-compose"
    if not host.engine.tree or not os.path.exists(shipped):
        return ""
    plugins = os.path.join(home, "cli-plugins")
    os.makedirs(plugins, exist_ok=True)
    shutil.copy2(shipped, plugins)
    return home


class Newcomer:
    """Somebody at the prompt of a clean checkout, with root and the host's engine; `inside` sits at the host itself."""

    def __init__(self, host, inside=False):
        self.host, self.checkout, self.inside = host, checkout(host.lab.work), inside
        self.prefix = os.path.join(host.work, "prefix")
        self.env = {**ENVIRONMENT, "HOME": os.path.join(host.work, "home"), "MICROSEG_PREFIX": self.prefix,
                    "MICROSEG_LOG_FILE": os.path.join(host.work, "microsegd.log")}
        if not inside:
            self.env["DOCKER_HOST"] = "unix://" + host.path("/run/docker.sock")
        os.makedirs(self.env["HOME"])
        if config := compose_v2(host, os.path.join(host.work, "docker")):
            self.env["DOCKER_CONFIG"] = config
        # The objects that tests/run has built come out of the cache: it knows paths relative to the checkout (stages.py).
        if shutil.which("ccache"):
            cache = subprocess.run(["ccache", "-k", "cache_dir"], capture_output=True, text=True, check=True).stdout.strip()
            self.env |= {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CCACHE_DIR": cache,
                         "CCACHE_BASEDIR": self.checkout, "CCACHE_NOHASHDIR": "1"}

    def types(self, line, status=0, timeout=120):
        """Runs the line; returns what is on the screen, and the seconds it took."""
        line = re.sub(r"^sudo ", "", line)  # we are root, and a machine may do without sudo
        started = time.monotonic()
        command = ["sh", "-c", f"cd {self.checkout} && {line}"]
        done = subprocess.run(self.host.enter(*command) if self.inside else command, env=self.env, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        expect(done.returncode == status, f"{line}: exit {done.returncode}, expected {status}:\n{done.stdout}")
        return done.stdout, time.monotonic() - started

    def microseg(self, arguments):
        socket = API_SOCKET if self.inside else self.host.path(API_SOCKET)
        return self.types(f"{self.prefix}/bin/microseg --api-socket {socket} {arguments}")[0]


def table(screen):
    """{(from, to, port): "allowed" or "refused"} of what the example's check printed."""
    lines = screen.splitlines()
    heads = [n for n, line in enumerate(lines) if re.match(r"from +to +\d", line)]
    expect(len(heads) == 1, f"quickstart printed no table:\n{screen}")
    ports, cells = lines[heads[0]].split()[2:], {}
    for line in lines[heads[0] + 1:]:
        if row := re.match(r"(\S+) +-> +(\S+) +(.*)", line):
            cells |= {(row[1], row[2], port): answer for port, answer in zip(ports, row[3].split(), strict=True)}
    return cells


def check_example(screen, readme):
    """Every pair on every port as the policy says, and the README's excerpt of the screen is true."""
    cells = table(screen)
    services = ("api", "db", "outsider", "web")
    want = {(a, b, port): "allowed" if (a, b, port) in ALLOWED else "refused"
            for a in services for b in services if a != b for port in ("80", "8080", "5432")}
    expect(cells == want, f"not what the policy says: {sorted(cells.items() ^ want.items())}")
    shown = {line.rstrip() for line in screen.splitlines()}
    untrue = [line for line in block(readme, "The first ends with a table like this one", "") if line not in shown | {"..."}]
    expect(not untrue, f"README.md shows lines that quickstart does not print: {untrue}\n{screen}")
    return [list(cells.values()).count(answer) for answer in ("allowed", "refused")]


def check_shop(newcomer, readme):
    """The network of the second command has the policy it was given, and the README's own policy can be applied to it."""
    newcomer.types("docker run -d --network shop --name api microseg-example serve api 8080 5432")
    try:
        listens = "docker exec api sh -c 'nc -w 1 127.0.0.1 8080 </dev/null && nc -w 1 127.0.0.1 5432 </dev/null' || true"
        wait_until(lambda: newcomer.types(listens)[0].split() == ["api:8080", "api:5432"], 20, "api listens")
        said = newcomer.types("docker run --rm --network shop --name web microseg-example probe api 8080 5432")[0]
        expect(re.fullmatch(r"8080 api:8080\n5432 refused .*\n", said), f"web -> api in shop, 8080 allowed: {said}")
        shown = newcomer.microseg("policy show shop")
        expect("allow web -> api : 8080" in shown, f"microseg policy show shop: {shown}")
        rules = os.path.join(newcomer.host.work, "rules.txt")
        with open(rules, "w") as f:
            f.write("\n".join(block(readme, "## Writing policy", "")) + "\n")
        newcomer.microseg("policy apply shop " + rules)
        shown = newcomer.microseg("explain web db 5432 --network shop || true")
        expect("refused" in shown and "deny web -> db" in shown, f"the README's policy denies web -> db: {shown}")
    finally:
        newcomer.types("docker rm -f api")


def expect_healthy(newcomer):
    """The upgraded daemon took over what the one before has left: it is well, and knows all containers of the example."""
    wait_until(lambda: "unreachable" not in newcomer.microseg("status"), 20, "microseg reaches Docker")
    said = json.loads(newcomer.microseg("status --json"))
    expect(said["health"] == "ok" and said["endpoints"] == 4, f"after an upgrade: {said}")


def left_behind(newcomer):
    """What `--remove` should have taken away: one sentence each."""
    host, found = newcomer.host, []
    for what, command in (("plugin", "docker plugin ls -q"), ("container", "docker ps -aq"), ("image", "docker image ls -q")):
        if out := host.run("sh", "-c", command).stdout.split():
            found.append(f"{what} {out}")
    networks = host.docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    # docker_gwbridge is Docker's own: it makes that bridge for the first network that needs one, and keeps it.
    found += [f"network {n}" for n in networks if n not in ("bridge", "host", "none", "docker_gwbridge")]
    for directory in ("/run/microseg", "/var/lib/microseg"):  # the lab has mounted the second
        if out := host.run("sh", "-c", f"find {directory} -mindepth 1 2>/dev/null; true").stdout.split():
            found.append(f"files {out}")
    found += [f"socket {path}" for path in host.run("find", "/run/docker/plugins", "-name", "microseg*").stdout.split()]
    found += [f"process {line}" for line in host.run("sh", "-c", "cat /proc/[0-9]*/comm").stdout.splitlines() if line == "microsegd"]
    found += [f"file {os.path.join(d, f)}" for d, _, files in os.walk(newcomer.prefix) for f in files]
    found += [f"mount {line}" for line in host.run("cat", "/proc/mounts").stdout.splitlines()
              if "microseg" in line.split()[1] and line.split()[1] != "/var/lib/microseg"]
    found += [f"link {name}" for name in re.findall(r"^\d+: (ms\w+)", host.run("ip", "-o", "link").stdout, re.M)]
    found += [f"nft {line}" for line in host.run("nft", "list", "tables").stdout.splitlines() if "microseg" in line]
    return found


@test("quickstart", engines=("20.10.24", PRIMARY))
def quickstart(context):
    host = context.own_host().start_dockerd()
    newcomer = Newcomer(host)
    with open(os.path.join(newcomer.checkout, "README.md")) as f:
        readme = f.read()
    commands = block(readme, "<!-- the two commands -->", "sh")
    expect(len(commands) == 2, f"README.md promises two commands and has {commands}")

    screen, seconds = newcomer.types(commands[0], timeout=BUILD_SECONDS)
    allowed, refused = check_example(screen, readme)
    newcomer.types(commands[1])
    check_shop(newcomer, readme)

    # Again is an upgrade: what runs goes on under the new plugin.
    _, again = newcomer.types("plugin/quickstart --no-example", timeout=BUILD_SECONDS)
    expect_healthy(newcomer)
    said, _ = newcomer.types("COMPOSE_PROJECT_NAME=microseg-quickstart examples/three-tier/check")
    check_example(said, readme)

    # The way back does not take networks away that are somebody's own.
    said, _ = newcomer.types("plugin/quickstart --remove", status=1)
    expect("docker network rm shop" in said, f"--remove with a network in use should name it: {said}")
    newcomer.types("docker network rm shop")
    _, removal = newcomer.types("plugin/quickstart --remove")
    left = left_behind(newcomer)
    expect(not left, f"left behind by --remove: {left}")
    newcomer.types("plugin/quickstart --remove")  # nothing to do is no failure

    compose = newcomer.types("docker compose version || docker-compose version --short")[0].split("\n")
    compose = next(line for line in reversed(compose) if re.search(r"\d+\.\d+\.\d+", line))
    return (f"{seconds:.0f} s with the build, {again:.0f} s as an upgrade, {removal:.0f} s to remove, 0 left behind; "
            f"{allowed} allowed, {refused} refused, 0 not as declared; Compose {re.search(r'[0-9.]+[0-9]', compose)[0]}")


def service(context):
    """microsegd as a service of the engine's own host, where it and Docker are found at their usual places."""
    host = context.own_host().start_dockerd()
    newcomer = Newcomer(host, inside=True)
    screen, seconds = newcomer.types("plugin/quickstart --legacy", timeout=BUILD_SECONDS)
    with open(os.path.join(newcomer.checkout, "README.md")) as f:
        allowed, refused = check_example(screen, f.read())
    said, _ = newcomer.types("plugin/quickstart --managed", status=1)
    expect("first run" in said, f"the plugin beside the service should be refused with a remedy: {said}")
    _, again = newcomer.types("plugin/quickstart --legacy --no-example")
    expect_healthy(newcomer)
    said, _ = newcomer.types("COMPOSE_PROJECT_NAME=microseg-quickstart examples/three-tier/check")
    expect(table(said) == table(screen), f"after the upgrade:\n{said}")
    newcomer.types("plugin/quickstart --remove")
    left = left_behind(newcomer)
    expect(not left, f"left behind by --remove: {left}")
    return (f"{seconds:.0f} s, {again:.0f} s as an upgrade, 0 left behind; {allowed} allowed, {refused} refused, "
            "0 not as declared")


# The host has to have a compiler: only one that is made of this machine's own files does.
if os.path.exists("/usr/sbin/dockerd") and version_in("") == "20.10.24":
    test("quickstart --legacy", engines=("20.10.24",))(service)
