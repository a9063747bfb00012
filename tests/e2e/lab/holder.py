"""The first process of a lab host: pid 1 of its own pid namespace, so that its end is the end of all in it.

Started by host.py as `unshare --net --mount --uts --pid --fork --kill-child --cgroup holder.py SPEC`. Builds the mount
namespace, says "ready" and then only reaps. Its standard input is a pipe whose other end is the test run: when that
closes, for whatever reason, the kernel ends dockerd, containerd, every shim, every container and the daemon under
test, and unmounts everything, because nothing but this namespace holds them.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys

SYS_PIVOT_ROOT = 155  # x86_64
libc = ctypes.CDLL(None, use_errno=True)


def sh(*args):
    subprocess.run(args, check=True)


def mount(*args):
    sh("mount", "-n", *args)


def mkdir(path):
    os.makedirs(path, exist_ok=True)
    return path


def mount_cgroups(root, names):
    """Fresh cgroup mounts: seen from our cgroup namespace their root is our own subtree."""
    base = root + "/sys/fs/cgroup"
    if names == ["cgroup2"]:
        mount("-t", "cgroup2", "cgroup2", base)
        mkdir(base + "/init")
        with open(base + "/init/cgroup.procs", "w") as f:
            f.write("1")
        with open(base + "/cgroup.controllers") as f:
            controllers = f.read().split()
        with open(base + "/cgroup.subtree_control", "w") as f:
            f.write(" ".join("+" + c for c in controllers))
        return
    mount("-t", "tmpfs", "-o", "mode=755", "cgroup", base)
    for name in names:
        target = mkdir(f"{base}/{name}")
        if name == "unified":
            mount("-t", "cgroup2", "cgroup2", target)
        else:
            mount("-t", "cgroup", "-o", "none,name=systemd" if name == "systemd" else name, "cgroup", target)


def build(spec):
    mount("--make-rprivate", "/")
    work = spec["work"]
    if spec["tree"]:
        # The cached tree is a lower layer and stays clean; what the host writes dies with it.
        layer = mkdir(work + "/layer")
        mount("-t", "tmpfs", "tmpfs", layer)
        root = mkdir(layer + "/root")
        options = f"lowerdir={spec['tree']},upperdir={mkdir(layer + '/upper')},workdir={mkdir(layer + '/work')}"
        mount("-t", "overlay", "-o", options, "overlay", root)
        mount("--rbind", "/dev", root + "/dev")
        mount("--bind", "/sys", root + "/sys")
        mount("-t", "proc", "proc", root + "/proc")
    else:
        root = ""
        mount("-t", "proc", "proc", "/proc")
    mount_cgroups(root, spec["cgroups"])

    # The whole of /run and all state are the host's own, so that every program runs with its default paths.
    resolv = os.path.realpath(root + "/etc/resolv.conf") if not root else root + "/etc/resolv.conf"
    stage = mkdir(work + "/run-stage")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", stage)
    for name in ("lab", "src", "lock"):
        mkdir(f"{stage}/{name}")
    mount("--bind", spec["shared"], stage + "/lab")
    mount("--bind", spec["source"], stage + "/src")
    mount("--move", stage, root + "/run")
    mkdir(root + "/run/docker/plugins")
    mount("-t", "tmpfs", "tmpfs", mkdir(root + "/var/lib/docker"))
    for path in ("/var/lib/containerd", "/etc/docker"):
        mount("-t", "tmpfs", "tmpfs", mkdir(root + path))
    # On a real disk: what a write costs there is part of what is measured.
    mount("--bind", mkdir(work + "/state"), mkdir(root + "/var/lib/microseg"))
    mkdir(os.path.dirname(resolv))
    if os.path.islink(resolv):
        os.unlink(resolv)
    if not os.path.exists(resolv):
        open(resolv, "w").close()
    nowhere = work + "/resolv.conf"
    with open(nowhere, "w") as f:
        f.write("nameserver 127.0.0.1\n")
    mount("--bind", nowhere, resolv)

    if root:
        os.chdir(root)
        old = mkdir(root + "/mnt")
        if libc.syscall(SYS_PIVOT_ROOT, root.encode(), old.encode()) != 0:
            raise OSError(ctypes.get_errno(), "pivot_root " + root)
        os.chroot(".")
        os.chdir("/")
        sh("umount", "-l", "/mnt")
    # Shared within this namespace, as systemd does it: a managed plugin's mounts have to reach the host.
    mount("--make-rshared", "/")
    sh("ip", "link", "set", "lo", "up")
    sh("hostname", spec["name"])


def reap():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the run decides
    build(json.loads(sys.argv[1]))
    wake, sleep = os.pipe()
    os.set_blocking(sleep, False)
    signal.set_wakeup_fd(sleep)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print("ready", flush=True)
    reap()
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            reap()
        if 0 in readable and not os.read(0, 1):
            return


main()
