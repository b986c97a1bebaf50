"""The node's event loop: descriptors, timers and signals, in one thread. Small, and quick to wake."""

import heapq
import itertools
import logging
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable

log = logging.getLogger("insitu.node")
Handler = Callable[[int], None]
READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_SWEEP = 1024  # timers, above which the cancelled ones are looked for


class Timer:
    """A call to come; `cancel` it and it does not."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._sweep_at = _SWEEP
        self._order = itertools.count()
        self._running = True

    def watch(self, fd: int, handler: Handler, events: int = READ) -> None:
        """`handler` gets the events that happened. Hang-ups and errors are always told."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed: its number may come back as another's."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        if len(self._timers) >= self._sweep_at:
            # Most are cancelled long before they are due, which may be a day from now.
            self._timers = [entry for entry in self._timers if entry[2].call is not None]
            heapq.heapify(self._timers)
            self._sweep_at = max(_SWEEP, 2 * len(self._timers))
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def stop(self) -> None:
        self._running = False

    def stop_on(self, signals: Iterable[signal.Signals]) -> None:
        """End `run` when one of these comes; what is under way is finished first."""
        inner, outer = socket.socketpair()
        inner.setblocking(False)
        outer.setblocking(False)
        signal.set_wakeup_fd(outer.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda *_: self.stop())
        self._wakeup = (inner, outer)
        self.watch(inner.fileno(), self._drain_wakeup)

    def _drain_wakeup(self, _: int) -> None:
        self._wakeup[0].recv(64)

    def run(self) -> None:
        while self._running:
            for fd, events in self._epoll.poll(self._timeout()):
                handler = self._handlers.get(fd)
                if handler is not None:  # an earlier handler of this round may have forgotten it
                    self._guarded(handler, events)
            now = time.monotonic()  # a call that wants another one at once waits for the others' turn
            while self._timers and self._timers[0][0] <= now:
                call = heapq.heappop(self._timers)[2].call
                if call is not None:
                    self._guarded(lambda _, call=call: call(), 0)  # type: ignore[misc]

    def _timeout(self) -> float:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    @staticmethod
    def _guarded(handler: Handler, events: int) -> None:
        try:
            handler(events)
        except Exception:  # one peer's trouble must not end the node
            log.exception("internal error: a handler failed")
