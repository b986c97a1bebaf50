"""Where bytes go: any descriptor, and the record of stderr."""

import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from typing import Final

from insitu.sandbox.channels.base import PIECE, Sink, Views, Wait, head, rest
from insitu.sandbox.errno import GuestError, GuestStop, from_host
from insitu.sandbox.outcome import ChannelStatistics, LimitHit

KEPT: Final = 8 << 10
"""Bytes of stderr that an outcome keeps from its beginning, and as many from its end."""


WIDE: Final = 256 << 10
"""Bytes that a pipe holds once a guest has filled it."""


class Budget:
    """What all outputs of a launch may come to together, and how much of it is used.

    `stop` makes of the limit that was hit what ends the guest.
    """

    __slots__ = ("allowed", "broken", "stop", "used")

    def __init__(self, allowed: int, stop: Callable[[LimitHit], GuestStop]) -> None:
        self.allowed, self.used, self.stop = allowed, 0, stop
        self.broken: tuple[int, str] | None = None
        """The first descriptor that could not be written, for a reason that is the host's own, and that reason."""

    def broke(self, fd: int, why: OSError) -> GuestError:
        """What the guest is told. A reader that went away is nothing of the host's."""
        if self.broken is None and why.errno not in (errno.EPIPE, errno.ECONNRESET):
            self.broken = fd, why.strerror or str(why)
        return GuestError(from_host(why))

    def over(self, reached: int) -> GuestStop:
        return self.stop(LimitHit("output", self.allowed, reached))


class FdSink:
    """Any descriptor. One that can block (pipe, socket, terminal) must be non-blocking.

    The write that passes the budget is cut at it, and ends the guest with what it would have come to.
    """

    __slots__ = ("_budget", "_calls", "_fd", "_widened", "bytes")

    def __init__(self, fd: int, budget: Budget) -> None:
        self._fd, self._budget, self._calls, self.bytes, self._widened = fd, budget, 0, 0, False

    def write(self, views: Views, wait: Wait) -> int:
        """All of it, as a descriptor that blocks takes it: programs count on that. Less only where it broke midway."""
        budget, before = self._budget, self.bytes
        wanted = sum(map(len, views))
        left = budget.allowed - budget.used
        reached = budget.used + wanted
        ahead = head(views, left) if wanted > left else views  # the reader gets all that was allowed
        self._calls += 1
        try:
            while ahead:
                count = self._some(ahead if wanted <= PIECE else head(ahead, PIECE), wait)
                if self.bytes - before == wanted:
                    break
                ahead = rest(ahead, count)
                wait.check()
        except GuestError:
            if self.bytes == before:
                raise
        if wanted > left:
            raise budget.over(reached)
        return self.bytes - before

    def _some(self, views: Views, wait: Wait) -> int:
        while True:
            try:
                count = os.writev(self._fd, views)
                break
            except BlockingIOError:
                if not self._widened:
                    self._widened = True
                    if _widen(self._fd):
                        continue
                wait.until_ready(self._fd, select.POLLOUT)
            except OSError as error:
                raise self._budget.broke(self._fd, error) from None
        self.bytes += count
        self._budget.used += count
        return count

    def ready(self) -> int | None:
        return self._fd

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(writes=self._calls, bytes_written=self.bytes)


class StderrSink:
    """Keeps the first and the last bytes written to it, counts all, and hands them on to `echo` as they come.

    An echo that fails is given up: what is kept is what counts.
    """

    __slots__ = ("_calls", "_echo", "_first", "_keep", "_last", "bytes")

    def __init__(self, keep: int = KEPT, echo: Sink | None = None) -> None:
        self._first, self._last = bytearray(), bytearray()
        self._keep, self._echo, self._calls, self.bytes = keep, echo, 0, 0

    def write(self, views: Views, wait: Wait) -> int:
        self._calls += 1
        count = 0
        for view in views:
            room = self._keep - len(self._first)
            self._first += view[:room]
            self._last += view[room:][-self._keep :]
            if len(self._last) > 2 * self._keep:
                del self._last[: -self._keep]
            count += len(view)
            self.bytes += len(view)
            self._hand_on(view, wait)
        return count

    def _hand_on(self, view: memoryview, wait: Wait) -> None:
        while self._echo is not None and len(view) > 0:
            try:
                view = view[self._echo.write([view], wait) :]
            except GuestError:
                self._echo = None

    def ready(self) -> int | None:
        return None

    def kept(self) -> bytes:
        """All of it, or its first and last part with a line between them that says how many bytes are missing."""
        first = bytes(self._first)
        if not self._last:
            return first
        last = bytes(self._last[-self._keep :])
        missing = self.bytes - len(first) - len(last)
        return first + (b"\n[insitu: %d bytes of stderr left out]\n" % missing if missing else b"") + last

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(writes=self._calls, bytes_written=self.bytes)


def _widen(fd: int) -> bool:
    """Whether a pipe that is full could be made larger: whoever writes much then waits less often for its reader
    (a tenth more throughput; larger ones fall out of the processor's cache). The kernel bounds what a user's
    pipes may come to."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < WIDE <= fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, WIDE)
    except OSError:
        return False  # no pipe, or the user has too many large ones


def make_pollable(fd: int) -> None:
    """Prepare a descriptor for `FdSink`: regular files never block, all else must not."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, False)
