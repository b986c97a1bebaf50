"""What a source and a sink are, and where a launch waits for them."""

import select
import time
from collections.abc import Sequence
from typing import Final, Protocol

from insitu.sandbox.outcome import ChannelStatistics

Views = Sequence[memoryview]
"""Parts of the guest's memory, none of them empty."""

PIECE: Final = 64 << 20
"""Bytes that one system call may be given: a call of the guest's may name gigabytes, and its time may end meanwhile."""


class Deadline(Exception):
    """The launch's wall time is over, or its CPU time."""


class Wait:
    """The one place where a launch blocks. `end` is on the clock of `time.monotonic`, in seconds; `cpu_end` in
    nanoseconds on that of `time.thread_time_ns`, in the guest's thread."""

    __slots__ = ("_cpu_end", "cpu_over", "end")

    def __init__(self, end: float, cpu_end: int | None = None) -> None:
        self.end, self._cpu_end = end, cpu_end
        self.cpu_over = False
        """Set by the alarm: the launch has used up its CPU time."""

    def left(self) -> float:
        """Seconds until the launch's wall time is over; 0 or less when it is."""
        return self.end - time.monotonic()

    def check(self) -> None:
        """Before and between the pieces of a host call that is long by itself. Raises `Deadline`.

        The alarm alone would not do: between many such calls its thread gets Python's lock only by luck.
        """
        if self._cpu_end is not None and time.thread_time_ns() >= self._cpu_end:
            self.cpu_over = True
        if self.cpu_over or self.left() <= 0:
            raise Deadline

    def until_ready(self, fd: int, events: int) -> None:
        """Until the descriptor can be read or written (or has hung up). Raises `Deadline`."""
        poller = select.poll()
        poller.register(fd, events)
        while True:
            left = self.left()
            if self.cpu_over or left <= 0:
                raise Deadline
            if poller.poll(left * 1000 + 1):
                return


class Source(Protocol):
    @property
    def bytes(self) -> int:
        """Read so far."""

    def read(self, views: Views, wait: Wait) -> int:
        """Fill `views`, at least partly; 0 at the end. Raises `GuestError`, `GuestStop`, `Deadline`."""

    def ready(self) -> int | None:
        """A descriptor that can be polled for input, or None when a read never blocks."""

    def statistics(self) -> ChannelStatistics: ...


class Sink(Protocol):
    @property
    def bytes(self) -> int:
        """Written so far."""

    def write(self, views: Views, wait: Wait) -> int:
        """Take all of `views`, less only where it breaks midway. Raises `GuestError`, `GuestStop`, `Deadline`."""

    def ready(self) -> int | None: ...

    def statistics(self) -> ChannelStatistics: ...


def head(views: Views, count: int) -> list[memoryview]:
    """The first `count` bytes of them."""
    found = []
    for view in views:
        if count <= 0:
            break
        found.append(view[:count])
        count -= len(view)
    return found


def rest(views: Views, count: int) -> list[memoryview]:
    """What is behind their first `count` bytes."""
    found = []
    for view in views:
        if count < len(view):
            found.append(view[count:])
        count = max(0, count - len(view))
    return found
