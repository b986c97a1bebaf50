"""What each measure of confinement costs a worker, against native spawn: between its fork and its word that it is
ready, where it is taken, and at the launch that follows, where it may be felt.

Under isolation `process` each launch costs one such worker, made beforehand; under `shared` a thousand launches do.
A measure is timed where it is taken; the first that calls into the C library pays for the pages that this touches in a
fresh fork, whichever it is. And each is left out in turn, which also shows what it does to what comes after it.
"""

import json
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import pytest

from benchmarks.confinement import NAMES
from benchmarks.daemon import SHIPPED_CAT
from benchmarks.interleave import Figure, Interleave, Turn, percentile
from benchmarks.load import both_loads
from benchmarks.turns import spawned
from insitu.runtime.cache import CompiledCache
from insitu.sandbox import raw
from insitu.sandbox.digest import program_digest
from insitu.sandbox.launch import Runner
from insitu.sandbox.program import compile_program

ROUNDS: Final = 80
Ask = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def spawner(place: Path, kilobyte_file: int) -> Iterator[tuple[list[str], Ask]]:
    """The names of the measures that hold here, and how to have a worker forked without some."""
    cache, wasm = place / "confined", SHIPPED_CAT.read_bytes()
    code = raw.serialize(compile_program(Runner().engine, wasm, "cat"))  # the spawner itself must not: it makes threads
    CompiledCache(cache).store(program_digest(wasm), code)
    command = [sys.executable, "-m", "benchmarks.confinement", str(place / "kilobyte"), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout
        held = set(_answer(answers))

        def ask(without: str) -> dict[str, Any]:
            print(without, file=orders, flush=True)
            found: dict[str, Any] = _answer(answers)
            return found

        yield [name for name in NAMES if name in held], ask
        orders.close()


def _answer(answers: IO[str]) -> Any:
    line = answers.readline()
    if not line:
        raise RuntimeError("the spawner ended")
    return json.loads(line)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 99.5 % confidence interval of their median: of eleven measures one would often stand out of 95 %."""
    chance = random.Random(1)
    found = [statistics.median(chance.choices(values, k=len(values))) for _ in range(4000)]
    return percentile(found, 0.25), percentile(found, 99.75)


@both_loads
def test_measures(
    interleave: Interleave, spawner: tuple[list[str], Ask], load: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    held, ask = spawner
    for name in set(NAMES) - set(held):
        interleave.note(f"confinement: {name} does not hold here")
    everything = " ".join(held)
    without: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def turn() -> Turn:
        for left_out in (everything, *held):
            without[left_out].append(ask(left_out))
        found = ask("")
        without[""].append(found)
        yield None
        yield sum(found["took"].values())

    figure = interleave(
        f"confinement of a worker, all measures{load} / native spawn",
        turn,
        spawned(kilobyte_file, kilobyte),
        pairs=ROUNDS,
        warm_up=3,
    )
    samples = {name: found[-ROUNDS:] for name, found in without.items()}

    def add(name: str, costs: Sequence[float]) -> None:
        interleave.add(Figure(f"{name}{load} / native spawn", tuple(costs), figure.yardstick, None))

    for name in held:
        add(f"confinement of a worker, {name}", [found["took"][name] for found in samples[""]])
    for what, key in (("worker ready after its fork", "ready"), ("first byte from a ready worker", "first")):
        add(f"{what}, confined", [found[key] for found in samples[""]])
        add(f"{what}, without its own measures", [found[key] for found in samples[everything]])
        felt = {}
        for left_out in (everything, *held):
            more = [b[key] - a[key] for a, b in zip(samples[left_out], samples[""], strict=True)]
            low, high = interval(more)
            if left_out == everything or not low <= 0 <= high:
                name = "all" if left_out == everything else left_out
                felt[name] = f"{name} {statistics.median(more):+.0f} µs ({low:+.0f} to {high:+.0f})"
        told = ", ".join(felt.values())
        interleave.note(f"{what}{load}, with a measure rather than without: {told}; no other to be told from nothing")
