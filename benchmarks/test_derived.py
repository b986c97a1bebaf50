"""What a stored result costs its readers: a later one against a plain GET of an object of that size, over one proxy,
and the first against one whose result is not kept.

Up to 1 MiB the proxy remembers the result, and asks Swift for the source alone; what is larger is read from the store.
"""

import http.client
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
    [("1 KB", KILOBYTE, 300, 30), ("1 MB", 1 << 20, 200, 20), ("4 MB", 4 << 20, 100, 10), ("64 MB", LARGE, 25, 4)],
    ids=["1KB", "1MB", "4MB", "64MB"],
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


def first_read(stored: Stored, reader: Reader, *, keep: bool) -> Turns:
    """GETs of what nobody has asked for before: the object is another one each time."""
    turns = reader.turns("cat", {} if keep else {"Cache-Control": "no-store"})

    def turn() -> Turn:
        stored.data = os.urandom(len(stored.data))
        with closing(http.client.HTTPConnection(stored.host, stored.port, timeout=60)) as connection:
            connection.request("PUT", stored.path, stored.data, {"X-Auth-Token": stored.token})
            assert connection.getresponse().status == 201
        yield from turns()

    return turn


@pytest.mark.parametrize(
    ("what", "size", "pairs", "warm_up"),
    [("1 KB", KILOBYTE, 200, 20), ("4 MB", 4 << 20, 60, 6)],
    ids=["1KB", "4MB"],
)
def test_a_result_that_is_stored_while_it_is_read(
    interleave: Interleave, keeping: DevCluster, what: str, size: int, pairs: int, warm_up: int
) -> None:
    stored = Stored(keeping, os.urandom(size))
    with closing(Reader(stored)) as one, closing(Reader(stored)) as other:
        interleave(
            f"GET {what} through cat, kept / not kept",
            first_read(stored, one, keep=True),
            first_read(stored, other, keep=False),
            pairs=pairs,
            warm_up=warm_up,
        )
