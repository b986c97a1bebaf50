"""Named channels as files of the guest's tree: /dev/in/NAME and /dev/out/NAME.

A regular file is one to the guest too: it can be read, or written, at any place, and has a size. Anything else only
goes on. Inputs are read, outputs are written; what was written is not read back.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from insitu.sandbox import errno
from insitu.sandbox.channels.base import PIECE, Source, Wait, head, rest
from insitu.sandbox.channels.meter import Meter
from insitu.sandbox.channels.sinks import Budget
from insitu.sandbox.channels.sources import FileInput
from insitu.sandbox.errno import GuestError, from_host
from insitu.sandbox.errors import ChannelError
from insitu.sandbox.files.nodes import REGULAR_FILE, SIZE_MAX, Node
from insitu.sandbox.files.volume import Volume
from insitu.sandbox.outcome import ChannelStatistics

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PIECE: Final = 1 << 20


def check_name(name: str) -> None:
    """Raises `ChannelError`."""
    if not NAME.fullmatch(name):
        raise ChannelError(
            f"{name[:80]!r} is no name of a channel: letters, digits, '.', '_' and '-', at most 64, "
            "a letter or digit first"
        )


class InputContents:
    """The bytes of a named input, for a `ReadOnlyFile`."""

    __slots__ = ("_fd", "_meter", "_start", "_wait", "size")

    def __init__(self, given: FileInput, meter: Meter, wait: Wait) -> None:
        self._fd, self._start, self._meter, self._wait = given.fd, given.start, meter, wait
        self.size = max(0, os.fstat(given.fd).st_size - given.start)

    @property
    def bytes(self) -> int:
        return self._meter.bytes

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        meter = self._meter
        if not views:
            return 0
        meter.call()
        wanted = min(sum(map(len, views)), max(0, self.size - offset))
        left = meter.left(wanted)
        if wanted and not left:
            raise meter.over(meter.bytes + 1)
        views = head(views, left)
        count, ahead = 0, views
        try:
            while ahead:
                more = os.preadv(self._fd, head(ahead, PIECE), self._start + offset + count)
                if not more:
                    meter.unreadable = "became shorter while it was read"
                    break
                count += more
                ahead = rest(ahead, more)
                if ahead:
                    self._wait.check()
        except OSError as why:
            told = GuestError(from_host(why))
            meter.broke(told)
            if not count:
                raise told from None
        finally:
            meter.crossed(views, count)
        return count

    def statistics(self) -> ChannelStatistics:
        return self._meter.read_from()


class OutputFile(Node):
    """A regular file of the host's as a named output.

    The budget is charged for every byte that is written, and for the zeros of every hole that is left.
    """

    __slots__ = ("_budget", "_fd", "_meter", "_size", "_wait")
    filetype = REGULAR_FILE

    def __init__(self, volume: Volume, fd: int, budget: Budget, meter: Meter, wait: Wait) -> None:
        super().__init__(volume)
        self._fd, self._budget, self._meter, self._wait = fd, budget, meter, wait
        self._size = os.fstat(fd).st_size
        self.links = 1

    @property
    def size(self) -> int:
        return self._size

    @property
    def bytes(self) -> int:
        """Written so far."""
        return self._meter.bytes

    def write(self, views: Sequence[memoryview], offset: int) -> int:
        meter, budget = self._meter, self._budget
        if not views:
            return 0
        meter.call()
        wanted, hole = sum(map(len, views)), max(0, offset - self._size)
        room = budget.allowed - budget.used - hole
        if room < 0:
            raise budget.over(budget.used + hole + wanted)
        left = meter.left(wanted)
        reached = meter.bytes + wanted, budget.used + hole + wanted
        count = self._write(head(views, min(left, room)), offset)
        self.touched()
        if left < wanted and left <= room:
            raise meter.over(reached[0])
        if room < wanted:
            raise budget.over(reached[1])
        return count

    def _write(self, views: Sequence[memoryview], offset: int) -> int:
        count, ahead = 0, views
        try:
            while ahead:
                more = os.pwritev(self._fd, head(ahead, PIECE), offset + count)
                count += more
                ahead = rest(ahead, more)
                if ahead:
                    self._wait.check()
        except OSError as why:
            told = self._broke(why, offset)
            if not count:
                raise told from None
        finally:
            end = offset + count
            self._meter.crossed(views, count)
            if count:
                self._budget.used += count + max(0, offset - self._size)
                self._size = max(self._size, end)
        return count

    def _broke(self, why: OSError, place: int) -> GuestError:
        """A place beyond what files can be is the guest's own doing."""
        return GuestError(from_host(why)) if place > SIZE_MAX else self._budget.broke(self._fd, why)

    def resize(self, size: int) -> None:
        budget = self._budget
        more = max(0, size - self._size)
        if more > budget.allowed - budget.used:
            raise budget.over(budget.used + more)
        try:
            os.ftruncate(self._fd, size)
        except OSError as why:
            raise self._broke(why, size) from None
        budget.used += more
        self._size = size
        self.touched()

    def statistics(self) -> ChannelStatistics:
        return self._meter.written_to()


def spooled(source: Source, wait: Wait, keep: ExitStack) -> FileInput:
    """All that a source has, in a file without a name that lives as long as `keep`. Raises `Deadline`,
    `ChannelError`."""
    try:
        file = keep.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - `keep` closes it
        piece = memoryview(bytearray(_PIECE))
        while count := source.read([piece], wait):
            ahead = piece[:count]
            while ahead:
                ahead = ahead[file.write(ahead) :]
            wait.check()
    except OSError as why:
        raise ChannelError(f"an input cannot be kept aside: {why.strerror}") from None
    except GuestError as why:
        kind = "its reader broke" if why.code == errno.IO else f"error {why.code}"
        raise ChannelError(f"an input cannot be read: {kind}") from None
    return FileInput(file.fileno())
