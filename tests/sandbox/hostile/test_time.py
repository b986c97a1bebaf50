"""Waiting: for centuries, for what is past, for a thousand things at once, for what is not there."""

import struct

import pytest

from insitu.sandbox.channels import EmptySource
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import to_wasm
from tests.sandbox.conftest import Sandbox
from tests.sandbox.hostile.script import (
    CREATE,
    FAR,
    INVAL,
    OUT,
    Attack,
    Attacks,
    Script,
    call,
    load,
)

attacks = Attacks()
CLOCKS = {0: "realtime", 1: "monotonic", 2: "cpu", 3: "thread_cpu"}
ABSOLUTE = 1


def clock(userdata: int, number: int, timeout: int, flags: int = 0, precision: int = 0) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, 0, number, timeout, precision, flags)


def channel(userdata: int, kind: int, fd: int) -> bytes:
    return struct.pack("<QB7xI28x", userdata, kind, fd)


def sleeps(number: int, timeout: int, flags: int, count: int = 1) -> None:
    def write(s: Script) -> None:
        s.place(0, clock(1, number, timeout, flags, (1 << 64) - 1) * count)
        s.do("poll_oneoff", 0, 60_000, count, 16)

    name = f"sleep_on_{CLOCKS[number]}_{'until' if flags else 'for'}_{timeout:x}_{count}_times"
    attacks.all.append(Attack(name, write, "limit wall", Attacks.limits(wall=0.05)))


for number in CLOCKS:
    for timeout in (1 << 63, (1 << 64) - 1, (1 << 63) - 1):
        sleeps(number, timeout, 0)
    sleeps(number, (1 << 64) - 1, ABSOLUTE)
sleeps(1, 1 << 62, 0, count=800)


@attacks("limit wall", wall=0.1)
def sleeps_of_a_nanosecond_for_ever(s: Script) -> None:
    s.place(0, clock(1, 1, 1))
    s.for_ever(f"(drop {call('poll_oneoff', 0, 100, 1, 16)})")


@attacks("limit wall", wall=0.1)
def sleeps_of_nought_for_ever(s: Script) -> None:
    s.place(0, clock(1, 1, 0))
    s.for_ever(f"(drop {call('poll_oneoff', 0, 100, 1, 16)})")


@attacks("limit wall", wall=0.1)
def a_look_at_the_clock_for_ever(s: Script) -> None:
    s.for_ever(f"(drop {call('clock_time_get', 1, 0, 0)})")


@attacks("limit wall", wall=0.1)
def a_thousand_subscriptions_for_ever(s: Script) -> None:
    s.place(0, b"".join(channel(at, 1 + at % 2, at % 5) for at in range(1024)))
    s.memory = "3"
    s.for_ever(f"(drop {call('poll_oneoff', 0, 60_000, 1024, 16)})")


@attacks()
def moments_that_are_past(s: Script) -> None:
    for number in CLOCKS:
        for moment in (0, 1):
            s.place(1000, clock(7, number, moment, ABSOLUTE))
            s.do("poll_oneoff", 1000, 2000, 1, 16)
            s.holds(16, 1)
            s.holds(2000, 7)


@attacks()
def subscriptions_without_end(s: Script) -> None:
    for count in (0, 1025, 65_536, 0x05555556, 0x7FFFFFFF, 0x80000000, FAR):
        s.do("poll_oneoff", 0, 60_000, count, 16, gives=INVAL)


@attacks()
def a_thousand_and_twenty_four_of_the_same(s: Script) -> None:
    s.memory = "3"
    s.place(0, b"".join(channel(at, 1, 0) for at in range(1024)))
    s.do("poll_oneoff", 0, 60_000, 1024, 120_000)
    s.holds(120_000, 1024)
    s.holds(60_000 + 32 * 1023, 1023)


@attacks()
def events_over_their_subscriptions(s: Script) -> None:
    """In every overlap: what is read has been read before anything is written."""
    for shift in (0, 1, 16, 32, 48, 95):
        s.place(1000, b"".join(clock(at, 1, 0) for at in range(1, 4)))
        s.raw("(memory.copy (i32.const 3000) (i32.const 1000) (i32.const 144))")
        s.do("poll_oneoff", 3000, 3000 + shift, 3, 16)
        s.holds(16, 3)
        for at in range(3):
            s.holds(3000 + shift + 32 * at, at + 1)


@attacks()
def the_count_of_events_over_the_events(s: Script) -> None:
    s.place(1000, clock(9, 1, 0) * 2)
    s.do("poll_oneoff", 1000, 2000, 2, 2000)
    s.holds(2000, 2)
    s.do("poll_oneoff", 1000, 2000, 2, 1000)
    s.holds(1000, 2)


@attacks()
def descriptors_that_cannot_be_waited_for(s: Script) -> None:
    s.opens_directory("tmp")
    s.place(0, b"".join(channel(at, 1 + at % 2, fd) for at, fd in enumerate((3, 3, 4, 4, 5, 77, FAR, 0x80000000))))
    s.do("poll_oneoff", 0, 2000, 8, 16)
    s.holds(16, 8)
    for at in range(8):
        s.check(f"(i32.ne (i32.load16_u (i32.const {2000 + 32 * at + 8})) (i32.const 0))")


@attacks()
def clocks_and_kinds_that_are_none(s: Script) -> None:
    for number in (4, 5, 255, 0x7FFFFFFF, FAR):
        s.do("clock_time_get", number, 0, 100, gives=INVAL)
        s.do("clock_res_get", number, 100, gives=INVAL)
        s.place(1000, clock(1, number, 0))
        s.store(1016, number)
        s.do("poll_oneoff", 1000, 2000, 1, 16)
        s.check(f"(i32.eq (i32.load16_u (i32.const 2008)) (i32.const {INVAL}))")
    for kind in (3, 4, 127, 128, 255):
        s.raw(f"(i32.store8 (i32.const 1008) (i32.const {kind}))")
        s.do("poll_oneoff", 1000, 2000, 1, 16, gives=INVAL)


@attacks()
def noise_for_subscriptions(s: Script) -> None:
    """Descriptors, user data and all else as chance has them; only the kinds are those of reads."""
    s.do("random_get", 0, 48 * 100)
    s.times(100, "(i32.store8 (i32.add (i32.mul (local.get $n) (i32.const 48)) (i32.const 8)) (i32.const 1))")
    s.do("poll_oneoff", 0, 10_000, 100, 16)
    s.holds(16, 100)


@attacks()
def times_of_files_at_the_ends_of_time(s: Script) -> None:
    fd = s.opens("tmp/f", flags=CREATE)
    for moment in (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        s.do("fd_filestat_set_times", fd, moment, moment, 1 | 4)
        s.do("path_filestat_get", 3, 0, s.text("tmp/f"), 1000)
        signed = moment - (moment >> 63 << 64)
        s.check(f"(i64.eq (i64.load (i32.const 1040)) (i64.const {signed}))")
        s.check(f"(i64.eq (i64.load (i32.const 1048)) (i64.const {signed}))")
    for flags in (3, 12, 15, 16, 0x8000, FAR):
        s.do("fd_filestat_set_times", fd, 5, 5, flags, gives=INVAL)
        s.do("path_filestat_set_times", 3, 0, s.text("tmp/f"), 5, 5, flags, gives=INVAL)


def test_frozen_time_may_pass_for_ever() -> None:
    """Sleeps of centuries take no time of ours there, thousands of them: the clocks turn over, and go on."""
    s = Script()
    s.place(0, clock(1, 1, (1 << 64) - 1))
    s.times(2000, f"(if {call('poll_oneoff', 0, 100, 1, 16)} (then unreachable))")
    s.do("clock_time_get", 0, 0, 200)
    s.opens("tmp/f", flags=CREATE)
    s.do("fd_filestat_get", load(OUT), 1000)
    s.for_ever(f"(drop {call('poll_oneoff', 0, 100, 1, 16)})")
    runner = Runner(canonical_nans=True)
    launch = Launch(["guest"], EmptySource(), 1, Limits(wall=0.3), frozen=Frozen())
    outcome = runner.run(runner.compile(to_wasm(s.wat().encode())), launch)
    assert outcome.limit is not None, outcome.sentence()
    assert outcome.limit.name == "wall"


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_time(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
