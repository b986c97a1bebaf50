"""Exit codes, traps, start functions, and what a host that breaks comes to: each by its name, none as a success."""

import math
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from insitu.sandbox.channels import ChannelStatistics, EmptySource, StderrSink, StreamSource, Wait
from insitu.sandbox.errors import EngineError
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import LimitHit, Outcome, Usage
from insitu.sandbox.program import to_wasm
from tests.sandbox.conftest import Sandbox, pipe
from tests.sandbox.guests import COPY, LOOP, module


def test_every_exit_code_comes_back_whole(sandbox: Sandbox) -> None:
    read_code = """
      (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 4))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (call $proc_exit (i32.load (i32.const 16)))"""
    for code in [*range(256), 1 << 31, (1 << 32) - 1]:
        outcome = sandbox.run(module(read_code), stdin=code.to_bytes(4, "little")).outcome
        assert (outcome.end, outcome.exit_code, outcome.ok) == ("exit", code, code == 0)


def test_returning_is_exit_code_0(sandbox: Sandbox) -> None:
    assert sandbox.run(module("")).outcome.ok


RECURSION = module("(call $deeper)", more="(func $deeper (call $deeper))")
TRAPS = {
    "unreachable": module("unreachable"),
    "out of bounds memory access": module("(drop (i32.load (i32.const 65536)))"),
    "integer divide by zero": module("(drop (i32.div_u (i32.const 1) (i32.const 0)))"),
    "integer overflow": module("(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))"),
    "invalid conversion to integer": module("(drop (i32.trunc_f32_s (f32.const nan)))"),
    "call stack exhausted": RECURSION,
    "uninitialized element": module("(call_indirect (i32.const 0))", more="(table 1 funcref)"),
    "undefined element": module("(call_indirect (i32.const 9))", more="(table 1 funcref)"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_has_the_engines_name_and_says_where(sandbox: Sandbox, name: str) -> None:
    outcome = sandbox.run(TRAPS[name]).outcome
    assert outcome.end == "trap"
    assert outcome.exit_code is None
    assert name in outcome.sentence()
    assert outcome.trap is not None
    assert len(outcome.trap.splitlines()) > 1, "no backtrace"
    sandbox.still_serves()


def test_a_trap_after_output_keeps_what_was_written(sandbox: Sandbox) -> None:
    body = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))) unreachable"
    result = sandbox.run(module(body, more='(data (i32.const 0) "\\08\\00\\00\\00\\04\\00\\00\\00done")'))
    assert result.outcome.end == "trap"
    assert result.output == b"done"
    assert result.outcome.usage.bytes_out == 4


def test_functions_with_names_of_megabytes_give_a_trap_of_readable_length(sandbox: Sandbox) -> None:
    name = "f" * 1_000_000
    outcome = sandbox.run(f'(module (func ${name} (export "_start") (call ${name}) (call ${name})))').outcome
    assert outcome.end == "trap"
    assert len(outcome.trap or "") < 20_000


START = '(import "wasi_snapshot_preview1" "{0}" (func ${0} {1}))'
WRITE = START.format("fd_write", "(param i32 i32 i32 i32) (result i32)")
EXIT = START.format("proc_exit", "(param i32)")
DATA = '(memory (export "memory") 1) (data (i32.const 0) "\\08\\00\\00\\00\\04\\00\\00\\00done")'
WRITES = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))"


def test_a_start_function_has_the_host_and_its_memory(sandbox: Sandbox) -> None:
    wat = f'(module {WRITE} {DATA} (func $s {WRITES}) (start $s) (func (export "_start") {WRITES}))'
    result = sandbox.run(wat)
    assert result.outcome.ok
    assert result.output == b"donedone"


def test_a_start_function_may_exit_trap_or_take_too_long(sandbox: Sandbox) -> None:
    start = '(module {} {} (func $s {}) (start $s) (func (export "_start") unreachable))'
    assert sandbox.run(start.format(EXIT, DATA, "(call $proc_exit (i32.const 9))")).outcome.exit_code == 9
    assert sandbox.run(start.format("", DATA, "(drop (i32.load (i32.const -1)))")).outcome.end == "trap"
    slow = sandbox.run(start.format("", DATA, "(loop $l (br $l))"), limits=Limits(wall=0.05)).outcome
    assert slow.limit is not None
    assert slow.limit.name == "wall"
    hungry = sandbox.run(start.format("", DATA, "(loop $l (br $l))"), limits=Limits(fuel=10_000)).outcome
    assert hungry.limit == LimitHit("fuel", 10_000, 10_000)
    sandbox.still_serves()


def test_data_outside_memory_is_a_trap(sandbox: Sandbox) -> None:
    outcome = sandbox.run(module("", more='(data (i32.const 65535) "ab")')).outcome
    assert outcome.end == "trap"


YIELD = module("(loop $again (call $sched_yield) (drop) (br $again))")


def broken_runner(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Runner:
    """One whose sched_yield breaks, and then does nothing: an error that is lost would loop until the wall time."""
    from insitu.sandbox.wasi.host import CALLS

    errors = [error]

    def breaks(guest: object, a: Any) -> int:
        if errors:
            raise errors.pop()
        return 0

    monkeypatch.setitem(CALLS, "sched_yield", breaks)
    return Runner()


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), RecursionError(), OSError(5, "x")], ids=repr)
def test_a_host_function_that_breaks_is_never_a_success(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    runner = broken_runner(monkeypatch, error)
    launch = Launch(["guest"], EmptySource(), 1, Limits(wall=5))
    program = runner.compile(to_wasm(YIELD.encode()))
    with pytest.raises(EngineError, match="a host function broke"):
        runner.run(program, launch)
    short = Launch(["guest"], EmptySource(), 1, Limits(wall=0.02))
    assert runner.run(program, short).limit is not None  # the same runner goes on


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_ends_the_process_is_handed_on(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    runner = broken_runner(monkeypatch, error)
    with pytest.raises(type(error)):
        runner.run(runner.compile(to_wasm(YIELD.encode())), Launch(["guest"], EmptySource(), 1, Limits(wall=5)))


def test_an_interrupt_ends_a_blocked_read_and_is_handed_on(sandbox: Sandbox) -> None:
    """SIGINT while the guest waits for a pipe: the handler's exception leaves `run`."""

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pipe() as (read, _write):
            os.set_blocking(read, False)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                sandbox.launch(COPY, StreamSource(read), 1, limits=Limits(wall=20))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    sandbox.still_serves()


def test_a_runner_runs_one_guest_at_a_time(sandbox: Sandbox) -> None:
    inner: list[BaseException] = []

    def again() -> None:
        try:
            sandbox.run(COPY, stdin=b"")
        except EngineError as why:
            inner.append(why)

    program = sandbox.program(module(""))
    launch = Launch(["guest"], EmptySource(), 1, Limits(), on_start=again)
    outcome = sandbox.runner.run(program, launch)
    assert outcome.ok
    assert len(inner) == 1
    sandbox.still_serves()


SENTENCES: list[tuple[Outcome, str]] = [
    (Outcome("exit", exit_code=3), "exit code 3"),
    (Outcome("exit", exit_code=3, note="why"), "exit code 3 (why)"),
    (Outcome("trap", trap="unreachable\nframe"), "trap: unreachable"),
    (Outcome("limit", limit=LimitHit("wall", 10, 10.0213)), "limit wall: 10 s allowed, 10.02 s reached"),
    (Outcome("limit", limit=LimitHit("wall", 0.05, 0.051)), "limit wall: 50 ms allowed, 51 ms reached"),
    (
        Outcome("limit", limit=LimitHit("memory", 1 << 20, 3 << 20)),
        "limit memory: 1 MiB allowed, 3 MiB reached",
    ),
    (Outcome("limit", limit=LimitHit("fuel", 10, 11)), "limit fuel: 10 allowed, 11 reached"),
    (Outcome("limit", limit=LimitHit("output", 1000, 1536)), "limit output: 1000 B allowed, 1.5 KiB reached"),
    (Outcome("cancelled"), "cancelled: whoever asked for it went away"),
    (
        Outcome("lost", note="worker 5 killed by SIGKILL"),
        "lost: the process it ran in died (worker 5 killed by SIGKILL)",
    ),
]


@pytest.mark.parametrize(("outcome", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_one_line_for_people(outcome: Outcome, sentence: str) -> None:
    assert outcome.sentence() == sentence
    assert not outcome.ok


@pytest.mark.parametrize("outcome", [outcome for outcome, _ in SENTENCES], ids=str)
def test_an_outcome_survives_the_wire(outcome: Outcome) -> None:
    assert Outcome.from_wire(outcome.to_wire()) == outcome


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw.update(end="fine"),
        lambda raw: raw.pop("end"),
        lambda raw: raw.pop("usage"),
        lambda raw: raw.update(usage={"fuel": 1, "gold": 2}),
        lambda raw: raw.update(colour="red"),
        lambda raw: raw.update(limit={"name": "wall"}),
    ],
)
def test_an_outcome_of_another_shape_is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    raw = Outcome("exit", exit_code=0, usage=Usage(fuel=1)).to_wire()
    spoil(raw)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Outcome.from_wire(raw)


def test_usage_counts(sandbox: Sandbox) -> None:
    result = sandbox.run(COPY, stdin=b"x" * 200_000)
    usage = result.outcome.usage
    assert (usage.bytes_in, usage.bytes_out, usage.bytes_err) == (200_000, 200_000, 0)
    assert usage.memory_peak == 2 << 16
    assert usage.fuel > 100
    assert 0 < usage.cpu_us <= usage.wall_us * 2
    spin = sandbox.run(LOOP, limits=Limits(wall=0.1)).outcome.usage
    assert spin.wall_us >= 100_000
    assert spin.cpu_us > 1000


def test_the_first_and_the_last_part_of_stderr_are_kept(sandbox: Sandbox) -> None:
    body = """
      (local $n i32)
      (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 10000))
      (loop $next
        (memory.fill (i32.const 8) (i32.add (i32.const 97) (local.get $n)) (i32.const 10000))
        (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 20000)))
        (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10))))"""
    outcome = sandbox.run(module(body)).outcome
    marker = b"\n[insitu: 83616 bytes of stderr left out]\n"
    assert outcome.stderr == b"a" * 8192 + marker + b"j" * 8192
    assert outcome.usage.bytes_err == 100_000


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 16383, 16384, 16385, 16386, 50_000])
@pytest.mark.parametrize("piece", [1000, 8192, 20_000])
def test_stderr_is_whole_up_to_its_two_parts(size: int, piece: int) -> None:
    data = bytes(at % 251 for at in range(size))
    sink = StderrSink()
    for at in range(0, size, piece):
        sink.write([memoryview(data)[at : at + piece]], Wait(math.inf))
    if size <= 16384:
        assert sink.kept() == data
    else:
        marker = b"\n[insitu: %d bytes of stderr left out]\n" % (size - 16384)
        assert sink.kept() == data[:8192] + marker + data[-8192:]
    assert sink.statistics() == ChannelStatistics(writes=-(-size // piece), bytes_written=size)
