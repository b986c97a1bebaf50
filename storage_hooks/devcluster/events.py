"""The supervisor's one place to wait: signals, children's ends, descriptors.

Signal handlers only note what came; it is looked at between two waits, never in the middle of something else.
"""

import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress


class Stopped(Exception):
    """Someone wants the cluster to end."""


class Events:
    """A selector with SIGTERM, SIGINT and SIGCHLD among its events. One per process."""

    def __init__(self, children_ended: Callable[[], None]) -> None:
        """`children_ended` is called when children may have ended."""
        self._children_ended = children_ended
        self._selector = selectors.DefaultSelector()
        self._wake, self._wake_write = socket.socketpair()
        self._stop: str | None = None
        for end in (self._wake, self._wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.watch(self._wake.fileno(), self._woken)

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Calls `handler` whenever `fd` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, handler)

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def stop(self, reason: str) -> None:
        """The turn that is going on ends with Stopped."""
        self._stop = reason

    def turn(self, timeout: float | None) -> None:
        """Waits for events, at most `timeout` seconds, and handles them. Raises Stopped when the end is asked for."""
        for key, _ in self._selector.select(timeout):
            key.data()
        if self._stop:
            raise Stopped(self._stop)

    def close_in_child(self) -> None:
        """A forked child has no part in this."""
        for end in (self._selector, self._wake, self._wake_write):
            end.close()

    def _stop_signal(self, number: int, frame: object) -> None:
        self._stop = f"stopped by {signal.Signals(number).name}"

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            self._wake.recv(4096)
        self._children_ended()
