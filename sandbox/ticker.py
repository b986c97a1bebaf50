"""The clock that interrupts guests: one thread per process advances the engine's epoch while any guest runs.

A guest's epoch deadline is a number of ticks. Starting a thread costs 174 µs and waking one is not free either, so the
thread is started once, keeps ticking for a while after a launch, and only then sleeps until the next.
Threads do not survive a fork: a process makes its own ticker after it.
"""

import math
import threading
import time
from typing import Final

from insitu.sandbox import raw

PERIOD: Final = 0.01  # seconds
_IDLE_TICKS: Final = 100


class Ticker:
    def __init__(self, engine: raw.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running = 0
        self._asleep = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @staticmethod
    def ticks(seconds: float) -> int:
        """A deadline at least `seconds` from now, at most two periods more."""
        return math.ceil(seconds / PERIOD) + 1

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="insitu-ticker", daemon=True)
                self._thread.start()
            elif self._asleep:
                self._wake.set()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def _tick(self) -> None:
        idle = 0
        while True:
            time.sleep(PERIOD)
            idle = 0 if self._running else idle + 1
            if idle > _IDLE_TICKS:
                with self._lock:
                    self._asleep = not self._running
                if self._asleep:
                    self._wake.wait()
                    self._wake.clear()
                    self._asleep, idle = False, 0
            raw.increment_epoch(self._engine)
