"""A sandbox that was made before its launch is as good as one that was made for it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from insitu.sandbox import raw
from insitu.sandbox.limits import MIB, PAGE, Limits
from insitu.sandbox.outcome import Outcome
from tests.sandbox.conftest import Result, Sandbox
from tests.sandbox.guests import COPY

COUNTS = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\01\\00\\00\\00A")
  (global $many (mut i32) (i32.const 0))
  (func (export "_start")
    (global.set $many (i32.add (global.get $many) (i32.const 1)))
    (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (global.get $many)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"""
"""Writes "B": "C" if anything is left of the run before."""

STARTS = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\01\\00\\00\\00S")
  (func $say (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
  (start $say)
  (func (export "_start") (i32.store8 (i32.const 8) (i32.const 69)) (call $say)))"""
"""Says "S" before it is called and "E" when it is."""

GROWS = """(module
  (memory (export "memory") 16)
  (func (export "_start")
    (if (i32.eq (memory.grow (i32.const 48)) (i32.const -1)) (then unreachable))))"""
"""4 MiB in all, from 1 MiB."""

LARGE = '(module (memory (export "memory") 5000) (func (export "_start")))'
TABLE = '(module (memory (export "memory") 1) (table 1000 funcref) (func (export "_start")))'
HIDDEN = '(module (memory 16) (func (export "_start")))'
FOREVER = '(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))'
NO_MEMORY = '(module (func (export "_start")))'
OUT_OF_BOUNDS = '(module (memory (export "memory") 1) (data (i32.const 65536) "x") (func (export "_start")))'


@pytest.fixture
def fresh() -> Sandbox:
    """With nothing made ahead by anybody else."""
    return Sandbox()


@pytest.fixture
def both(fresh: Sandbox) -> Iterator["Both"]:
    yield Both(fresh)
    fresh.still_serves()


class Both:
    """Runs a guest in a sandbox made for it, then in one made ahead: they must come to the same."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def run(self, wat: str, *, stdin: bytes | None = None, limits: Limits | None = None) -> Result:
        plain = self._sandbox.run(wat, stdin=stdin, limits=limits)
        for _ in range(2):
            self._sandbox.runner.make_ahead(self._sandbox.program(wat))
            found = self._sandbox.run(wat, stdin=stdin, limits=limits)
            assert found.output == plain.output
            assert timeless(found.outcome) == timeless(plain.outcome)
        return plain


def timeless(outcome: Outcome) -> Outcome:
    limit = outcome.limit and replace(outcome.limit, reached=0)
    return replace(outcome, limit=limit, usage=replace(outcome.usage, cpu_us=0, wall_us=0))


def test_its_outcome_output_fuel_and_memory_are_the_same(both: Both) -> None:
    data = bytes(range(256)) * 1000
    assert both.run(COPY, stdin=data).output == data


def test_nothing_of_an_earlier_run_is_in_it(both: Both) -> None:
    assert both.run(COUNTS).output == b"B"


def test_a_start_function_runs_with_its_launch_and_once(both: Both) -> None:
    assert both.run(STARTS).output == b"SE"


@pytest.mark.parametrize("wat", [LARGE, TABLE, HIDDEN, NO_MEMORY, OUT_OF_BOUNDS, GROWS])
@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(memory=2 * MIB),
        Limits(memory=PAGE),
        Limits(memory=1024 * MIB),
        Limits(table=10),
        Limits(fuel=2),
    ],
    ids=["default", "2 MiB", "64 KiB", "1 GiB", "table", "fuel"],
)
def test_the_limits_are_its_launchs(both: Both, wat: str, limits: Limits) -> None:
    both.run(wat, limits=limits)


def test_what_it_may_grow_to_is_its_launchs(fresh: Sandbox) -> None:
    for memory, end in ((2 * MIB, "trap"), (4 * MIB, "exit"), (2 * MIB, "trap")):
        fresh.runner.make_ahead(fresh.program(GROWS))
        assert fresh.run(GROWS, limits=Limits(memory=memory)).outcome.end == end


def test_its_time_begins_with_its_launch(both: Both) -> None:
    outcome = both.run(FOREVER, limits=Limits(wall=0.05)).outcome
    assert outcome.limit is not None
    assert outcome.limit.name == "wall"


def test_one_for_another_program_is_left_alone_or_replaced(fresh: Sandbox) -> None:
    fresh.runner.make_ahead(fresh.program(COUNTS))
    assert fresh.run(COPY, stdin=b"x").output == b"x"
    fresh.runner.make_ahead(fresh.program(COPY))
    assert fresh.run(COUNTS).output == b"B"
    assert fresh.run(COPY, stdin=b"x").output == b"x"


def test_it_is_what_the_launch_runs_in(fresh: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = raw.Instance.__init__

    def counted(self: raw.Instance, *args: Any) -> None:
        made.append(self)
        plain(self, *args)

    monkeypatch.setattr(raw.Instance, "__init__", counted)
    for wat, count in ((COUNTS, 1), (STARTS, 2)):  # the second is not had beforehand
        fresh.runner.make_ahead(fresh.program(wat))
        fresh.run(wat)
        assert len(made) == count
        made.clear()
