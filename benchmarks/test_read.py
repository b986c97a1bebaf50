"""What a run costs a read, and what installed hooks cost a read without one: a real Swift, the whole way.

One client, one keep-alive connection a side, the same object. The body is read into memory that is there already, so
that the client's own work is the least possible.
"""

import http.client
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

import pytest

from benchmarks.interleave import Aim, Figure, Interleave, Turn, Turns, compare
from insitu.storage_hooks.devcluster import DevCluster

KILOBYTE: Final = 1 << 10
LARGE: Final = 64 << 20
PLAIN_PAIRS: Final = 300
_CONTAINER: Final = "bench"


class Stored:
    """An object on a cluster."""

    def __init__(self, cluster: DevCluster, data: bytes) -> None:
        name = uuid.uuid4().hex
        with closing(cluster.connection()) as connection:
            connection.put_container(_CONTAINER)
            connection.put_object(_CONTAINER, name, data, content_type="application/octet-stream")
            url, self.token = connection.get_auth()
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host, self.port, self.path = parts.hostname, parts.port, f"{parts.path}/{_CONTAINER}/{name}"
        self.data = data


class Reader:
    """Reads an object over a connection of its own."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._connection = http.client.HTTPConnection(stored.host, stored.port, timeout=60)
        self._buffer = memoryview(bytearray(len(stored.data) + 1))  # one more, so that too long a body is seen

    def turns(self, run: str | None = None) -> Turns:
        """A whole GET, with `X-Run: run` if given. The result is to be the object's own bytes."""
        stored = self._stored
        headers = {"X-Auth-Token": stored.token, **({"X-Run": run} if run else {})}

        def turn() -> Turn:
            self._buffer[:] = bytes(len(self._buffer))
            yield None
            self._connection.request("GET", stored.path, headers=headers)
            response = self._connection.getresponse()
            at = 0
            while got := response.readinto(self._buffer[at:]):
                at += got
            yield None
            assert response.status == 200, (response.status, bytes(self._buffer[:at]))
            assert ("X-Run-Id" in response.headers) == (run is not None)
            assert at == len(stored.data)
            assert self._buffer[:at] == stored.data

        return turn

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def hooked() -> Iterator[DevCluster]:
    with DevCluster() as running:
        yield running


@pytest.fixture(scope="module")
def plain() -> Iterator[DevCluster]:
    """The same Swift without a trace of insitu."""
    with DevCluster(hooks=False, daemons=False) as running:
        yield running


@pytest.fixture
def noise(plain: DevCluster) -> Figure:
    """How much two clusters differ that are the same: each has its own processes, files and luck."""
    data = os.urandom(KILOBYTE)
    with (
        DevCluster(hooks=False, daemons=False) as other,
        closing(Reader(Stored(other, data))) as one,
        closing(Reader(Stored(plain, data))) as two,
    ):
        return compare("two plain clusters", one.turns(), two.turns(), pairs=PLAIN_PAIRS, warm_up=30)


@pytest.mark.parametrize(
    ("what", "size", "pairs", "warm_up", "aim"),
    [("1 KB", KILOBYTE, 300, 30, 1.3), ("64 MB", LARGE, 25, 4, 1.15)],
    ids=["1KB", "64MB"],
)
def test_read_through_cat(
    interleave: Interleave, hooked: DevCluster, what: str, size: int, pairs: int, warm_up: int, aim: float
) -> None:
    stored = Stored(hooked, os.urandom(size))
    with closing(Reader(stored)) as runs, closing(Reader(stored)) as reads:
        interleave(
            f"GET {what} through cat / plain",
            runs.turns("cat"),
            reads.turns(),
            pairs=pairs,
            warm_up=warm_up,
            aim=Aim(aim),
        )


def test_plain_read_with_hooks_installed(
    interleave: Interleave, hooked: DevCluster, plain: DevCluster, noise: Figure
) -> None:
    data = os.urandom(KILOBYTE)
    with closing(Reader(Stored(hooked, data))) as with_hooks, closing(Reader(Stored(plain, data))) as without:
        interleave(
            "plain GET 1 KB, hooks installed / not",
            with_hooks.turns(),
            without.turns(),
            pairs=PLAIN_PAIRS,
            warm_up=30,
            aim=Aim(noise=noise),
        )
