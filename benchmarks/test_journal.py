"""What the journal costs a launch, in the node's own loop: entering it (on the way to its first byte) and recording it
(on the way to its outcome), against native spawn in the same process. The disk is synced by the journal's own thread
meanwhile, as in a node."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.interleave import Interleave, Turn
from benchmarks.turns import spawned
from insitu.runtime.journal.journal import Journal
from insitu.runtime.loop import Loop
from insitu.runtime.record import Record
from insitu.sandbox.outcome import Outcome, Usage

DIGEST = "sha256:" + "a" * 64


@dataclass(frozen=True)
class Program:
    name: str = "cat"
    digest: str = DIGEST


@dataclass(frozen=True)
class Launch:
    """What the journal looks at of a task."""

    id: str = "0" * 32
    request_id: str = "tx0123456789abcdef01234-0123456789"
    tenant: str = "AUTH_bench"
    object: str = "/AUTH_bench/photos/cat.jpg"
    started: float = 1e9
    info: Program = Program()


@pytest.fixture
def journal(place: Path) -> Iterator[tuple[Journal, Loop]]:
    loop = Loop()
    journal = Journal(str(place / "journal"), "bench", workers=8)
    journal.attach(loop)
    yield journal, loop
    journal.close()


def turned(loop: Loop) -> None:
    """Whatever the journal's threads have to say."""
    loop._running = True
    loop.after(0, loop.stop)
    loop.run()


@pytest.mark.parametrize("part", ["enter", "record"])
def test_cost_of_a_launch(
    interleave: Interleave, journal: tuple[Journal, Loop], part: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    book, loop = journal
    task: Any = Launch()
    usage = Usage(10_000, 200, 300, 1 << 20, 1024, 1024, 0)
    record = Record(
        task.id,
        task.request_id,
        task.tenant,
        task.object,
        "cat",
        DIGEST,
        (),
        "bench",
        7,
        time.time(),
        300,
        Outcome("exit", 0, usage=usage),
    )
    written: list[int] = []

    def turn() -> Turn:
        turned(loop)
        before = len(written)
        if part == "enter":
            yield None
            slot = book.begin(task)
            yield None
            book.end(record, slot, lambda: written.append(1))
        else:
            slot = book.begin(task)
            yield None
            book.end(record, slot, lambda: written.append(1))
            yield None
        assert len(written) == before + 1

    interleave(
        f"journal, {part} / native spawn", lambda: turn(), spawned(kilobyte_file, kilobyte), pairs=500, warm_up=50
    )
