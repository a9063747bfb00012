"""Docker Engines by version: where their files come from, and what was really found there."""

import functools
import os
import re
import subprocess

CACHE = os.environ.get("MICROSEG_LAB_CACHE", "/var/cache/microseg-lab")
REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))
DEBOOTSTRAP = os.path.join(REPOSITORY, "tests/lib/debootstrap.sh")
PACKAGES = ["docker.io", "docker-compose", "iptables", "nftables", "iproute2", "ca-certificates"]
SUITES = {"20.10.24": "bookworm", "26.1.5": "trixie", "28.5.2": "sid"}


class Engine:
    """One version: `tree` is a Debian root, or "" for the machine's own."""

    def __init__(self, wanted, tree):
        self.wanted = wanted
        self.tree = tree
        self.version = version_in(tree)

    def __str__(self):
        return self.version


def version_in(tree):
    where = ["chroot", tree] if tree else []
    out = subprocess.run([*where, "/usr/sbin/dockerd", "--version"], capture_output=True, text=True)
    found = re.search(r"version (\d+\.\d+\.\d+)", out.stdout)
    return found.group(1) if found else ""


@functools.cache
def engine(wanted):
    """The engine asked for. Its suite may have moved on: `version` says what it is, and the caller prints it."""
    suite = SUITES[wanted]
    if suite == "bookworm" and version_in("") == wanted:
        return Engine(wanted, "")
    found = Engine(wanted, tree(suite))
    if not found.version:
        raise RuntimeError(f"no dockerd in {found.tree}: remove the directory and run again")
    return found


def tree(suite):
    """A Debian root with the suite's Docker Engine, made once and kept."""
    path = os.path.join(CACHE, suite)
    packages = PACKAGES if suite == "bookworm" else [*PACKAGES, "docker-cli"]  # a package of its own since Debian 13
    subprocess.run(["sh", DEBOOTSTRAP, suite, path, *packages], check=True)
    return path
