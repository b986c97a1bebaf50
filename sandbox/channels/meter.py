"""Quotas, digests, and the whole reads of frozen launches. A channel that has none of them has no meter: it counts by
itself what crosses it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from insitu.sandbox import errno
from insitu.sandbox.channels.base import Sink, Source, Views, Wait, head, rest
from insitu.sandbox.errno import GuestError, GuestStop
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import OUTPUT_BOUNDS
from insitu.sandbox.outcome import ChannelStatistics, LimitHit


@dataclass(frozen=True, slots=True)
class Quota:
    """What may cross one channel, on the way that it has: `calls` of the guest's and `bytes`; None: no quota.

    A guest that reaches beyond is stopped, as by a limit, which is then called "CHANNEL calls" or "CHANNEL bytes". All
    that is allowed crosses before. To find the end of an input with all its bytes read is within the quota of bytes.

    Raises `LimitsError`.
    """

    calls: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for unit, value in (("calls", self.calls), ("bytes", self.bytes)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise LimitsError(f"quota: {value!r} is not a number of {unit}")
            if not OUTPUT_BOUNDS[0] <= value <= OUTPUT_BOUNDS[1]:
                raise LimitsError(f"quota: {value} {unit} is outside what is allowed, 0 to {OUTPUT_BOUNDS[1]}")


NO_QUOTA = Quota()


class Meter:
    """Counts what crosses one channel, holds it against its quota, and digests it."""

    __slots__ = ("_digest", "_name", "_quota", "_stop", "bytes", "calls", "unreadable")

    def __init__(self, name: str, quota: Quota, stop: Callable[[LimitHit], GuestStop], *, digest: bool) -> None:
        self._name, self._quota, self._stop = name, quota, stop
        self._digest = hashlib.sha256() if digest else None
        self.calls = self.bytes = 0
        self.unreadable = ""
        """What is wrong with an input: another time it may be read, and the guest would see something else."""

    def call(self) -> None:
        """One more call of the guest's. Raises `GuestStop` where it is one too many."""
        if self._quota.calls is not None and self.calls >= self._quota.calls:
            raise self._stop(LimitHit(f"{self._name} calls", self._quota.calls, self.calls + 1))
        self.calls += 1

    def left(self, wanted: int) -> int:
        """How many of so many bytes may cross."""
        return wanted if self._quota.bytes is None else min(wanted, self._quota.bytes - self.bytes)

    def crossed(self, views: Views, count: int) -> None:
        """The first `count` bytes of `views` have."""
        self.bytes += count
        if self._digest is not None:
            for view in head(views, count):
                self._digest.update(view)

    def broke(self, why: GuestError) -> None:
        """It could not be read, which the guest was told or will be."""
        self.unreadable = "could not be read" + (": I/O error" if why.code == errno.IO else f": error {why.code}")

    def over(self, reached: int) -> GuestStop:
        return self._stop(LimitHit(f"{self._name} bytes", self._quota.bytes or 0, reached))

    def digest(self) -> str | None:
        return None if self._digest is None else "sha256:" + self._digest.hexdigest()

    def read_from(self) -> ChannelStatistics:
        return ChannelStatistics(reads=self.calls, bytes_read=self.bytes, digest=self.digest())

    def written_to(self) -> ChannelStatistics:
        return ChannelStatistics(writes=self.calls, bytes_written=self.bytes, digest=self.digest())


class MeteredSource:
    """`fill`: every read goes on to the buffers' end or the input's, however the bytes come in."""

    __slots__ = ("_fill", "_meter", "_source")

    def __init__(self, source: Source, meter: Meter, *, fill: bool) -> None:
        self._source, self._meter, self._fill = source, meter, fill

    @property
    def bytes(self) -> int:
        return self._meter.bytes

    def read(self, views: Views, wait: Wait) -> int:
        meter, source = self._meter, self._source
        meter.call()
        wanted = sum(map(len, views))
        left = meter.left(wanted)
        if left < wanted:
            views = head(views, left or 1)  # with none left, one byte tells the end from too much
        count, ahead = 0, views
        try:
            while ahead:
                more = source.read(ahead, wait)
                count += more
                ahead = rest(ahead, more) if self._fill and more else ()
                if ahead:
                    wait.check()
        except GuestError as why:
            meter.broke(why)
            if not count:
                raise
        finally:
            meter.crossed(views, min(count, left))
        if count > left:
            raise meter.over(meter.bytes + count)
        return count

    def ready(self) -> int | None:
        return self._source.ready()

    def statistics(self) -> ChannelStatistics:
        return self._meter.read_from()


class MeteredSink:
    __slots__ = ("_meter", "_sink")

    def __init__(self, sink: Sink, meter: Meter) -> None:
        self._sink, self._meter = sink, meter

    @property
    def bytes(self) -> int:
        return self._meter.bytes

    def write(self, views: Views, wait: Wait) -> int:
        meter, sink = self._meter, self._sink
        meter.call()
        wanted = sum(map(len, views))
        left = meter.left(wanted)
        reached, before = meter.bytes + wanted, sink.bytes
        allowed = head(views, left) if left < wanted else views
        try:
            if allowed:
                sink.write(allowed, wait)
        finally:
            meter.crossed(views, sink.bytes - before)
        if left < wanted:
            raise meter.over(reached)
        return sink.bytes - before

    def ready(self) -> int | None:
        return self._sink.ready()

    def statistics(self) -> ChannelStatistics:
        return self._meter.written_to()
