"""What stops a guest at the end of its time: a thread that advances the engine's epoch, once, when it is due.

A guest's epoch deadline is the next tick, and the only tick is the one that ends it: the thread sleeps until then. A
clock that ticks steadily would stop a guest only as exactly as it ticks, and would take the interpreter's lock all the
time for nothing.

A sleeping thread costs a launch nothing as long as it wakes before that launch's end: it then looks again who runs. So
it is woken early only for an end that lies before the one it sleeps for, or when it sleeps for none.
CPU time is looked at when it could be used up at the earliest: one thread uses no more of it than time passes.
Threads do not survive a fork: a process starts its own after it.
"""

import math
import threading
import time
from typing import Final

from insitu.sandbox import raw
from insitu.sandbox.channels import Wait

_SHORTEST: Final = 0.002
"""Seconds between two looks at CPU time: a guest that sleeps just before its end must not keep us awake."""


class CpuTime:
    """What the calling thread, which is about to run a guest, may use: `seconds` since it had used `begun`, in
    nanoseconds on its own clock."""

    __slots__ = ("_begun", "_clock", "_seconds", "_wait")

    def __init__(self, seconds: float, begun: int, wait: Wait) -> None:
        self._seconds, self._begun, self._wait = seconds, begun, wait
        self._clock = time.pthread_getcpuclockid(threading.get_ident())

    @property
    def seconds(self) -> float:
        return self._seconds

    def left(self) -> float:
        """Only while that thread lives."""
        return self._seconds - (time.clock_gettime_ns(self._clock) - self._begun) / 1e9

    def over(self) -> None:
        """Host calls that go on for long look there."""
        self._wait.cpu_over = True


class Alarm:
    """For one guest at a time, of whatever engine: one thread does for all of a process."""

    def __init__(self) -> None:
        self._engine: raw.Engine | None = None
        # Held while the epoch advances: it must be that guest's and not the next one's.
        self._lock = threading.Lock()
        self._end: float | None = None
        self._cpu: CpuTime | None = None
        self._sleeps_until = math.inf
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def set(self, engine: raw.Engine, end: float, cpu: CpuTime | None = None) -> None:
        """Interrupt the guest that is about to run on `engine` at `end`, on the clock of `time.monotonic`, and not
        before; or when its CPU time is used up."""
        with self._lock:
            self._engine, self._end, self._cpu = engine, end, cpu
            due = end if cpu is None else min(end, time.monotonic() + cpu.seconds)
            if self._thread is None:
                self._start()
            elif due < self._sleeps_until:
                self._wake.set()

    def start(self) -> None:
        """Start its thread now, and not with the first guest: a confined process can start none later."""
        with self._lock:
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="insitu-alarm", daemon=True)
        self._thread.start()

    def clear(self) -> None:
        """It has ended: whoever runs next is not to be interrupted on its account."""
        with self._lock:
            self._end = self._cpu = None

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._wake.clear()
                now = time.monotonic()
                self._sleeps_until = self._look(now)
                left = None if self._sleeps_until == math.inf else self._sleeps_until - now
            self._wake.wait(left)

    def _look(self, now: float) -> float:
        """Interrupt the guest if it is time. When to look again."""
        if self._end is None or self._engine is None:
            return math.inf
        cpu_left = math.inf if self._cpu is None else self._cpu.left()
        if now < self._end and cpu_left > 0:
            return min(self._end, now + max(_SHORTEST, cpu_left))
        if now < self._end and self._cpu is not None:
            self._cpu.over()
        raw.increment_epoch(self._engine)
        self._end = self._cpu = None
        return math.inf
