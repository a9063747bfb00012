"""The stages of tests/run: builds, checks and test suites; which run side by side; the sum of it all.

A stage is a function that returns (passed, failed). One that raises, is killed or runs out of time counts as failed,
and so does each stage that needed it. Logs are kept in build/test-logs/.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGS = ROOT / "build/test-logs"
CORES = str(os.cpu_count() or 1)
KINDS = ("checks", "unit", "contract", "netns", "fuzz", "debian13", "e2e")

running = set()  # processes of ours, to be ended with us
screen = threading.Lock()


def say(text):
    with screen:
        print(text, flush=True)


class Failure(Exception):
    pass


class Shell:
    """Runs a stage's commands; output goes into the stage's log, or straight to the screen when `live`.

    Never through a pipe: a server that a killed test left behind would hold it open, and us with it.
    """

    def __init__(self, name, live=False):
        self.path = LOGS / f"{name}.log"
        self.live = live
        self.log = open(self.path, "w")

    def run(self, *command, timeout, env=None):
        """The exit status. The command and all its children are ended when the time is over."""
        process = subprocess.Popen([str(c) for c in command], cwd=ROOT, env={**os.environ, **(env or {})},
                                   stdin=subprocess.DEVNULL, stdout=None if self.live else self.log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{' '.join(map(str, command))}: not done after {timeout} s") from None
        finally:
            end(process)
            running.discard(process)

    def must(self, *command, timeout, env=None):
        if status := self.run(*command, timeout=timeout, env=env):
            raise Failure(f"{' '.join(map(str, command))}: exit {status}")


def end(process):
    """Ends a process that still runs, with its children: politely first, so that it can close what it made."""
    for number, patience in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)  # it is not reaped yet, so the number is still its own
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass


def stop(*_):
    """Ended from outside: end what we started; the stages then come to their ends by themselves."""
    for process in list(running):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    sys.exit(143)


# ---- the stages ----


def build(preset):
    def stage(shell):
        # Paths relative to the checkout: another one, as tests/e2e/test_quickstart.py makes it, finds the same objects.
        cached = {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}
        shell.must("cmake", "--preset", preset, timeout=120, env=cached)
        shell.must("cmake", "--build", "--preset", preset, "-j", CORES, timeout=1500, env=cached)
        return 1, 0
    return stage


def ctest(preset, label, jobs):
    def stage(shell):
        report = LOGS / f"{label}-{preset}.xml"
        report.unlink(missing_ok=True)
        status = shell.run("ctest", "--test-dir", f"build/{preset}", "-L", f"^{label}$", "--output-on-failure",
                           "--no-tests=error", "--output-junit", report, "-j", jobs, timeout=900,
                           env={"MICROSEG_REQUIRE_NETNS": "1"})
        if not report.exists():
            raise Failure(f"ctest: exit {status} and no report")
        cases = xml.etree.ElementTree.parse(report).getroot().findall("testcase")
        passed = sum(case.get("status") == "run" for case in cases)
        if not cases or (status and passed == len(cases)):
            raise Failure(f"ctest: exit {status} with {len(cases)} {label} tests")
        return passed, len(cases) - passed  # what was skipped or never ran has shown nothing
    return stage


def checks(shell):
    bad = [c for c in ("check_layers", "check_tree") if shell.run("/usr/bin/python3", f"tests/{c}.py", timeout=120)]
    return 2 - len(bad), len(bad)


def summarised(*command, timeout):
    """A suite that writes its sums to --summary FILE."""
    def stage(shell):
        summary = shell.path.with_suffix(".json")
        summary.unlink(missing_ok=True)
        status = shell.run(*command, "--summary", summary, timeout=timeout)
        if not summary.exists():
            raise Failure(f"exit {status} and no summary")
        sums = json.loads(summary.read_text())
        if status and not sums["failed"] or not status and not sums["passed"]:
            raise Failure(f"exit {status} with {sums['passed']} passed, {sums['failed']} failed")
        return sums["passed"], sums["failed"]
    return stage


def debian13(shell):
    shell.must("tests/debian13", timeout=1500)
    return 1, 0


def fuzz_build(shell):
    shell.must("tests/fuzz/run", "--build-only", timeout=1500)
    return 1, 0


def fetch_engines(shell):
    shell.must("/usr/bin/python3", "tests/e2e/run.py", "--prepare", timeout=900)
    return 1, 0


def plan(kinds, quick):
    """Phases, one after another, of lanes, side by side, of stages, one after another: (name, needed stage or None, function).

    Compilers share the cores among themselves, and fuzzing takes one while tests of the kernel, which mostly wait, have the
    other. e2e knows by itself which of its tests may run beside others.
    """
    presets = ["release"] if quick else ["release", "sanitize"]
    suites = [k for k in ("unit", "contract", "netns") if k in kinds]

    builds = [[(f"build {p}", None, build(p))] for p in presets if suites or (p == "release" and "e2e" in kinds)]
    first, second = builds[:1], builds[1:]
    if "checks" in kinds:
        first.append([("checks", None, checks)])
    if "e2e" in kinds:
        first.append([("fetch engines", None, fetch_engines)])
    if "debian13" in kinds:
        second.append([("debian13", None, debian13)])
    if "fuzz" in kinds:
        second.append([("build fuzz", None, fuzz_build)])

    def tests(suite, jobs):  # a lane: both presets' tests use the same kernel
        return [(f"{suite} {p}", f"build {p}", ctest(p, suite, jobs)) for p in presets if suite in suites]

    third = [tests("unit", CORES)]
    fourth = [tests("contract", CORES) + tests("netns", "1")]
    if "fuzz" in kinds:
        jobs = "1" if "netns" in kinds else CORES
        fourth.append([("fuzz", "build fuzz", summarised("tests/fuzz/run", "--jobs", jobs, timeout=1200))])
    last = [[("e2e", "build release", summarised("/usr/bin/python3", "tests/e2e/run.py", timeout=2100))]] if "e2e" in kinds else []
    phases = [[lane for lane in phase if lane] for phase in (first, second, third, fourth, last)]
    return [phase for phase in phases if phase]


# ---- running them ----

# What names a failure in the log of a test suite; repeated below everything, since logs are long.
TELLTALES = ("***Failed", "***Timeout", "***Exception", " is wrong: ", ": ERROR: ", "FAILED: ", " error: ")
failures = []  # of all stages: lines


def run_lane(stages, good):
    """(passed, failed) of the stages together. `good` gets the names of those that passed."""
    passed = failed = 0
    for name, needed, function in stages:
        if needed is None or needed in good:
            sums = run_stage(name, function)
        else:
            sums = 0, 1
            say(f"FAILED {name:18} not run: {needed} failed")
        passed, failed = passed + sums[0], failed + sums[1]
        if not sums[1]:
            good.add(name)
    return passed, failed


def run_stage(name, function):
    """(passed, failed), with the outcome, the time taken and, after a failure, the log on the screen."""
    shell = Shell(name.replace(" ", "-"), live=name == "e2e")
    started = time.monotonic()
    problem = ""
    try:
        passed, failed = function(shell)
    except Exception as error:  # a broken stage must not take the others' results with it
        passed, failed = 0, 1
        problem = f": {error}" if isinstance(error, Failure) else f": {type(error).__name__}: {error}"
    shell.log.close()
    verdict = "FAILED" if failed else "ok"
    text = f"{verdict:6} {name:18} {passed} passed, {failed} failed, {time.monotonic() - started:.0f} s{problem}"
    if failed and not shell.live:
        lines = shell.path.read_text(errors="replace").splitlines()
        telling = [line.strip()[:300] for line in lines if any(word in line for word in TELLTALES)]
        failures.extend(f"{name}: {line}" for line in telling[:5])
        shown = lines if len(lines) <= 2000 else [*lines[:200], f"... ({shell.path} has all)", *lines[-1700:]]
        text = "\n".join([f"---- log of {name}", *shown, f"---- end of {name}", text])
    say(text)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description="Builds and tests everything.")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="STAGE", help=", ".join(KINDS))
    parser.add_argument("--quick", action="store_true",
                        help="the release preset alone, fuzzing for 5 s, without Debian 13 and e2e unless named by --only")
    args = parser.parse_args()
    kinds = set(args.only or (k for k in KINDS if not args.quick or k not in ("debian13", "e2e")))
    if args.quick:
        os.environ.setdefault("MICROSEG_FUZZ_SECONDS", "5")
    os.chdir(ROOT)
    LOGS.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    started = time.monotonic()
    passed = failed = 0
    good = set()
    for lanes in plan(kinds, args.quick):
        with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
            for sums in pool.map(lambda lane: run_lane(lane, good), lanes):
                passed, failed = passed + sums[0], failed + sums[1]
    for line in failures:
        print(line)
    print(f"total {time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
