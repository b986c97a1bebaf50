"""What each measure of confinement costs a worker, between its fork and its word that it is ready.

    python -m benchmarks.confinement

Forks workers as a spawner does, one after the other, and has each time its own measures. The first that calls into the
C library pays for the pages that this touches in a fresh fork, whichever it is.
"""

import json
import os
import statistics
import tempfile
import time
from typing import Final

from insitu.runtime import process
from insitu.runtime.confine import identity
from insitu.runtime.confine.guard import Guard
from insitu.runtime.confine.measure import Setup
from insitu.runtime.confine.roles import AFTER_THREADS, BEFORE_THREADS, SECCOMP
from insitu.sandbox.launch import Runner

FORKS: Final = 300


def one(guard: Guard, runner: Runner) -> dict[str, int]:
    """Nanoseconds by measure, in a fork."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            guard._setup.images |= {write}
            found, clock = {}, time.perf_counter_ns
            for measure in BEFORE_THREADS["worker"]:
                begun = clock()
                measure.take(guard._setup)
                found[measure.name] = clock() - begun
            begun = clock()
            runner.start_threads()
            found["(its thread)"] = clock() - begun
            for measure in AFTER_THREADS["worker"]:
                begun = clock()
                measure.take(guard._setup)
                found[measure.name] = clock() - begun
            begun = clock()
            guard._filter("worker")
            found[SECCOMP] = clock() - begun
            os.write(write, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as told:
        said: dict[str, int] = json.load(told)
    os.waitpid(pid, 0)
    return said


def main() -> None:
    runner = Runner()
    os.dup2(os.open(os.devnull, os.O_RDWR), process.NODE_FD)
    # Left behind, empty: from here on nobody may remove a directory.
    guard = Guard(Setup(user=identity.resolve(""), cache=tempfile.mkdtemp(prefix="insitu-benchmark-")))
    missing = [finding for finding in guard.enter_spawner() if finding.state == "missing"]
    if missing:
        raise SystemExit(f"not all can be measured here: {', '.join(finding.measure for finding in missing)}")
    guard.loaded()
    samples = [one(guard, runner) for _ in range(FORKS)]
    for name in samples[0]:
        us = sorted(sample[name] / 1000 for sample in samples)
        print(f"{name:14} p50 {statistics.median(us):8.1f}   p99 {us[int(len(us) * 0.99)]:8.1f} µs")
    us = sorted((sum(sample.values()) - sample["(its thread)"]) / 1000 for sample in samples)
    print(f"{'all measures':14} p50 {statistics.median(us):8.1f}   p99 {us[int(len(us) * 0.99)]:8.1f} µs")


if __name__ == "__main__":
    main()
