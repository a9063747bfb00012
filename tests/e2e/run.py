#!/usr/bin/python3
"""End-to-end tests: real engines, real containers, real packets.

    tests/e2e/run.py [--bin DIR] [--engine V ...] [--only NAME ...] [--jobs N] [--list | --prepare] [--summary FILE]

Prints `ok NAME: figures` or `FAILED NAME: ...` with the state of all it used, and `e2e: N passed, N failed` at the end.
Needs root. A NAME of --only matches from its beginning: `--only compose` runs it on every engine.
"""

import argparse
import glob
import importlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from lab import engines, plugin_registry, registry  # noqa: E402
from lab.image import tools  # noqa: E402
from lab.runner import Runner  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description="End-to-end tests with real Docker Engines")
    parser.add_argument("--bin", default=os.path.join(engines.REPOSITORY, "build/release/bin"),
                        help="where microsegd and microseg are (default build/release/bin)")
    parser.add_argument("--engine", nargs="+", choices=registry.ALL, default=list(registry.ALL))
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[""])
    parser.add_argument("--jobs", type=int, default=2, choices=range(1, 9), metavar="N",
                        help="engines whose tests run side by side (default 2); what measures time runs alone")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--prepare", action="store_true", help="fetch the engines, and run nothing")
    parser.add_argument("--summary", metavar="FILE", help='write {"passed": n, "failed": n} there')
    parser.add_argument("--keep", action="store_true", help="leave the work directory, with logs, behind")
    return parser.parse_args()


def load_tests(args):
    for path in sorted(glob.glob(os.path.join(os.path.dirname(os.path.realpath(__file__)), "test_*.py"))):
        importlib.import_module(os.path.splitext(os.path.basename(path))[0])
    chosen = [t for t in registry.TESTS if t.engines() <= set(args.engine) and any(t.name.startswith(o) for o in args.only)]
    return sorted(chosen, key=lambda t: t.engine)


def announce(tests):
    """Says what the tests run on."""
    for wanted in sorted(set().union(*(t.engines() for t in tests))):
        found = engines.engine(wanted).version
        moved_on = "" if found == wanted else f" (asked for {wanted}: its suite has moved on)"
        default = ", for tests that name no other" if wanted == registry.PRIMARY else ""
        print(f"-- Docker Engine {found}{moved_on}{default}", flush=True)


def main():
    args = arguments()
    args.bin = os.path.realpath(args.bin)
    tests = load_tests(args)
    if args.list:
        print("\n".join(t.name for t in tests))
        return 0
    if os.geteuid() != 0:
        sys.exit("e2e: needs root: it makes namespaces and starts engines")
    if args.prepare:
        for version in args.engine:
            engines.engine(version)
        plugin_registry.program()
        return 0
    for program in ("microsegd", "microseg"):
        if not os.access(os.path.join(args.bin, program), os.X_OK):
            sys.exit(f"e2e: {args.bin}/{program} is missing; build it: cmake --preset release && cmake --build --preset release")
    # Ended from outside: still close everything.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    announce(tests)
    tools()  # before anybody else needs them: two could not build them at once
    passed = Runner(args.bin, args.jobs, args.keep).run(tests)
    failed = [t.name for t in tests if t.name not in passed]
    if args.summary:
        with open(args.summary, "w") as f:
            json.dump({"passed": len(passed), "failed": len(failed)}, f)
    if failed:
        print("e2e: failed: " + ", ".join(failed))
    print(f"e2e: {time.monotonic() - started:.0f} s")
    print(f"e2e: {len(passed)} passed, {len(failed)} failed")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
