"""What holding a launch's input against its MD5 costs: `cat` through a node, with and without, in turns.

Measured is the whole launch, connect → outcome, its output read meanwhile by the client, as a hook reads it. The input
is a file in memory: a disk would only hide the cost.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Final

import pytest

from benchmarks.daemon import wait_until_quiet
from benchmarks.interleave import Interleave, Turn, Turns
from benchmarks.load import both_loads
from insitu.runtime.client import Launch, LaunchRequest
from insitu.sandbox.limits import KIB, MIB

_BUFFER: Final = 256 * KIB
SIZES: Final = {"1 KB": (KIB, 300), "1 MB": (MIB, 150), "64 MB": (64 * MIB, 30)}
"""By name: bytes, and pairs of turns."""


def read_through(socket: str, file: int, data: bytes, md5: str) -> Turns:
    """connect → outcome of `cat` on `file`. `md5`: of it, to be checked; empty: not."""
    buffer = bytearray(_BUFFER)

    def turn() -> Turn:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        yield None
        launch = Launch.connect(socket)
        launch.start(LaunchRequest("cat", tenant="AUTH_bench", md5=md5), stdin=file, stdout=writing)
        os.close(writing)
        count, tail = 0, b""
        while got := os.readv(reading, [buffer]):
            count, tail = count + got, bytes(buffer[max(0, got - 16) : got])
        record = launch.outcome()
        yield None
        launch.close()
        os.close(reading)
        assert record.outcome.ok, record.outcome.sentence()
        assert count == record.outcome.usage.bytes_in == len(data)
        assert data.endswith(tail)
        wait_until_quiet(socket)

    return turn


@pytest.fixture(scope="module", params=SIZES)
def given(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, bytes]]:
    """A size's name, an open file of that size, and what is in it."""
    data = os.urandom(SIZES[request.param][0])
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    yield request.param, fd, data
    os.close(fd)


@both_loads
def test_checked(interleave: Interleave, node: str, isolation: str, load: str, given: tuple[str, int, bytes]) -> None:
    name, file, data = given
    interleave(
        f"cat of {name} through a node, {isolation}, input checked{load} / not checked",
        read_through(node, file, data, hashlib.md5(data, usedforsecurity=False).hexdigest()),
        read_through(node, file, data, ""),
        pairs=SIZES[name][1],
    )
