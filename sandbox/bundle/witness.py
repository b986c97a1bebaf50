"""Sources of runs that are recorded, and of those that come after them.

One keeps what a guest reads of it: the rest is not part of what happened. The other gives that again, and where a guest
waited for more until the clock stopped it, it is stopped again.
"""

import hashlib
import os

from insitu.sandbox.channels.base import Deadline, Source, Views, Wait, head
from insitu.sandbox.outcome import ChannelStatistics


class Witness:
    """`source`, with every byte that is read of it digested, and written to `keep` up to `most` of them."""

    __slots__ = ("_digest", "_most", "_source", "count", "ended", "failure", "keep")

    def __init__(self, source: Source, keep: int | None = None, most: int = 0) -> None:
        """`keep` is a file's descriptor, and stays the caller's."""
        self._source, self._most, self._digest = source, most, hashlib.sha256()
        self.keep = keep
        """None once there was more than may be kept, or it could not be written."""
        self.count = 0
        self.ended = False
        """Whether the guest has come to the end."""
        self.failure: OSError | None = None
        """Why nothing is kept any more, where it is not for the size."""

    @property
    def bytes(self) -> int:
        return self._source.bytes

    def read(self, views: Views, wait: Wait) -> int:
        count = self._source.read(views, wait)
        if not count and any(map(len, views)):
            self.ended = True
        self.count += count
        if self.keep is not None and self.count > self._most:
            os.ftruncate(self.keep, 0)
            self.keep = None
        for view in head(views, count):
            self._digest.update(view)
            if self.keep is not None:
                self._write(self.keep, view)
        return count

    def _write(self, keep: int, view: memoryview) -> None:
        # The guest has its bytes, whatever becomes of ours.
        try:
            while len(view):
                view = view[os.write(keep, view) :]
        except OSError as why:
            self.keep, self.failure = None, why

    def digest(self) -> str:
        return "sha256:" + self._digest.hexdigest()

    def ready(self) -> int | None:
        return self._source.ready()

    def statistics(self) -> ChannelStatistics:
        return self._source.statistics()


class StoppedSource:
    """The first `size` bytes of `source`, which is all that a guest had read when the clock stopped it. What came then
    is not known, and was not the end: who asks for more is stopped by the same limit."""

    __slots__ = ("_left", "_limit", "_source", "stopped")

    def __init__(self, source: Source, size: int, limit: str) -> None:
        """`limit`: "wall" or "cpu"."""
        self._source, self._left, self._limit = source, size, limit
        self.stopped = False
        """Whether the guest has come to where it was stopped."""

    @property
    def bytes(self) -> int:
        return self._source.bytes

    def read(self, views: Views, wait: Wait) -> int:
        if not any(map(len, views)):
            return 0
        count = self._source.read(head(views, self._left), wait) if self._left else 0
        if not count:
            self.stopped = True
            wait.cpu_over = wait.cpu_over or self._limit == "cpu"
            raise Deadline
        self._left -= count
        return count

    def ready(self) -> int | None:
        return self._source.ready()

    def statistics(self) -> ChannelStatistics:
        return self._source.statistics()
