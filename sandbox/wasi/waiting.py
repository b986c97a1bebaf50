"""Clocks, chance, waiting, ending."""

import select
import time
from typing import Final, NamedTuple

from insitu.sandbox import errno
from insitu.sandbox.channels import Deadline
from insitu.sandbox.clocks import THREAD_CPU, FrozenClocks
from insitu.sandbox.errno import GuestError, GuestStop
from insitu.sandbox.wasi import abi
from insitu.sandbox.wasi.abi import Arguments, u32, u64
from insitu.sandbox.wasi.guest import Guest

SUBSCRIPTIONS_MAX: Final = 1024
_RANDOM_PIECE: Final = 64 << 10
_CLOCK, _READ, _WRITE = range(3)  # `$eventtype`
_ABSOLUTE: Final = 1
_HANGUP: Final = 1
_SUBSCRIPTION, _EVENT = 48, 32


def _clock(number: int) -> int:
    if number > THREAD_CPU:
        raise GuestError(errno.INVAL)
    return number


def clock_res_get(guest: Guest, a: Arguments) -> int:
    resolution = guest.clocks.resolution(_clock(a[0]))
    u64(guest.span(a[4], 8), 0, resolution)
    return 0


def clock_time_get(guest: Guest, a: Arguments) -> int:
    clock, span = _clock(a[0]), guest.span(a[8], 8)
    u64(span, 0, guest.clocks.now(clock))
    return 0


def random_get(guest: Guest, a: Arguments) -> int:
    span = guest.span(a[0], a[4])
    take = guest.chance.take
    for at in range(0, len(span), _RANDOM_PIECE):
        piece = span[at : at + _RANDOM_PIECE]
        piece[:] = take(len(piece))
        guest.wait.check()
    return 0


def sched_yield(guest: Guest, a: Arguments) -> int:
    return 0


def proc_exit(guest: Guest, a: Arguments) -> int:
    guest.exit_code = a[0]
    raise GuestStop


def proc_raise(guest: Guest, a: Arguments) -> int:
    return errno.NOTSUP  # there is nobody to signal


class _Event(NamedTuple):
    userdata: int
    error: int
    kind: int
    available: int = 0
    flags: int = 0


class _Timer(NamedTuple):
    left: int
    """Nanoseconds from now."""
    event: _Event


class _Watched(NamedTuple):
    fd: int
    """The host's."""
    event: _Event


def poll_oneoff(guest: Guest, a: Arguments) -> int:
    """Wait for the first of some clocks and channels."""
    guest.wait.check()
    count = a[8]
    if not 0 < count <= SUBSCRIPTIONS_MAX:
        return errno.INVAL
    table, events = guest.span(a[0], _SUBSCRIPTION * count), guest.span(a[4], _EVENT * count)
    result = guest.span(a[12], 4)
    fired: list[_Event] = []
    timers: list[_Timer] = []
    watched: list[_Watched] = []
    for at in range(0, _SUBSCRIPTION * count, _SUBSCRIPTION):
        subscribed = _subscribed(guest, table, at)
        if isinstance(subscribed, _Event):
            fired.append(subscribed)
        elif isinstance(subscribed, _Timer):
            timers.append(subscribed)
        else:
            watched.append(subscribed)
    if isinstance(guest.clocks, FrozenClocks):
        fired += _pass(guest.clocks, timers, bool(fired))
    else:
        fired += _wait(guest, timers, watched, bool(fired))
    for index, event in enumerate(fired):
        abi.event(events, _EVENT * index, *event)
    u32(result, 0, len(fired))
    return 0


def _subscribed(guest: Guest, table: memoryview, at: int) -> _Event | _Timer | _Watched:
    userdata, kind, subject, timeout, _precision, flags = abi.subscription(table, at)
    if kind > _WRITE:
        raise GuestError(errno.INVAL)
    try:
        if kind == _CLOCK:
            clock = _clock(subject)
            left = max(0, timeout - guest.clocks.now(clock)) if flags & _ABSOLUTE else timeout
            return _Timer(left, _Event(userdata, 0, kind))
        fd, available = guest.table[subject].waiting(writing=kind == _WRITE)
        event = _Event(userdata, 0, kind, available)
        return event if fd is None or guest.clocks.frozen else _Watched(fd, event)
    except GuestError as error:
        return _Event(userdata, error.code, kind)


def _pass(clocks: FrozenClocks, timers: list[_Timer], fired: bool) -> list[_Event]:
    """Frozen time does not wait: it moves on to the first timer, unless something else has happened already."""
    step = 0 if fired else min(timer.left for timer in timers)
    clocks.sleep(step)
    return [timer.event for timer in timers if timer.left <= step]


def _wait(guest: Guest, timers: list[_Timer], watched: list[_Watched], fired: bool) -> list[_Event]:
    """Until something happens, or the launch's time is over. `fired`: something has, so just look."""
    begun = time.monotonic_ns()
    first = min((timer.left for timer in timers), default=None)
    poller = select.poll()
    asked: dict[int, int] = {}
    for fd, event in watched:
        asked[fd] = asked.get(fd, 0) | (select.POLLIN if event.kind == _READ else select.POLLOUT)
        poller.register(fd, asked[fd])
    while True:
        passed = time.monotonic_ns() - begun
        left = guest.wait.left()
        if left <= 0:
            raise Deadline
        if first is not None:
            left = min(left, max(0, first - passed) / 1e9)
        happened = dict(poller.poll(0 if fired else left * 1000 + (left > 0))) if watched else {}
        if not watched and not fired:
            time.sleep(left)
        found = []
        for fd, event in watched:
            bits = happened.get(fd, 0)
            broken = bits & ~(select.POLLIN | select.POLLOUT)
            if broken or bits & (select.POLLIN if event.kind == _READ else select.POLLOUT):
                found.append(event._replace(flags=_HANGUP) if bits & select.POLLHUP else event)
        passed = time.monotonic_ns() - begun
        found += [timer.event for timer in timers if timer.left <= passed]
        if found or fired:
            return found
