"""Every limit: enforced exactly, and named with the figure allowed and the figure reached."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.channels import EmptySource, StreamSource, make_pollable
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import GIB, MIB, Limits, format_duration, format_size, parse_duration, parse_size
from insitu.sandbox.outcome import LimitHit
from tests.sandbox.conftest import Sandbox, pipe
from tests.sandbox.guests import COPY, FLOOD, LOOP, module

PAGE = 65536
SLACK = 1.0  # seconds by which a busy machine may be late: the deadline itself is never early


def test_a_memory_that_begins_above_the_limit(sandbox: Sandbox) -> None:
    outcome = sandbox.run(module("", memory="17"), limits=Limits(memory=16 * PAGE)).outcome
    assert outcome.end == "limit"
    assert outcome.limit == LimitHit("memory", 16 * PAGE, 17 * PAGE)
    assert sandbox.run(module("", memory="16"), limits=Limits(memory=16 * PAGE)).outcome.ok


def test_growing_beyond_the_limit_is_refused_and_the_guest_goes_on(sandbox: Sandbox) -> None:
    body = """
      (if (i32.ne (memory.grow (i32.const 14)) (i32.const 1)) (then (call $proc_exit (i32.const 100))))
      (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then (call $proc_exit (i32.const 101))))
      (if (i32.ne (memory.grow (i32.const 1)) (i32.const 15)) (then (call $proc_exit (i32.const 102))))
      (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (call $proc_exit (i32.const 103))))
      (call $proc_exit (i32.const 5))"""
    outcome = sandbox.run(module(body), limits=Limits(memory=16 * PAGE)).outcome
    assert outcome.exit_code == 5
    assert outcome.usage.memory_peak == 16 * PAGE
    assert outcome.note == "memory stood at 1 MiB of the 1 MiB allowed"


def test_no_note_about_memory_where_there_was_plenty(sandbox: Sandbox) -> None:
    outcome = sandbox.run(module("(call $proc_exit (i32.const 5))"), limits=Limits(memory=16 * PAGE)).outcome
    assert outcome.note == ""


def test_tables_are_bounded_too(sandbox: Sandbox) -> None:
    grow = module(
        "(call $proc_exit (i32.eq (table.grow $t (ref.null func) (i32.const 100000000)) (i32.const -1)))",
        more="(table $t 1 funcref)",
    )
    assert sandbox.run(grow).outcome.exit_code == 1
    assert sandbox.run(module("", more="(table 100000000 funcref)")).outcome.end == "trap"


def test_fuel_is_counted_exactly_and_ends_a_loop_within_one_round(sandbox: Sandbox) -> None:
    """The engine looks at its fuel where a loop begins again and where a function does."""
    rounds = "(br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000)))"
    wat, one = module(f"(local $n i32) (loop $l {rounds})"), 7
    used = sandbox.run(wat).outcome.usage.fuel
    assert used == 1000 * one + 1
    assert sandbox.run(wat).outcome.usage.fuel == used
    assert sandbox.run(wat, limits=Limits(fuel=used)).outcome.ok
    outcome = sandbox.run(wat, limits=Limits(fuel=used - one - 1)).outcome
    assert outcome.limit == LimitHit("fuel", used - one - 1, used - one - 1)
    assert outcome.sentence() == f"limit fuel: {used - one - 1} allowed, {used - one - 1} reached"
    assert sandbox.run(LOOP, limits=Limits(fuel=1)).outcome.limit == LimitHit("fuel", 1, 1)


@pytest.mark.parametrize("limit", [0, 1, 999, 1000, 1001, 65_536, 100_000])
def test_output_is_cut_exactly_at_its_limit(sandbox: Sandbox, limit: int) -> None:
    result = sandbox.run(FLOOD, limits=Limits(output=limit))
    assert result.outcome.end == "limit"
    assert result.outcome.limit is not None
    assert (result.outcome.limit.name, result.outcome.limit.allowed) == ("output", limit)
    assert result.outcome.limit.reached == (limit // 1000 + 1) * 1000
    assert len(result.output) == limit
    assert result.outcome.usage.bytes_out == limit


def test_output_as_long_as_its_limit_is_a_success(sandbox: Sandbox) -> None:
    result = sandbox.run(COPY, stdin=b"x" * 100_000, limits=Limits(output=100_000))
    assert result.outcome.ok
    assert len(result.output) == 100_000


def wall(sandbox: Sandbox, wat: str, seconds: float, source: int | None = None, target: int | None = None) -> None:
    """Run what would never end: it ends at its wall time, by that name."""
    begun = time.monotonic()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if source is not None:
            os.set_blocking(source, False)
        stdin = EmptySource() if source is None else StreamSource(source)
        outcome = sandbox.launch(wat, stdin, nowhere if target is None else target, limits=Limits(wall=seconds))
    finally:
        os.close(nowhere)
    elapsed = time.monotonic() - begun
    assert outcome.end == "limit", outcome.sentence()
    assert outcome.limit is not None
    assert (outcome.limit.name, outcome.limit.allowed) == ("wall", seconds)
    assert seconds <= outcome.limit.reached <= elapsed
    assert seconds <= elapsed < seconds + SLACK
    sandbox.still_serves()


def test_a_loop_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    wall(sandbox, LOOP, 0.15)


def test_a_read_of_a_silent_pipe_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    with pipe() as (read, _write):
        wall(sandbox, COPY, 0.15, source=read)


def test_a_write_to_a_full_pipe_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    with pipe() as (_read, write):
        make_pollable(write)
        wall(sandbox, FLOOD, 0.15, target=write)


def test_a_guest_that_asks_the_host_for_ever_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    wall(sandbox, module("(loop $l (drop (call $sched_yield)) (br $l))"), 0.15)


def test_a_guest_that_fills_memory_with_chance_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    body = "(loop $l (drop (call $random_get (i32.const 0) (i32.const 16777216))) (br $l))"
    wall(sandbox, module(body, memory="256"), 0.15)


def test_the_interrupt_of_one_guest_never_hits_the_next(sandbox: Sandbox) -> None:
    """Guests that end just as their time does: the one after has all of its own."""
    outcomes = []
    for at in range(60):
        outcomes.append(sandbox.run(LOOP, limits=Limits(wall=0.001 + at % 5 / 1000)).outcome)
        calm = sandbox.run(COPY, stdin=b"x" * 1000).outcome
        assert calm.ok, calm.sentence()
    assert {outcome.limit.name for outcome in outcomes if outcome.limit} == {"wall"}


def test_a_short_limit_after_a_long_one_is_kept(sandbox: Sandbox) -> None:
    """The alarm sleeps for an end that is far away; one that is nearer wakes it."""
    assert sandbox.run(COPY, stdin=b"", limits=Limits(wall=3600)).outcome.ok
    wall(sandbox, LOOP, 0.05)
    assert sandbox.run(COPY, stdin=b"", limits=Limits(wall=3600)).outcome.ok
    wall(sandbox, LOOP, 0.05)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("1KiB", 1024),
        ("256MiB", 256 << 20),
        ("1.5 gib", 3 << 29),
        (" 2TiB ", 2 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "MiB", "1 MB", "1e3", "0x10", "1MiB2", "nan", "9" * 400, "1,5MiB"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(LimitsError):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("10s", 10), ("250ms", 0.25), ("2 min", 120), ("1h", 3600)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1s", "s", "1d", "1e3", "inf", "1m"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(LimitsError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"memory": 0}, "memory"),
        ({"memory": 65535}, "memory"),
        ({"memory": 4 * GIB + 1}, "memory"),
        ({"memory": "256MiB"}, "memory"),
        ({"memory": True}, "memory"),
        ({"memory": 1e9}, "memory"),
        ({"memory": None}, "memory"),
        ({"fuel": 0}, "fuel"),
        ({"fuel": -1}, "fuel"),
        ({"fuel": 1 << 63}, "fuel"),
        ({"fuel": 1.5}, "fuel"),
        ({"wall": 0}, "wall"),
        ({"wall": float("nan")}, "wall"),
        ({"wall": float("inf")}, "wall"),
        ({"wall": "10s"}, "wall"),
        ({"output": -1}, "output"),
        ({"output": [1]}, "output"),
        ({"colour": 1}, "colour"),
        ({b"wall": 1}, "wall"),
    ],
    ids=str,
)
def test_limits_out_of_bounds_are_named(fields: dict[str, object], name: str) -> None:
    with pytest.raises(LimitsError, match=name):
        Limits.from_wire(fields)


def test_limits_survive_the_wire() -> None:
    limits = Limits(memory=MIB, fuel=5, wall=2.5, output=0)
    assert Limits.from_wire(limits.to_wire()) == limits
    assert Limits.from_wire({}) == Limits()


@given(st.integers(0, 1 << 62))
def test_sizes_are_written_so_that_they_can_be_read(size: int) -> None:
    text = format_size(size)
    if "." not in text and "e" not in text:
        assert parse_size(text) == pytest.approx(size, rel=1e-3)
    assert len(text) < 16


@given(st.floats(0.001, 86400))
def test_durations_are_written_so_that_they_can_be_read(seconds: float) -> None:
    text = format_duration(seconds)
    if "e" not in text:
        assert parse_duration(text) == pytest.approx(seconds, rel=1e-2)
