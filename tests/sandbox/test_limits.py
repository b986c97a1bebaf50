"""Every limit: enforced exactly, and named with the figure allowed and the figure reached."""

import os
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.channels import EmptySource, StreamSource, make_pollable
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import GIB, MIB, Limits, format_duration, format_size, parse_duration, parse_size
from insitu.sandbox.outcome import LimitHit, Outcome
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


def test_a_table_that_begins_above_the_limit(sandbox: Sandbox) -> None:
    wat = module("", more="(table 101 funcref)")
    outcome = sandbox.run(wat, limits=Limits(table=100)).outcome
    assert (outcome.end, outcome.limit) == ("limit", LimitHit("table", 100, 101))
    assert outcome.sentence() == "limit table: 100 allowed, 101 reached"
    assert sandbox.run(wat, limits=Limits(table=101)).outcome.ok
    assert sandbox.run(module("", more="(table 100000000 funcref)")).outcome.limit == LimitHit("table", 1 << 20, 10**8)


def test_growing_a_table_beyond_the_limit_is_refused_and_the_guest_goes_on(sandbox: Sandbox) -> None:
    grow = "(table.grow $t (ref.null func) (i32.const {}))"
    body = f"""
      (if (i32.ne {grow.format(98)} (i32.const 1)) (then (call $proc_exit (i32.const 100))))
      (if (i32.ne {grow.format(2)} (i32.const -1)) (then (call $proc_exit (i32.const 101))))
      (if (i32.ne {grow.format(1)} (i32.const 99)) (then (call $proc_exit (i32.const 102))))
      (call $proc_exit (i32.const 5))"""
    assert sandbox.run(module(body, more="(table $t 1 funcref)"), limits=Limits(table=100)).outcome.exit_code == 5


def test_more_tables_than_there_may_be_is_a_failure_by_name(sandbox: Sandbox) -> None:
    outcome = sandbox.run(module("", more="(table 1 funcref)" * 9)).outcome
    assert outcome.end == "trap"
    assert "table count too high" in outcome.sentence()


@pytest.mark.parametrize("over", [0, 1, 5])
def test_words_are_counted_with_their_ends(sandbox: Sandbox, over: int) -> None:
    """argv "guest", "abc" and the variable "K=vv": 6 + 4 + 5 bytes."""
    outcome = sandbox.run(COPY, stdin=b"x", args=["abc"], env={"K": "vv"}, limits=Limits(arguments=15 - over)).outcome
    if over:
        assert outcome == Outcome("limit", limit=LimitHit("arguments", 15 - over, 15))
        assert outcome.sentence() == f"limit arguments: {15 - over} B allowed, 15 B reached"
    else:
        assert outcome.ok


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


def cpu(sandbox: Sandbox, wat: str, seconds: float) -> Outcome:
    outcome = sandbox.run(wat, limits=Limits(cpu=seconds, wall=60)).outcome
    assert outcome.end == "limit", outcome.sentence()
    assert outcome.limit is not None
    assert (outcome.limit.name, outcome.limit.allowed) == ("cpu", seconds)
    assert seconds <= outcome.limit.reached < seconds + SLACK
    assert outcome.limit.reached * 1e6 == pytest.approx(outcome.usage.cpu_us)
    sandbox.still_serves()
    return outcome


@pytest.mark.parametrize(
    "body",
    [
        "(loop $l (br $l))",
        "(loop $l (drop (call $sched_yield)) (br $l))",
        "(loop $l (drop (call $random_get (i32.const 0) (i32.const 1048576))) (br $l))",
        "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576)) (br $l))",
    ],
    ids=["computes", "asks", "takes chance", "fills memory"],
)
def test_cpu_time_ends_what_computes(sandbox: Sandbox, body: str) -> None:
    assert cpu(sandbox, module(body, memory="16"), 0.1).sentence().startswith("limit cpu: 100 ms allowed, ")


def test_cpu_time_ends_a_single_host_call_that_computes(sandbox: Sandbox) -> None:
    """One call that would fill a gigabyte with chance, seconds of work, in one go."""
    body = "(drop (call $random_get (i32.const 0) (i32.const 1073741824)))"
    limits = Limits(cpu=0.05, wall=60, memory=GIB)
    outcome = sandbox.run(module(body, memory="16384"), limits=limits).outcome
    assert outcome.limit is not None
    assert outcome.limit.name == "cpu"
    assert 0.05 <= outcome.limit.reached < 0.05 + SLACK  # all of it takes longer


def test_time_that_is_slept_is_no_cpu_time(sandbox: Sandbox) -> None:
    """A guest that sleeps for five times its CPU time, and then has some left to end in."""
    nap = f"(i64.store (i32.const 24) (i64.const {250 * 10**6}))"
    sleep = "(drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))"
    outcome = sandbox.run(module(nap + sleep), limits=Limits(cpu=0.05, wall=60)).outcome
    assert outcome.ok, outcome.sentence()
    assert outcome.usage.wall_us >= 250_000
    assert outcome.usage.cpu_us < 50_000


def test_of_cpu_and_wall_time_the_one_that_ends_first_is_named(sandbox: Sandbox) -> None:
    for seconds, name in ((0.05, "cpu"), (50, "wall")):
        outcome = sandbox.run(LOOP, limits=Limits(cpu=seconds, wall=0.05 if name == "wall" else 50)).outcome
        assert outcome.limit is not None
        assert outcome.limit.name == name


def test_the_cpu_time_of_one_guest_never_ends_the_next(sandbox: Sandbox) -> None:
    names = set()
    for at in range(40):
        outcome = sandbox.run(LOOP, limits=Limits(cpu=0.001 + at % 3 / 1000, wall=60)).outcome
        names.add(outcome.limit.name if outcome.limit else outcome.end)
        calm = sandbox.run(COPY, stdin=b"x" * 1000).outcome
        assert calm.ok, calm.sentence()
    assert names == {"cpu"}


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


CREATE, WRITE = 1, 1 << 6
NAME, LONG = b"tmp/a", b"tmp/" + b"b" * 60


def _open(at: int, length: int, result: int = 200) -> tuple[str | int, ...]:
    return ("path_open", 3, 0, at, length, CREATE, WRITE, 0, 0, result)


# What is refused, its error number, and the hit: all within one guest's first calls.
REFUSED: dict[str, tuple[Limits, list[tuple[str | int, ...]], int, LimitHit]] = {
    "open_files": (Limits(open_files=4), [_open(0, 5)], 33, LimitHit("open_files", 4, 5)),
    "tmp": (
        Limits(tmp=1000),
        [_open(0, 5), ("fd_pwrite", 4, 104, 1, 936, 120)],
        51,
        LimitHit("tmp", 1000, 64 + 1 + 936 + 50),
    ),
    "tmp_files": (Limits(tmp_files=0), [_open(0, 5)], 51, LimitHit("tmp_files", 0, 1)),
    "path": (Limits(path=63), [_open(8, 64)], 37, LimitHit("path", 63, 64)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_to_the_guest_and_stands_beside_its_failure(sandbox: Sandbox, name: str) -> None:
    limits, calls, error, hit = REFUSED[name]
    image = (NAME.ljust(8) + LONG).ljust(104) + struct.pack("<II", 0, 50)
    failed = sandbox.calls(*calls, image=image, limits=limits)
    assert failed.errnos[-1] == error
    assert (failed.outcome.end, failed.outcome.exit_code, failed.outcome.limit) == ("exit", error, hit)
    assert failed.outcome.sentence() == f"exit code {error} (after {hit.sentence()})"
    went_on = sandbox.calls(*calls, ("sched_yield",), image=image, limits=limits)
    assert went_on.outcome.ok
    assert went_on.outcome.limit == hit
    assert went_on.outcome.sentence() == "exit code 0"
    assert sandbox.calls(*calls, image=image).errnos[-1] == 0, "without the limit it would have been done"


def test_the_first_refusal_is_the_one_that_is_told_and_a_trap_has_it_too(sandbox: Sandbox) -> None:
    more = '(data (i32.const 0) "tmp/a")'
    opened = "(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const {}) (i32.const 1)"
    opened += " (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 100)))"
    body = opened.format(5000) + opened.format(5) + "unreachable"
    outcome = sandbox.run(module(body, more=more), limits=Limits(tmp_files=0)).outcome
    assert outcome.end == "trap"
    assert outcome.limit == LimitHit("path", 4096, 5000)
    assert outcome.sentence().endswith("(after limit path: 4 KiB allowed, 5000 B reached)")
    assert Outcome.from_wire(outcome.to_wire()) == outcome


def test_figures_too_near_each_other_to_round_are_exact() -> None:
    assert LimitHit("output", 1 << 20, (1 << 20) + 1).sentence() == ("limit output: 1 MiB allowed, 1048577 B reached")
    assert LimitHit("stdin calls", 3, 4).sentence() == "limit stdin calls: 3 allowed, 4 reached"
    assert LimitHit("in/logo bytes", 1024, 2048).sentence() == "limit in/logo bytes: 1 KiB allowed, 2 KiB reached"


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
        ({"cpu": 0}, "cpu"),
        ({"cpu": float("nan")}, "cpu"),
        ({"cpu": True}, "cpu"),
        ({"table": -1}, "table"),
        ({"table": 1 << 40}, "table"),
        ({"table": 1.5}, "table"),
        ({"arguments": -1}, "arguments"),
        ({"arguments": None}, "arguments"),
        ({"open_files": 3}, "open_files"),
        ({"tmp": -1}, "tmp"),
        ({"tmp_files": "1"}, "tmp_files"),
        ({"path": 0}, "path"),
        ({"colour": 1}, "colour"),
        ({b"wall": 1}, "wall"),
    ],
    ids=str,
)
def test_limits_out_of_bounds_are_named(fields: dict[str, object], name: str) -> None:
    with pytest.raises(LimitsError, match=name):
        Limits.from_wire(fields)


def test_limits_survive_the_wire() -> None:
    limits = Limits(
        memory=MIB, fuel=5, wall=2.5, output=0, open_files=4, tmp=1, tmp_files=2, path=3, cpu=1.5, table=9, arguments=7
    )
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
