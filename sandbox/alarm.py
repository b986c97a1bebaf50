"""What stops a guest at the end of its wall time: a thread that advances the engine's epoch, once, when it is due.

A guest's epoch deadline is the next tick, and the only tick is the one that ends it: the thread sleeps until then. A
clock that ticks steadily would stop a guest only as exactly as it ticks, and would take the interpreter's lock all the
time for nothing.

A sleeping thread costs a launch nothing as long as it wakes before that launch's end: it then looks again who runs. So
it is woken early only for an end that lies before the one it sleeps for, or when it sleeps for none.
Threads do not survive a fork: a process starts its own after it.
"""

import math
import threading
import time

from insitu.sandbox import raw


class Alarm:
    """For one guest at a time."""

    def __init__(self, engine: raw.Engine) -> None:
        self._engine = engine
        # Held while the epoch advances: it must be that guest's and not the next one's.
        self._lock = threading.Lock()
        self._end: float | None = None
        self._sleeps_until = math.inf
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def set(self, end: float) -> None:
        """Interrupt the guest that is about to run at `end`, on the clock of `time.monotonic`, and not before."""
        with self._lock:
            self._end = end
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="insitu-alarm", daemon=True)
                self._thread.start()
            elif end < self._sleeps_until:
                self._wake.set()

    def clear(self) -> None:
        """It has ended: whoever runs next is not to be interrupted on its account."""
        with self._lock:
            self._end = None

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._wake.clear()
                now = time.monotonic()
                if self._end is not None and self._end <= now:
                    raw.increment_epoch(self._engine)
                    self._end = None
                self._sleeps_until = math.inf if self._end is None else self._end
                left = None if self._end is None else self._end - now
            self._wake.wait(left)
