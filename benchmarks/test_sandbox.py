"""One sandbox in one process: what a launch costs, what many hold, what metering costs.

The yardstick is wasmtime's own Python classes with its own WASI, on an engine set up alike: see wasmtime_side.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.interleave import Aim, Interleave, Turn, Turns
from benchmarks.processors import both_ways, processors
from benchmarks.programs import cat
from benchmarks.wasmtime_side import WasmtimeSide
from insitu.sandbox.channels import EmptySource, make_pollable, source_from_fd
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import KIB, MIB, Limits
from tests.real.packages import QUICKJS, load, obtain

ROOT: Final = Path(__file__).parent.parent
LAUNCH_PAIRS: Final = 200
ROW: Final = 10
"""Launches in one turn: one after another, as a worker does them. The first after the other side's finds caches and
page tables as that left them, and takes twice as long."""
MANY: Final = 10_000


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    yield read_end, write_end
    os.close(read_end)
    os.close(write_end)


def _each(begun: int) -> float:
    """Microseconds for each launch of a row."""
    return (time.perf_counter_ns() - begun) / 1000 / ROW


def _by_wasmtime(wasm: bytes, path: Path, pipe: tuple[int, int], data: bytes) -> Turns:
    side = WasmtimeSide(wasm)
    target = Path(f"/proc/self/fd/{pipe[1]}")  # it opens what it writes to by its name

    def turn() -> Turn:
        os.set_blocking(pipe[1], True)
        yield None
        begun = time.perf_counter_ns()
        codes = [side.launch(["cat"], stdin=path, stdout=target) for _ in range(ROW)]
        yield _each(begun)
        assert codes == [0] * ROW
        assert os.read(pipe[0], ROW * len(data) + 1) == ROW * data

    return turn


@both_ways
def test_warm_launch(
    interleave: Interleave,
    runner: Runner,
    place: Path,
    kilobyte: bytes,
    kilobyte_file: int,
    pipe: tuple[int, int],
    where: str,
) -> None:
    wasm = cat(64 * KIB)
    program = runner.compile(wasm)

    def ours() -> Turn:
        make_pollable(pipe[1])
        yield None
        begun = time.perf_counter_ns()
        outcomes = [
            runner.run(program, Launch(["cat"], source_from_fd(kilobyte_file), pipe[1], Limits())) for _ in range(ROW)
        ]
        yield _each(begun)
        assert all(outcome.ok for outcome in outcomes)
        assert os.read(pipe[0], ROW * len(kilobyte) + 1) == ROW * kilobyte

    theirs = _by_wasmtime(wasm, place / "kilobyte", pipe, kilobyte)
    with processors(where):
        name = f"warm launch in one process, {where} / wasmtime's"
        interleave(name, ours, theirs, pairs=LAUNCH_PAIRS, warm_up=10, aim=Aim(0.5))


def test_warm_launch_by_path(
    interleave: Interleave, runner: Runner, place: Path, kilobyte: bytes, pipe: tuple[int, int]
) -> None:
    """The same when our side, too, has to open both files by their names."""
    wasm = cat(64 * KIB)
    program = runner.compile(wasm)
    path, target = place / "kilobyte", f"/proc/self/fd/{pipe[1]}"
    path.write_bytes(kilobyte)

    def launch() -> bool:
        stdin, stdout = os.open(path, os.O_RDONLY | os.O_CLOEXEC), os.open(target, os.O_WRONLY | os.O_CLOEXEC)
        make_pollable(stdout)
        outcome = runner.run(program, Launch(["cat"], source_from_fd(stdin), stdout, Limits()))
        os.close(stdout)
        os.close(stdin)
        return outcome.ok

    def ours() -> Turn:
        yield None
        begun = time.perf_counter_ns()
        fine = [launch() for _ in range(ROW)]
        yield _each(begun)
        assert all(fine)
        assert os.read(pipe[0], ROW * len(kilobyte) + 1) == ROW * kilobyte

    theirs = _by_wasmtime(wasm, path, pipe, kilobyte)
    interleave("the same, opening its files / wasmtime's", ours, theirs, pairs=LAUNCH_PAIRS, warm_up=10)


def test_many_at_once(interleave: Interleave) -> None:
    def holding(side: str) -> Turns:
        def turn() -> Turn:
            yield None
            command = [sys.executable, "-m", "benchmarks.many", side, str(MANY)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            yield float(done.stdout)

        return turn

    interleave(
        f"memory of each of {MANY:,} sandboxes / wasmtime's",
        holding("insitu"),
        holding("wasmtime"),
        pairs=2,
        warm_up=0,
        unit="bytes",
    )


SIEVE: Final = """
function sieve(most) {
  const composite = new Uint8Array(most + 1);
  let primes = 0;
  for (let n = 2; n <= most; n++) {
    if (composite[n]) continue;
    primes++;
    for (let m = n * n; m <= most; m += n) composite[m] = 1;
  }
  return primes;
}
console.log(sieve(1000000));
"""


def test_fuel_metering(interleave: Interleave, runner: Runner, place: Path) -> None:
    """A real program that computes: QuickJS counts the primes below a million. Few host calls, and the same ones."""
    program, unmetered = load(runner, QUICKJS), WasmtimeSide(obtain(QUICKJS).read_bytes(), fuel=False)
    out, nothing, words = place / "primes", place / "nothing", ["qjs", "-e", SIEVE]
    nothing.touch()

    def metered() -> Turn:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        yield None
        outcome = runner.run(program, Launch(words, EmptySource(), fd, Limits(memory=64 * MIB, wall=60)))
        yield None
        os.close(fd)
        assert outcome.ok, outcome.sentence()
        assert out.read_text() == "78498\n"

    def free() -> Turn:
        yield None
        code = unmetered.launch(words, stdin=nothing, stdout=out)
        yield None
        assert code == 0
        assert out.read_text() == "78498\n"

    interleave("a guest that computes, metered / not metered", metered, free, pairs=8, warm_up=1)
