"""The state of one running guest, as the host functions see it, and the one way into its memory."""

from collections.abc import Sequence
from typing import Final

from insitu.sandbox import errno, raw
from insitu.sandbox.channels import Wait
from insitu.sandbox.clocks import Chance, Clocks
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.volume import Volume
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import LimitHit
from insitu.sandbox.wasi.abi import two_u32
from insitu.sandbox.wasi.table import Table

IOV_MAX: Final = 1024  # POSIX's own bound on one readv or writev
_TRANSFER_MAX: Final = (1 << 32) - 1  # what a call moved is told in 32 bits


class NoMemory(Exception):
    """No memory is known: the module exports none, or its start function is running and it has to be asked for."""


class Guest:
    __slots__ = (
        "args", "chance", "clocks", "crash", "env", "exit_code", "instance", "limit", "limits", "refused", "table",
        "tmp", "wait",
    )  # fmt: skip

    def __init__(
        self,
        instance: raw.Instance,
        args: Sequence[bytes],
        env: Sequence[bytes],
        table: Table,
        tmp: Volume,
        limits: Limits,
        clocks: Clocks,
        chance: Chance,
        wait: Wait,
    ) -> None:
        self.instance, self.args, self.env, self.wait = instance, args, env, wait
        self.tmp = tmp
        """What counts the files that it writes."""
        self.table, self.limits, self.clocks, self.chance = table, limits, clocks, chance
        self.exit_code: int | None = None
        self.limit: LimitHit | None = None
        """The limit that ended it."""
        self.refused: LimitHit | None = None
        """The first limit at which it was refused something and went on."""
        self.crash: BaseException | None = None

    def refuse(self, name: str, allowed: int, reached: int) -> None:
        if self.refused is None:
            self.refused = LimitHit(name, allowed, reached)

    # Memory: no host function touches the guest's memory but through these. Those that begin calls which may take
    # milliseconds look at the time: the alarm's thread gets Python's lock only by luck between many such calls.

    def span(self, pointer: int, length: int) -> memoryview:
        """The guest's bytes [pointer, pointer + length), or EFAULT."""
        instance = self.instance
        view, end = instance.view, pointer + length
        if end > len(view):
            if not instance.has_memory:
                raise NoMemory
            view = instance.refresh()
            if end > len(view):
                raise GuestError(errno.FAULT)
        return view[pointer:end]

    def vectors(self, pointer: int, count: int) -> list[memoryview]:
        """The buffers of an iovec array, those of no length left out. EINVAL for more than can be told."""
        self.wait.check()
        if count > IOV_MAX:
            raise GuestError(errno.INVAL)
        table = self.span(pointer, 8 * count)
        views, total = [], 0
        for at in range(0, 8 * count, 8):
            start, length = two_u32(table, at)
            if length:
                views.append(self.span(start, length))
                total += length
        if total > _TRANSFER_MAX:
            raise GuestError(errno.INVAL)  # the same megabytes a thousand times over
        return views

    def path(self, pointer: int, length: int) -> bytes:
        """A path, or ENAMETOOLONG above the limit."""
        self.wait.check()
        if length > self.limits.path:
            self.refuse("path", self.limits.path, length)
            raise GuestError(errno.NAMETOOLONG)
        return bytes(self.span(pointer, length))
