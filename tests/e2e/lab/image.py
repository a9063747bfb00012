"""The one image the tests run: a static busybox and the traffic tools of tests/tools, imported without a registry."""

import io
import os
import subprocess
import tarfile

from .engines import REPOSITORY

IMAGE = "lab:1"
SOURCES = os.path.join(REPOSITORY, "tests/tools")
BUILT = os.path.join(REPOSITORY, "build/tools")
APPLETS = "sh sleep cat ls echo true false ip ping ping6 nc wget httpd hostname id env kill mkdir rm date head tail grep test"


def tools():
    """Builds what is older than its source. Returns {name: path}."""
    os.makedirs(BUILT, exist_ok=True)
    header = max(os.path.getmtime(os.path.join(SOURCES, f)) for f in os.listdir(SOURCES) if f.endswith(".h"))
    built = {}
    for file in sorted(os.listdir(SOURCES)):
        name, extension = os.path.splitext(file)
        if extension != ".c":
            continue
        source, target = os.path.join(SOURCES, file), os.path.join(BUILT, name)
        built[name] = target
        if os.path.exists(target) and os.path.getmtime(target) > max(header, os.path.getmtime(source)):
            continue
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=c11", "-O2", "-static", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-o",
                        target + ".new", source], check=True)
        os.rename(target + ".new", target)
    return built


def image_tar():
    """The image's file system as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(name, kind=tarfile.DIRTYPE, link="", mode=0o755, data=b""):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode, entry.size = kind, link, mode, len(data)
            tar.addfile(entry, io.BytesIO(data))
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp", "lab"):
            add(directory)
        with open("/bin/busybox", "rb") as f:
            add("bin/busybox", tarfile.REGTYPE, data=f.read())
        for applet in APPLETS.split():
            add("bin/" + applet, tarfile.SYMTYPE, "busybox")
        for name, path in tools().items():
            with open(path, "rb") as f:
                add("bin/" + name, tarfile.REGTYPE, data=f.read())
    return out.getvalue()


def load_image(host):
    """Makes IMAGE known to the host's engine."""
    with open(os.path.join(host.shared, "image.tar"), "wb") as f:
        f.write(image_tar())
    host.docker("import", "/run/lab/image.tar", IMAGE)
    os.unlink(os.path.join(host.shared, "image.tar"))
