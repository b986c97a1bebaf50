"""What a stored result costs its reader: a hit against a plain GET of an object of that size, over one proxy."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest

from benchmarks.interleave import Aim, Interleave, Turn, Turns
from benchmarks.test_read import KILOBYTE, LARGE, Reader, Stored
from insitu.storage_hooks.devcluster import DevCluster

_CONTAINER: Final = "bench"
PATIENCE: Final = 60.0
"""Seconds until a result that was read is stored."""


@pytest.fixture(scope="module")
def keeping() -> Iterator[DevCluster]:
    """A cluster whose container keeps the results of all launches."""
    with DevCluster() as running:
        with closing(running.connection()) as connection:
            connection.put_container(_CONTAINER, headers={"X-Container-Run-Derived": "on"})
        yield running


def stored_result(reader: Reader) -> Turns:
    """GETs of a stored result, once there is one."""

    def hit() -> Turn:
        turn = reader.turns("cat")()
        yield from turn
        assert reader.headers["X-Run-Where"] == "derived"

    until = time.monotonic() + PATIENCE
    while reader.headers.get("X-Run-Where") != "derived":
        assert time.monotonic() < until, "the result is never stored"
        for _ in reader.turns("cat")():
            pass
    return hit


@pytest.mark.parametrize(
    ("what", "size", "pairs", "warm_up"),
    [("1 KB", KILOBYTE, 300, 30), ("1 MB", 1 << 20, 200, 20), ("64 MB", LARGE, 25, 4)],
    ids=["1KB", "1MB", "64MB"],
)
def test_a_stored_result(
    interleave: Interleave, keeping: DevCluster, what: str, size: int, pairs: int, warm_up: int
) -> None:
    stored = Stored(keeping, os.urandom(size))
    with closing(Reader(stored)) as hits, closing(Reader(stored)) as reads:
        turns = stored_result(hits)
        interleave(
            f"GET {what} of a stored result / plain", turns, reads.turns(), pairs=pairs, warm_up=warm_up, aim=Aim(1.1)
        )
