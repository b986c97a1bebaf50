"""Channels: how bytes get into a guest and out of it.

A source or sink moves bytes straight between a host descriptor and the guest's memory (the views it is given), keeps
its figures, and never blocks past the deadline: regular files are read with pread at an offset of our own (a passed
descriptor shares its offset with whoever passed it), anything else is non-blocking and waited for with poll.
"""

import os
import select
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from insitu.sandbox.errno import GuestError, GuestStop, from_host

Views = Sequence[memoryview]
_U32 = (1 << 32) - 1
TAIL = 16 << 10  # bytes of stderr that an outcome keeps


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """A channel's figures so far: how many transfers succeeded, and their bytes."""

    calls: int
    bytes: int


class Deadline(Exception):
    """The launch's wall time is over."""


class Wait:
    """The one place where a launch blocks. `end` is on the clock of `time.monotonic`, in seconds."""

    __slots__ = ("end",)

    def __init__(self, end: float) -> None:
        self.end = end

    def left(self) -> float:
        """Seconds until the launch's wall time is over; 0 or less when it is."""
        return self.end - time.monotonic()

    def check(self) -> None:
        """Between the pieces of a host call that is long by itself. Raises `Deadline`."""
        if self.left() <= 0:
            raise Deadline

    def until_ready(self, fd: int, events: int) -> None:
        """Until the descriptor can be read or written (or has hung up). Raises `Deadline`."""
        poller = select.poll()
        poller.register(fd, events)
        while True:
            left = self.left()
            if left <= 0:
                raise Deadline
            if poller.poll(left * 1000 + 1):
                return


class Source(Protocol):
    def read(self, views: Views, wait: Wait) -> int:
        """Fill `views`, at least partly; 0 at the end. Raises `GuestError`, `Deadline`."""

    def ready(self) -> int | None:
        """A descriptor that can be polled for input, or None when a read never blocks."""

    def statistics(self) -> ChannelStatistics: ...


class Sink(Protocol):
    def write(self, views: Views, wait: Wait) -> int:
        """Take at least part of `views`. Raises `GuestError`, `GuestStop`, `Deadline`."""

    def ready(self) -> int | None: ...

    def statistics(self) -> ChannelStatistics: ...


class FileSource:
    """A regular file, from its beginning or from `offset`, whatever the descriptor's own offset is."""

    __slots__ = ("_calls", "_fd", "_offset", "_start")

    def __init__(self, fd: int, offset: int = 0) -> None:
        self._fd, self._offset, self._start, self._calls = fd, offset, offset, 0

    def read(self, views: Views, wait: Wait) -> int:
        try:
            count = os.preadv(self._fd, views, self._offset)
        except OSError as error:
            raise GuestError(from_host(error)) from None
        self._offset += count
        self._calls += 1
        return count

    def ready(self) -> int | None:
        return None

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(self._calls, self._offset - self._start)


class StreamSource:
    """A pipe, socket or terminal. The descriptor must be non-blocking.

    `patient`: a named pipe that nobody has opened for writing yet. It reads as ended until somebody does: wait first.
    """

    __slots__ = ("_bytes", "_calls", "_fd", "_patient")

    def __init__(self, fd: int, *, patient: bool = False) -> None:
        self._fd, self._calls, self._bytes, self._patient = fd, 0, 0, patient

    def read(self, views: Views, wait: Wait) -> int:
        if self._patient:
            wait.until_ready(self._fd, select.POLLIN)
            self._patient = False
        while True:
            try:
                count = os.readv(self._fd, views)
                break
            except BlockingIOError:
                wait.until_ready(self._fd, select.POLLIN)
            except OSError as error:
                raise GuestError(from_host(error)) from None
        self._calls += 1
        self._bytes += count
        return count

    def ready(self) -> int | None:
        return self._fd

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(self._calls, self._bytes)


class EmptySource:
    """Nothing to read."""

    __slots__ = ()

    def read(self, views: Views, wait: Wait) -> int:
        return 0

    def ready(self) -> int | None:
        return None

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(0, 0)


class FdSink:
    """Any descriptor, up to `limit` bytes. One that can block (pipe, socket, terminal) must be non-blocking.

    The write that passes the limit is cut at it and reported to `over` with what it would have come to; `over` raises.
    """

    __slots__ = ("_bytes", "_calls", "_fd", "_limit", "_over")

    def __init__(self, fd: int, limit: int, over: Callable[[int], GuestStop]) -> None:
        self._fd, self._limit, self._over, self._calls, self._bytes = fd, limit, over, 0, 0

    def write(self, views: Views, wait: Wait) -> int:
        wanted = sum(map(len, views))
        if wanted > self._limit - self._bytes:
            reached = self._bytes + wanted
            self._last_words(views, wait)
            raise self._over(reached)
        return self._some(views, wait)

    def _some(self, views: Views, wait: Wait) -> int:
        while True:
            try:
                count = os.writev(self._fd, views)
                break
            except BlockingIOError:
                wait.until_ready(self._fd, select.POLLOUT)
            except OSError as error:
                raise GuestError(from_host(error)) from None
        self._calls += 1
        self._bytes += count
        return count

    def _last_words(self, views: Views, wait: Wait) -> None:
        """What still fits under the limit is written: the reader gets all that was allowed."""
        for view in views:
            part = view[: self._limit - self._bytes]
            while len(part) > 0:
                part = part[self._some([part], wait) :]

    def ready(self) -> int | None:
        return self._fd

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(self._calls, self._bytes)


class TailSink:
    """Keeps the last bytes written to it (stderr), counts all, and hands them on to `echo` as they come.

    An echo that fails is given up: the tail is what counts.
    """

    __slots__ = ("_bytes", "_calls", "_echo", "_keep", "_tail")

    def __init__(self, keep: int = TAIL, echo: Sink | None = None) -> None:
        self._tail, self._keep, self._echo, self._calls, self._bytes = bytearray(), keep, echo, 0, 0

    def write(self, views: Views, wait: Wait) -> int:
        count = 0
        for view in views:
            if count + len(view) > _U32:
                break  # the same megabytes a thousand times over: what was taken is a 32-bit figure
            self._tail += view[-self._keep :]
            count += len(view)
            self._bytes += len(view)
            if len(self._tail) > 2 * self._keep:
                del self._tail[: -self._keep]
            self._hand_on(view, wait)
        self._calls += 1
        return count

    def _hand_on(self, view: memoryview, wait: Wait) -> None:
        while self._echo is not None and len(view) > 0:
            try:
                view = view[self._echo.write([view], wait) :]
            except GuestError:
                self._echo = None

    def ready(self) -> int | None:
        return None

    def tail(self) -> bytes:
        return bytes(self._tail[-self._keep :])

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(self._calls, self._bytes)


def source_from_fd(fd: int) -> Source:
    """A source for a passed descriptor. A regular file is read from its beginning; others are made non-blocking."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return FileSource(fd)
    os.set_blocking(fd, False)
    return StreamSource(fd)


def make_pollable(fd: int) -> None:
    """Prepare a descriptor for `FdSink`: regular files never block, all else must not."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, False)
