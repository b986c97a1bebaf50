"""An input held against the MD5 that it should have, while a guest reads it.

A stream only goes on, so its bytes are digested in the order in which the guest gets them. Once it has got them all,
which is when it finds the end or, of a file, has as many as the file is long, they are the right ones or the guest is
ended there and then: it sees no end of an input that is damaged. One that stops reading earlier is not judged by what
it has not seen.
"""

import hashlib
import os
import stat
from dataclasses import replace
from typing import Final

from insitu.sandbox.channels.base import PIECE, Source, Views, Wait
from insitu.sandbox.errno import GuestError, GuestStop
from insitu.sandbox.outcome import ChannelStatistics, Outcome

_FRESH: Final = hashlib.md5(usedforsecurity=False)
"""Made when this is imported: what it is made with may be out of reach in a confined process."""


class CheckedSource:
    __slots__ = ("_calls", "_digest", "_expected", "_size", "_source", "damage")

    def __init__(self, source: Source, expected: str, size: int | None) -> None:
        """`expected`: 32 lower-case hexadecimal digits. `size`: of a regular file, in bytes; None for what only goes
        on."""
        self._source, self._expected, self._size, self._calls = source, expected, size, 0
        self._digest = _FRESH.copy()
        self.damage = ""
        """What is wrong with the input, as far as that is known."""

    @property
    def bytes(self) -> int:
        return self._source.bytes

    def read(self, views: Views, wait: Wait) -> int:
        # One after the other: buffers may overlap, and then what stands in them is not what was read. Of a stream a
        # second read might wait for what the first has not to wait for.
        self._calls += 1
        count = 0
        for view in views if self._size is not None else views[:1]:
            got = self._some(view, wait)
            count += got
            if got < len(view):
                break
        return count

    def _some(self, view: memoryview, wait: Wait) -> int:
        try:
            got = self._source.read([view], wait)
        except GuestError:
            # The guest might take it for the end.
            raise self._stop("it cannot be read to its end") from None
        if got <= PIECE:
            self._digest.update(view[:got])
        else:
            for at in range(0, got, PIECE):
                self._digest.update(view[at : min(at + PIECE, got)])
                wait.check()
        if not got or (self._size is not None and self._source.bytes >= self._size):
            found = self._digest.hexdigest()
            if found != self._expected:
                raise self._stop(f"its MD5 is {found}, and {self._expected} was expected")
        return got

    def _stop(self, damage: str) -> GuestStop:
        self.damage = damage
        return GuestStop()

    def ready(self) -> int | None:
        return self._source.ready()

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(reads=self._calls, bytes_read=self.bytes)

    def judged(self, outcome: Outcome) -> Outcome:
        """What a launch with this input came to."""
        if not self.damage or outcome.end == "lost":
            return outcome
        return replace(outcome, end="damaged", note=self.damage, exit_code=None, trap=None, limit=None)


def checked(source: Source, fd: int, expected: str) -> CheckedSource:
    """`source` reads `fd` from its beginning."""
    about = os.fstat(fd)
    return CheckedSource(source, expected, about.st_size if stat.S_ISREG(about.st_mode) else None)
