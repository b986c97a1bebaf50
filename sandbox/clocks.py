"""Time and chance as a guest has them: the real ones, or fixed ones that are the same in every run."""

import hashlib
import os
import time
from dataclasses import dataclass
from typing import Final, Protocol

REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)
FROZEN_START: Final = 1_600_000_000 * 1_000_000_000  # 2020-09-13T12:26:40Z, in nanoseconds
_TICK: Final = 1_000
_U64: Final = (1 << 64) - 1
_PIECE: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a frozen launch is fixed to: `seed` of all randomness, `clock` in nanoseconds since 1970 at its start."""

    seed: int = 0
    clock: int = FROZEN_START


class Clocks(Protocol):
    frozen: bool

    def now(self, clock: int) -> int:
        """Nanoseconds of `clock`, which is one of the four above."""

    def resolution(self, clock: int) -> int: ...

    def stamp(self) -> int:
        """Now, for the times of a file: nanoseconds since 1970. Looking changes nothing."""


class RealClocks:
    """The machine's. The monotonic clock begins with the launch: the machine's uptime is nobody's business."""

    __slots__ = ("_started",)
    frozen = False

    def __init__(self) -> None:
        self._started = time.monotonic_ns()

    def now(self, clock: int) -> int:
        if clock == REALTIME:
            return time.time_ns()
        if clock == MONOTONIC:
            return time.monotonic_ns() - self._started
        return time.thread_time_ns()

    def resolution(self, clock: int) -> int:
        return 1

    def stamp(self) -> int:
        return time.time_ns()


class FrozenClocks:
    """One made-up time for all four clocks. Each look at it takes a microsecond, so that who waits for it to pass is
    not kept waiting for ever, and a sleep takes what it says and no time of ours."""

    __slots__ = ("_passed", "_start")
    frozen = True

    def __init__(self, start: int) -> None:
        self._start, self._passed = start, 0

    def now(self, clock: int) -> int:
        self._passed += _TICK
        return (self._start + self._passed if clock == REALTIME else self._passed) & _U64

    def resolution(self, clock: int) -> int:
        return _TICK

    def stamp(self) -> int:
        return (self._start + self._passed) & _U64

    def sleep(self, nanoseconds: int) -> None:
        self._passed += nanoseconds


class Chance(Protocol):
    def take(self, count: int) -> bytes:
        """`count` random bytes."""


class RealChance:
    __slots__ = ()

    def take(self, count: int) -> bytes:
        return os.urandom(count)


class SeededChance:
    """A stream that its seed alone decides, however it is cut into pieces: SHAKE-128 over seed and counter."""

    __slots__ = ("_counter", "_left", "_seed")

    def __init__(self, seed: int) -> None:
        self._seed, self._counter, self._left = b"insitu frozen %d" % seed, 0, b""

    def take(self, count: int) -> bytes:
        while len(self._left) < count:
            self._left += hashlib.shake_128(b"%s %d" % (self._seed, self._counter)).digest(_PIECE)
            self._counter += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken
