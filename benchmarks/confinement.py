"""A spawner for benchmarks: forks workers with all measures of confinement, or without some, and times them.

    python -m benchmarks.confinement FILE CACHE        a file to read; where `cat` is compiled already

Says first what workers are held by, then answers each line of names on stdin, which one worker goes without:

    {took: {measure: µs}, thread: µs, ready: µs from fork, first: µs from the order of `cat FILE` to its first byte}

A worker always has what its spawner has; only its own measures can be left out.
"""

import gc
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from benchmarks.daemon import SHIPPED_CAT
from insitu.runtime import process, wire
from insitu.runtime.cache import CompiledCache
from insitu.runtime.confine import identity
from insitu.runtime.confine.guard import Guard
from insitu.runtime.confine.measure import Measure, Setup
from insitu.runtime.confine.roles import AFTER_THREADS, BEFORE_THREADS, FILTERS, SECCOMP
from insitu.runtime.confine.seccomp import Filter
from insitu.runtime.engines import Engines
from insitu.runtime.warm import launch_message
from insitu.runtime.worker import prepare, serve
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import Limits

NAMES: Final = tuple(measure.name for measure in BEFORE_THREADS["worker"] + AFTER_THREADS["worker"]) + (SECCOMP,)
_TOOK: Final[dict[str, float]] = {}


def _timed(measure: Measure) -> Measure:
    def take(setup: Setup) -> None:
        begun = time.perf_counter_ns()
        measure.take(setup)
        _TOOK[measure.name] = (time.perf_counter_ns() - begun) / 1000

    return replace(measure, take=take)


class _TimedFilter(Filter):
    def install(self, pid: int, rehearsal: int = process.NODE_FD) -> None:
        begun = time.perf_counter_ns()
        super().install(pid, rehearsal)
        _TOOK[SECCOMP] = (time.perf_counter_ns() - begun) / 1000


class _Spawner:
    def __init__(self, path: str, cache: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._engines = Engines(CompiledCache(cache))
        os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), process.NODE_FD)
        for measures in (BEFORE_THREADS, AFTER_THREADS):
            measures["worker"] = tuple(map(_timed, measures["worker"]))
        self._guard = Guard(Setup(user=identity.resolve(""), cache=cache))
        self._guard.enter_spawner()
        if SECCOMP in (held := self._guard._held["worker"]):
            self._guard._filters["worker"] = _TimedFilter(*FILTERS["worker"])
        digest = program_digest(SHIPPED_CAT.read_bytes())
        program = self._engines.stock(digest).load(digest, "cat", bundle=False)
        assert program is not None
        self._program: Final = program
        self._guard.loaded()
        self.held: Final = held
        gc.freeze()

    def worker(self, without: frozenset[str]) -> dict[str, Any]:
        ours, theirs = wire.packet_pair()
        begun = time.perf_counter_ns()
        pid = os.fork()
        if pid == 0:
            try:
                self._be_worker(theirs, without)
            finally:
                os._exit(0)
        theirs.close()
        with ours:
            found = self._told(ours)
            self._told(ours)
            found["ready"] = (time.perf_counter_ns() - begun) / 1000
            found["first"] = self._first(ours)
        os.waitpid(pid, 0)
        return found

    def _be_worker(self, sock: socket.socket, without: frozenset[str]) -> None:
        own = socket.socket(fileno=os.dup2(sock.fileno(), process.NODE_FD, inheritable=False))
        programs = {self._program.digest: self._program}
        self._guard._held["worker"] -= without
        rehearsal = self._guard.enter_worker(lambda: prepare(self._engines, programs, list(programs), {}))
        wire.send_packet(own, {"took": _TOOK})
        serve(own, self._engines, programs, rehearsal)

    def _first(self, ours: socket.socket) -> float:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        message = launch_message(self._program.digest, "cat", (), {}, Limits(), stderr=1024, last=True)
        begun = time.perf_counter_ns()
        wire.send_packet(ours, message, (self._file, writing))
        os.close(writing)
        data = os.read(reading, 1 << 16)
        took = (time.perf_counter_ns() - begun) / 1000
        os.close(reading)
        answer = self._told(ours)
        assert answer["outcome"]["end"] == "exit", answer
        assert len(data) == os.fstat(self._file).st_size
        return took

    @staticmethod
    def _told(ours: socket.socket) -> dict[str, Any]:
        packet = wire.receive_packet(ours)
        if packet is None:
            raise RuntimeError("a worker ended before its time")
        return packet[0]


def main() -> None:
    say: Callable[[object], None] = lambda what: print(json.dumps(what), flush=True)  # noqa: E731
    spawner = _Spawner(*sys.argv[1:])
    say(sorted(spawner.held))
    for line in sys.stdin:
        say(spawner.worker(frozenset(line.split())))


if __name__ == "__main__":
    main()
