"""An exception that comes at any moment of a host call, from any of the 46, ends the launch: it is never a success."""

import gc
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from insitu.sandbox.channels import EmptySource
from insitu.sandbox.errno import GuestError, GuestStop
from insitu.sandbox.errors import EngineError
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import Program, to_wasm
from insitu.sandbox.wasi.host import CALLS
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module
from tests.sandbox.specification import FUNCTIONS

ERRORS: list[BaseException] = [
    RuntimeError("boom"),
    MemoryError(),
    RecursionError(),
    OSError(5, "x"),
    StopIteration(),
    GeneratorExit(),
    KeyboardInterrupt(),
    SystemExit(3),
]


def zeros(name: str) -> str:
    """A call with nought for every argument, whose answer is thrown away."""
    words = " ".join("(i32.const 0)" if letter == "i" else "(i64.const 0)" for letter in FUNCTIONS[name])
    call = f"(call ${name} {words})"
    return call if name == "proc_exit" else f"(drop {call})"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_exception_in_a_host_function_reads_as_success(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The guest would write 'lived' and exit 0 if it got any answer at all."""
    raising: list[BaseException] = []

    def breaks(guest: object, a: Any) -> int:
        raise raising[0]

    monkeypatch.setitem(CALLS, name, breaks)
    runner = Runner()
    program = runner.compile(to_wasm(module(zeros(name)).encode()))
    for error in ERRORS:
        raising[:] = [error]
        with pytest.raises(EngineError if isinstance(error, Exception) else type(error)):
            runner.run(program, Launch(["guest"], EmptySource(), 1, Limits(wall=5)))
    raising[:] = [GuestStop()]
    assert not _ends_well(runner, program)
    raising[:] = [GuestError(76)]
    assert name == "proc_exit" or _ends_well(runner, program)


def _ends_well(runner: Runner, program: Any) -> bool:
    return runner.run(program, Launch(["guest"], EmptySource(), 1, Limits(wall=5))).ok


class Interrupt(Exception):
    """What the test's signal handler raises."""


@contextmanager
def interrupts() -> Iterator[Callable[[float], None]]:
    """`arm(seconds)`: SIGALRM raises `Interrupt` in this thread after so long.

    No garbage is collected meanwhile: Python drops what a handler raises inside a callback of its collector, and
    hypothesis has one there.
    """

    def handler(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


COMPUTES = module(
    """(local $n i32)
    (loop $again
      (local.set $n (i32.const 0))
      (loop $spin
        (br_if $spin (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000))))
      (drop (call $sched_yield))
      (br $again))"""
)
ASKS = module(
    """(loop $again
      (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 8)))
      (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)
              (i64.const 0) (i32.const 0) (i32.const 0)))
      (br $again))"""
)


def interrupted(runner: Runner, program: Program, arm: Callable[[float], None], seconds: float) -> None:
    """The guest, which would run for long, is interrupted so many seconds after it has started; that leaves `run`."""
    launch = Launch(["guest"], EmptySource(), 1, Limits(wall=20), on_start=lambda: arm(seconds))
    with pytest.raises((EngineError, Interrupt)) as caught:
        runner.run(program, launch)
    assert isinstance(caught.value, Interrupt) or isinstance(caught.value.__cause__, Interrupt)
    assert runner.host.guest is None


def test_an_interrupt_while_the_guest_computes_is_handed_on(sandbox: Sandbox) -> None:
    """It is noticed as the next host function is entered, where no `try` stands yet."""
    program = sandbox.program(COMPUTES)
    with interrupts() as arm:
        for _ in range(20):
            interrupted(sandbox.runner, program, arm, 0.003)
    sandbox.still_serves()


def test_an_interrupt_at_any_moment_of_a_host_call_is_handed_on() -> None:
    """Hundreds of moments, chance decides which: each ends its launch, and the runner goes on."""
    runner = Runner()
    program = runner.compile(to_wasm(ASKS.encode()))
    chance = random.Random(20261122)
    with interrupts() as arm:
        for _ in range(200):
            interrupted(runner, program, arm, chance.uniform(0.00002, 0.0010))


def test_an_interrupt_leaves_no_file_of_the_host_open(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    body = """
      (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 0) (i64.const 2)
              (i64.const 0) (i32.const 0) (i32.const 200)))
      (loop $again (drop (call $sched_yield)) (br $again))"""
    program = sandbox.program(module(body, more='(data (i32.const 100) "file")'))
    files = Files.read_only(tmp_path)
    sandbox.runner.run(program, Launch(["guest"], EmptySource(), 1, Limits(wall=0.02), files=files))
    open_before = len(os.listdir("/proc/self/fd"))  # the engine's own descriptor for the program's data among them
    with interrupts() as arm:
        launch = Launch(["guest"], EmptySource(), 1, Limits(wall=20), files=files, on_start=lambda: arm(0.05))
        with pytest.raises((EngineError, Interrupt)):
            sandbox.runner.run(program, launch)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_host_at_the_end_of_pythons_stack_refuses_before_the_guest_starts(sandbox: Sandbox) -> None:
    """A callback that cannot be entered would answer the engine with whatever lies on the stack."""
    program = sandbox.program(module("(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))"))
    started: list[bool] = []

    def at(depth: int) -> bool:
        if depth:
            return at(depth - 1)
        launch = Launch(["guest"], EmptySource(), 1, Limits(), on_start=lambda: started.append(True))
        return sandbox.runner.run(program, launch).ok

    def deep_enough(depth: int) -> bool:
        started.clear()
        try:
            assert at(depth)
        except RecursionError:
            assert not started
            return False
        return True

    limit = sys.getrecursionlimit()
    found = [deep_enough(depth) for depth in range(limit - 200, limit)]
    assert found[0]
    assert not found[-1]
    assert found == sorted(found, reverse=True)
    sandbox.still_serves()
