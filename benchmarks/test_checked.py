"""What holding a launch's input against its MD5 costs: `cat` through a node, with and without, in turns.

Measured is the whole launch, connect → outcome, its output read meanwhile by the client, as a hook reads it. The input
is a file in memory: a disk would only hide the cost.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from benchmarks.daemon import wait_until_quiet
from benchmarks.interleave import Interleave, Turn, Turns
from benchmarks.load import both_loads
from insitu.runtime.client import Launch, LaunchRequest
from insitu.sandbox.limits import KIB, MIB

_BUFFER: Final = 256 * KIB
_PIPE: Final = MIB  # as the hooks have it
_AS_A_PROXY: Final = 0.0007
"""Seconds a piece, which makes about 200 ms of 64 MB: so long does Swift take over them (see test_read.py)."""
SIZES: Final = {"1 KB": (KIB, 300), "1 MB": (MIB, 150), "64 MB": (64 * MIB, 30)}
"""By name: bytes, and pairs of turns."""


def read_through(socket: str, file: int, data: bytes, md5: str, pause: float = 0.0) -> Turns:
    """connect → outcome of `cat` on `file`. `md5`: of it, to be checked; empty: not. `pause`: seconds that the client
    has to do with each piece."""
    buffer = bytearray(_BUFFER)

    def turn() -> Turn:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE)
        yield None
        launch = Launch.connect(socket)
        launch.start(LaunchRequest("cat", tenant="AUTH_bench", md5=md5), stdin=file, stdout=writing)
        os.close(writing)
        count, tail = 0, b""
        while got := os.readv(reading, [buffer]):
            count, tail = count + got, bytes(buffer[max(0, got - 16) : got])
            if pause:
                time.sleep(pause)
        record = launch.outcome()
        yield None
        launch.close()
        os.close(reading)
        assert record.outcome.ok, record.outcome.sentence()
        assert count == record.outcome.usage.bytes_in == len(data)
        assert data.endswith(tail)
        wait_until_quiet(socket)

    return turn


@contextmanager
def held(size: int) -> Iterator[tuple[int, bytes]]:
    """An open file of that size, and what is in it."""
    data = os.urandom(size)
    with open(os.memfd_create("input", os.MFD_CLOEXEC), "wb") as file:
        file.write(data)
        file.flush()
        yield file.fileno(), data


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@both_loads
@pytest.mark.parametrize("name", SIZES)
def test_checked(interleave: Interleave, node: str, isolation: str, load: str, name: str) -> None:
    size, pairs = SIZES[name]
    with held(size) as (file, data):
        interleave(
            f"cat of {name} through a node, {isolation}, input checked{load} / not checked",
            read_through(node, file, data, md5_of(data)),
            read_through(node, file, data, ""),
            pairs=pairs,
        )


def test_checked_while_the_reader_takes_its_time(interleave: Interleave, node: str, isolation: str) -> None:
    with held(64 * MIB) as (file, data):
        interleave(
            f"cat of 64 MB through a node to a reader as slow as Swift, {isolation}, input checked / not checked",
            read_through(node, file, data, md5_of(data), _AS_A_PROXY),
            read_through(node, file, data, "", _AS_A_PROXY),
            pairs=30,
        )
