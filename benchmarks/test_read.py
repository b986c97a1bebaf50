"""What a run costs a read, and what installed hooks cost a read without one: a real Swift, the whole way.

One client, one keep-alive connection a side, the same object. The body is read into memory that is there already, so
that the client's own work is the least possible.
"""

import http.client
import itertools
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Final
from urllib.parse import urlsplit

import pytest

from benchmarks.interleave import Aim, Figure, Interleave, Turn, Turns, compare
from insitu.storage_hooks.devcluster import DevCluster

KILOBYTE: Final = 1 << 10
LARGE: Final = 64 << 20
PLAIN_PAIRS: Final = 600
GROUP: Final = 3  # clusters
NODES: Final = 4
EACH: Final = 10  # requests of each client in one turn of several
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
        self.headers: Mapping[str, str] = {}
        """Of the last answer."""
        self._buffer = memoryview(bytearray(len(stored.data) + 1))  # one more, so that too long a body is seen

    def turns(self, run: str | None = None, more: Mapping[str, str] | None = None) -> Turns:
        """A whole GET, with `X-Run: run` if given, and `more` headers. The result is to be the object's own bytes."""
        stored = self._stored
        headers = {"X-Auth-Token": stored.token, **({"X-Run": run} if run else {}), **(more or {})}

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
            self.headers = dict(response.headers)
            assert ("X-Run-Where" in response.headers) == (run is not None)
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
def unverified() -> Iterator[DevCluster]:
    """Nothing that a program reads is held against the object's ETag."""
    settings = {f"object-{n}/filter:object_hook": {"verify": "no"} for n in range(1, NODES + 1)}
    with DevCluster(nodes=NODES, settings=settings) as running:
        yield running


@contextmanager
def group(*, hooks: bool, clients: int = 1) -> Iterator[Turns]:
    """Plain GETs of 1 KB, each from the next of several new clusters; by so many clients at once, so many each.

    Two clusters differ by a few per cent however equal they are made (measured: also with the same filters in both),
    and stay so for as long as they live. Several of a kind differ less.
    """
    with ExitStack() as stack:
        readers = []
        for _ in range(GROUP):
            stored = Stored(stack.enter_context(DevCluster(hooks=hooks, daemons=hooks)), os.urandom(KILOBYTE))
            turns = [stack.enter_context(closing(Reader(stored))).turns() for _ in range(clients)]
            readers.append(
                turns[0] if clients == 1 else together(turns, stack.enter_context(ThreadPoolExecutor(clients)))
            )
        following = itertools.cycle(readers)
        yield lambda: next(following)()


def together(turns: Sequence[Turns], threads: ThreadPoolExecutor) -> Turns:
    """Of several clients at once, each EACH times; the time until the last is done."""

    def one(own: Turns) -> None:
        for _ in range(EACH):
            for _section in own():
                pass

    def turn() -> Turn:
        yield None
        list(threads.map(one, turns))
        yield None

    return turn


@pytest.fixture(scope="module")
def noise() -> Figure:
    """What two groups of plain clusters differ by: anything within that is no measurable difference."""
    with group(hooks=False) as one, group(hooks=False) as other:
        return compare("plain clusters / plain clusters", one, other, pairs=PLAIN_PAIRS, warm_up=10 * GROUP)


SIZES: Final = pytest.mark.parametrize(
    ("what", "size", "pairs", "warm_up", "aim"),
    [("1 KB", KILOBYTE, 300, 30, 1.3), ("1 MB", 1 << 20, 150, 15, None), ("64 MB", LARGE, 25, 4, 1.15)],
    ids=["1KB", "1MB", "64MB"],
)


@SIZES
@pytest.mark.parametrize("kind", ["hooked", "unverified"])
def test_read_through_cat(
    interleave: Interleave,
    request: pytest.FixtureRequest,
    kind: str,
    what: str,
    size: int,
    pairs: int,
    warm_up: int,
    aim: float | None,
) -> None:
    stored = Stored(request.getfixturevalue(kind), os.urandom(size))
    with closing(Reader(stored)) as runs, closing(Reader(stored)) as reads:
        interleave(
            f"GET {what} through cat{'' if kind == 'hooked' else ', not verified,'} / plain",
            runs.turns("cat"),
            reads.turns(),
            pairs=pairs,
            warm_up=warm_up,
            aim=None if aim is None else Aim(aim),
        )


def test_plain_read_with_hooks_installed(interleave: Interleave, noise: Figure) -> None:
    with group(hooks=True) as installed, group(hooks=False) as without:
        interleave(
            "plain GET 1 KB, hooks installed / not",
            installed,
            without,
            pairs=PLAIN_PAIRS,
            warm_up=10 * GROUP,
            aim=Aim(noise=noise),
        )


def test_plain_reads_of_eight_clients_with_hooks_installed(interleave: Interleave) -> None:
    """The other way round it is requests per second."""
    with group(hooks=True, clients=8) as installed, group(hooks=False, clients=8) as without:
        interleave(
            "plain GETs 1 KB of 8 clients, hooks installed / not",
            installed,
            without,
            pairs=60,
            warm_up=2 * GROUP,
            aim=Aim(1.02),
        )
