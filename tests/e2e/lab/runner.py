"""Runs tests. Those of one engine or swarm share its hosts, so they run one after another; two engines, or swarms, run
side by side, each worker in a process and a Lab of its own. What measures time runs when all others are done, alone.
"""

import multiprocessing
import subprocess
import time
import traceback

from . import registry
from .host import Lab

fork = multiprocessing.get_context("fork")


class Runner:
    def __init__(self, bin_dir, jobs, keep):
        self.bin, self.jobs, self.keep = bin_dir, jobs, keep
        self.passed = fork.SimpleQueue()  # names
        self.screen = fork.Lock()

    def run(self, tests):
        """Names of those that passed. Each other one failed, and was said to, or was lost with its worker."""
        self._side_by_side([t for t in tests if not t.alone], self.jobs)
        self._side_by_side([t for t in tests if t.alone], 1)
        passed = set()
        while not self.passed.empty():
            passed.add(self.passed.get())
        return passed

    def _side_by_side(self, tests, jobs):
        engines = sorted({t.engine for t in tests}, key=lambda name: -sum(t.engine == name for t in tests))
        queue = fork.SimpleQueue()  # what takes longest, by the number of its tests, is begun first
        workers = [fork.Process(target=self._work, args=(queue, tests), daemon=True) for _ in engines[:jobs]]
        for item in [*engines, *(None for _ in workers)]:
            queue.put(item)
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            if worker.exitcode != 0:
                self._say(f"FAILED worker: exit {worker.exitcode}; the tests that it had left have not run")

    def _work(self, queue, tests):
        with Lab(keep=self.keep) as lab:
            while (engine := queue.get()) is not None:
                shared = {}
                for test in sorted((t for t in tests if t.engine == engine), key=lambda t: t.spoils):
                    if self._run_one(test, lab, shared):
                        self.passed.put(test.name)
                for entry in shared.values():
                    for host in registry.hosts_of(entry):
                        host.close()

    def _run_one(self, test, lab, shared):
        context = registry.Context(lab, self.bin, test.engine, shared)
        started = time.monotonic()
        try:
            figures = test.function(context)
            self._say(f"ok {test.name}: {figures} ({time.monotonic() - started:.1f} s)")
            if test.spoils:
                shared.pop(test.engine, None)
            return True
        except Exception as error:
            report = [f"FAILED {test.name}: {error} ({time.monotonic() - started:.1f} s)"]
            if not isinstance(error, registry.Failure):
                report.append(traceback.format_exc())
            try:
                report.append(context.state())
            except (OSError, subprocess.SubprocessError) as broken:
                report.append(f"(its state could not be read: {broken})")
            self._say("\n".join(report))
            shared.pop(test.engine, None)  # the next test starts from a clean host
            return False
        finally:
            kept = {id(host) for entry in shared.values() for host in registry.hosts_of(entry)}
            for host in context.used:
                if id(host) not in kept:
                    host.close()

    def _say(self, text):
        with self.screen:
            print(text, flush=True)
