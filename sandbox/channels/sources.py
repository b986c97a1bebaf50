"""Where bytes come from: regular files, and anything else that can be read."""

import os
import select
import stat
from dataclasses import dataclass

from insitu.sandbox.channels.base import Source, Views, Wait
from insitu.sandbox.errno import GuestError, from_host
from insitu.sandbox.outcome import ChannelStatistics


class FileSource:
    """A regular file, from its beginning or from `offset`, whatever the descriptor's own offset is."""

    __slots__ = ("_calls", "_fd", "_offset", "_start")

    def __init__(self, fd: int, offset: int = 0) -> None:
        self._fd, self._offset, self._start, self._calls = fd, offset, offset, 0

    @property
    def bytes(self) -> int:
        return self._offset - self._start

    def read(self, views: Views, wait: Wait) -> int:
        self._calls += 1
        try:
            count = os.preadv(self._fd, views, self._offset)
        except OSError as error:
            raise GuestError(from_host(error)) from None
        self._offset += count
        return count

    def ready(self) -> int | None:
        return None

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(reads=self._calls, bytes_read=self.bytes)


class StreamSource:
    """A pipe, socket or terminal. The descriptor must be non-blocking.

    `patient`: a named pipe that nobody has opened for writing yet. It reads as ended until somebody does: wait first.
    """

    __slots__ = ("_calls", "_fd", "_patient", "bytes")

    def __init__(self, fd: int, *, patient: bool = False) -> None:
        self._fd, self._calls, self.bytes, self._patient = fd, 0, 0, patient

    def read(self, views: Views, wait: Wait) -> int:
        self._calls += 1
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
        self.bytes += count
        return count

    def ready(self) -> int | None:
        return self._fd

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(reads=self._calls, bytes_read=self.bytes)


class EmptySource:
    """Nothing to read."""

    __slots__ = ("_calls",)
    bytes = 0

    def __init__(self) -> None:
        self._calls = 0

    def read(self, views: Views, wait: Wait) -> int:
        self._calls += 1
        return 0

    def ready(self) -> int | None:
        return None

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(reads=self._calls)


@dataclass(frozen=True, slots=True)
class FileInput:
    """A regular file as a named input: read at any place, from `start` to where it ends as the launch begins."""

    fd: int
    start: int = 0


Input = Source | FileInput
"""A named input: one that only goes on, or one with random access."""


def source_from_fd(fd: int) -> Source:
    """A source for a passed descriptor. A regular file is read from its beginning; others are made non-blocking."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return FileSource(fd)
    os.set_blocking(fd, False)
    return StreamSource(fd)


def input_from_fd(fd: int) -> Input:
    """A named input for a passed descriptor: random access for a regular file, else as `source_from_fd`."""
    return FileInput(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else source_from_fd(fd)
