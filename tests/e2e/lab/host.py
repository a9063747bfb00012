"""A lab host: network, mount, UTS, pid and cgroup namespaces of its own, with one dockerd in them.

    with Lab() as lab, lab.host("26.1.5") as host:
        host.docker("run", "-d", "--name", "web", IMAGE, "sleep", "1000")

Everything a host starts lives in its pid namespace and ends with its first process (holder.py), also when this
process is killed. What then remains are directories, which the next Lab removes.
"""

import atexit
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import engines
from .engine_api import EngineApi, wait_until

HERE = os.path.dirname(os.path.realpath(__file__))
CGROUP = "/sys/fs/cgroup"
PREFIX = "microseg-lab-"
# What every program in a host sees: nothing of the developer's own Docker settings, and the distribution's programs.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run/lab", "LANG": "C.UTF-8"}


def cgroup_mounts():
    """The machine's cgroup hierarchies: their names below /sys/fs/cgroup, or ["cgroup2"] for one unified one."""
    with open("/proc/self/mounts") as f:
        rows = [line.split() for line in f]
    if any(row[1] == CGROUP and row[2] == "cgroup2" for row in rows):
        return ["cgroup2"]
    return sorted(os.path.basename(row[1]) for row in rows
                  if row[2] in ("cgroup", "cgroup2") and os.path.dirname(row[1]) == CGROUP)


class Lab:
    """One test run: a work directory, a random name, and the hosts made under it."""

    def __init__(self, keep=False):
        sweep_leftovers()
        self.id = secrets.token_hex(3)
        self.work = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-{self.id}-")
        self.keep = keep
        self.hosts = []
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def host(self, version, name=None):
        host = Host(self, engines.engine(version), name or f"h{len(self.hosts) + 1}")
        self.hosts.append(host)
        return host

    def close(self):
        for host in self.hosts:
            host.close()
        self.hosts = []
        if not self.keep:
            shutil.rmtree(self.work, ignore_errors=True)


def sweep_leftovers():
    """Directories and cgroups of runs that were killed. A run's name holds its pid; a living one's are left alone."""
    names = [n for n in os.listdir(tempfile.gettempdir()) if n.startswith(PREFIX)]
    for name in names:
        pid = name[len(PREFIX):].split("-")[0]
        if pid.isdigit() and not os.path.exists("/proc/" + pid):
            shutil.rmtree(os.path.join(tempfile.gettempdir(), name), ignore_errors=True)
    for mount in cgroup_mounts():
        base = CGROUP if mount == "cgroup2" else f"{CGROUP}/{mount}"
        for name in os.listdir(base):
            pid = name[len(PREFIX):].split("-")[0] if name.startswith(PREFIX) else ""
            if pid.isdigit() and not os.path.exists("/proc/" + pid):
                remove_cgroup(os.path.join(base, name))


def remove_cgroup(path):
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # a process is still leaving; the next run sweeps


class Host:
    def __init__(self, lab, engine, name):
        self.lab, self.engine, self.name = lab, engine, name
        self.work = os.path.join(lab.work, name)
        self.shared = os.path.join(self.work, "shared")  # /run/lab inside
        self.dockerd = None
        self.holder = None
        self.closers = []
        os.makedirs(self.shared)
        self._start_holder()
        self.api = EngineApi(self.path("/run/docker.sock"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- namespaces ----

    def _start_holder(self):
        mounts = cgroup_mounts()
        self.cgroups = []
        for mount in mounts:
            path = os.path.join(CGROUP if mount == "cgroup2" else f"{CGROUP}/{mount}",
                                f"{PREFIX}{os.getpid()}-{self.lab.id}-{self.name}")
            os.mkdir(path)
            self.cgroups.append(path)
            if mount == "cpuset":
                for knob in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset is empty, and takes no process while it is
                    with open(f"{os.path.dirname(path)}/{knob}") as src, open(f"{path}/{knob}", "w") as dst:
                        dst.write(src.read())
                with open(path + "/cgroup.clone_children", "w") as f:
                    f.write("1")
        spec = {"work": self.work, "tree": self.engine.tree, "cgroups": mounts, "shared": self.shared,
                "source": engines.REPOSITORY, "name": self.name}
        self.holder_log = os.path.join(self.work, "holder.log")
        with open(self.holder_log, "w") as log:
            self.unshare = subprocess.Popen(
                self.join_cgroups("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork",
                                  "--kill-child", sys.executable, os.path.join(HERE, "holder.py"), json.dumps(spec)),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        if self.unshare.stdout.readline().strip() != "ready":
            self.unshare.wait()
            raise RuntimeError(f"host {self.name} did not come up: {read(self.holder_log)}")
        self.holder = children(self.unshare.pid)[0]

    def path(self, inside):
        """A path of the host, as seen from here. (A link like /var/run -> /run would lead to the machine's own.)"""
        if inside.startswith("/var/run/"):
            inside = inside[len("/var"):]
        return f"/proc/{self.holder}/root{inside}"

    def enter(self, *command):
        """The command line that runs `command` in the host."""
        return ["nsenter", "-t", str(self.holder), "-m", "-n", "-u", "-i", "-p", "-C", "--", *command]

    def run(self, *command, check=True, input=None, timeout=60, env=None):
        """Runs to the end. Returns the CompletedProcess, with text output."""
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, input=input, timeout=timeout,
                              env={**ENVIRONMENT, **(env or {})})
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stdout}{done.stderr}".strip())
        return done

    def spawn(self, *command, log, env=None):
        """Starts and returns a Process; its output goes to the file `log` of the work directory."""
        return Process(self.join_cgroups(*self.enter(*command)), os.path.join(self.work, log), env)

    def join_cgroups(self, *command):
        """Seen from inside, a process outside of the host's cgroups is at "/..", where runc finds no way."""
        return ["sh", "-c", "".join(f"echo $$ > {path}/cgroup.procs; " for path in self.cgroups) + 'exec "$@"', "sh",
                *command]

    # ---- dockerd ----

    def start_dockerd(self, *options, timeout=60):
        self.dockerd_options = options
        for stale in ("/run/docker.pid",):
            if os.path.exists(self.path(stale)):
                os.unlink(self.path(stale))
        self.dockerd = self.spawn("dockerd", *options, log="dockerd.log")
        self.wait_docker(timeout)
        return self

    def wait_docker(self, timeout=60):
        def answers():
            if self.dockerd.poll() is not None:
                raise RuntimeError("dockerd ended: " + tail(self.dockerd.log, 20))
            return self.api.ping()
        wait_until(answers, timeout, "dockerd answers")

    def stop_dockerd(self, sig=signal.SIGTERM, timeout=40):
        if self.dockerd:
            self.dockerd.stop(sig, timeout)
            self.dockerd = None

    def docker(self, *args, check=True, input=None, timeout=60):
        return self.run("docker", *args, check=check, input=input, timeout=timeout)

    def compose(self, *args, directory, check=True, timeout=120, env=None):
        """Compose as this engine's distribution ships it: 1.29 or v2."""
        tool = ["docker", "compose"] if os.path.exists(
            self.path("/usr/libexec/docker/cli-plugins/docker-compose")) else ["docker-compose"]
        return self.run("sh", "-c", 'cd "$0" && exec "$@"', directory, *tool, *args, check=check, timeout=timeout,
                        env=env)

    # ---- end ----

    def close(self):
        for closer in reversed(self.closers):
            try:
                closer()
            except Exception as error:  # the namespace goes anyway
                print(f"lab: closing {self.name}: {error}", file=sys.stderr)
        self.closers = []
        if self.unshare.poll() is None:
            self.unshare.stdin.close()  # holder.py ends, and with it all in its pid namespace
            try:
                self.unshare.wait(15)
            except subprocess.TimeoutExpired:
                self.unshare.kill()
                self.unshare.wait()
        for path in self.cgroups:
            deadline = time.monotonic() + 2
            while os.path.exists(path) and time.monotonic() < deadline:
                remove_cgroup(path)
        if not self.lab.keep:
            shutil.rmtree(self.work, ignore_errors=True)


class Process:
    """A long-running process inside a host. nsenter is its parent here; signals go to the process itself."""

    def __init__(self, command, log, env=None):
        self.log = log
        with open(log, "a") as out:
            self.parent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                           env={**ENVIRONMENT, **(env or {})}, start_new_session=True)
        self.pid = None
        deadline = time.monotonic() + 10
        while self.pid is None:  # nsenter forks after it has entered the pid namespace
            found = children(self.parent.pid)
            if found:
                self.pid = found[0]
            elif self.parent.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)}: did not start: {tail(log, 5)}")

    def poll(self):
        return self.parent.poll()

    def kill(self, sig=signal.SIGKILL):
        try:
            os.kill(self.pid, sig)
        except ProcessLookupError:
            pass

    def stop(self, sig=signal.SIGTERM, timeout=15):
        if self.parent.poll() is None:
            self.kill(sig)
            try:
                self.parent.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                self.parent.wait(10)
        return self.parent.returncode


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def tail(path, lines):
    return "\n".join(read(path).splitlines()[-lines:])
