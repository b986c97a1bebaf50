"""A result that waits for its client: all of it, in order, wherever it waits, and its end behind it."""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from swift.common.concurrency import sleep

from insitu.storage_hooks.ahead import MEMORY, Ahead
from insitu.storage_hooks.framed import RunAborted

CHUNKS = [os.urandom(size) for size in (1, 300_000, MEMORY - 5, 7, MEMORY + 1, 2_000_000, 3)]


def never() -> None:
    raise AssertionError("nothing was broken")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with next to nothing left."""
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=9, f_blocks=100))


def read(body: Ahead, *, late: bool) -> bytes:
    parts = []
    for chunk in body:
        parts.append(chunk)
        if late:
            sleep(0)  # what is ahead goes on
    body.close()
    return b"".join(parts)


@pytest.mark.parametrize("late", [False, True])
def test_all_of_it_in_order(late: bool) -> None:
    assert read(Ahead(iter(CHUNKS), never), late=late) == b"".join(CHUNKS)


@pytest.mark.parametrize("late", [False, True])
def test_on_a_full_disk_it_waits_for_its_reader(full: None, late: bool) -> None:
    taken = 0

    def body() -> Iterator[bytes]:
        nonlocal taken
        for chunk in CHUNKS:
            taken += 1
            yield chunk

    made = Ahead(body(), never)
    first = next(made)
    sleep(0.2)
    assert taken < len(CHUNKS)
    assert first + read(made, late=late) == b"".join(CHUNKS)


def test_what_breaks_it_comes_behind_all_that_came_and_resets_the_client_first() -> None:
    seen: list[Any] = []

    def body() -> Iterator[bytes]:
        yield b"a"
        yield b"b"
        raise RunAborted("over")

    made = Ahead(body(), lambda: seen.append("reset"))
    assert next(made) == b"a"
    sleep(0)
    assert seen == []
    assert next(made) == b"b"
    for _ in range(2):
        with pytest.raises(RunAborted):
            next(made)
    assert seen[0] == "reset"
    made.close()


def test_closed_in_the_middle_it_closes_what_it_reads() -> None:
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x"
                sleep(0)

        def close(self) -> None:
            closed.append(True)

    made = Ahead(Body(), never)
    next(made)
    made.close()
    assert closed == [True]
