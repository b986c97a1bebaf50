"""What one more output costs a launch: `cat` of 1 KB with a pipe as /dev/out/meta, which it never opens, and without.

So the hooks launch everything, without the figures of every channel in the record: a program may say through it what
kind of result it makes. Each side has a node of its own: one keeps workers warm for launches as the last one was.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.daemon import running_node, wait_until_quiet
from benchmarks.interleave import Interleave, Turn, Turns
from benchmarks.load import both_loads
from insitu.runtime.client import Launch, LaunchRequest

Until = Literal["first byte", "outcome"]


@pytest.fixture(scope="module")
def another_node(isolation: str) -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="ib-") as directory,
        running_node(Path(directory).resolve(), "--isolation", isolation) as socket,
    ):
        yield socket


def launched(socket: str, file: int, data: bytes, until: Until, *, meta: bool) -> Turns:
    """connect → first byte, or outcome, of `cat` on `file`."""

    def turn() -> Turn:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        read_meta, write_meta = os.pipe2(os.O_CLOEXEC)
        yield None
        launch = Launch.connect(socket)
        outputs = {"meta": write_meta} if meta else None
        request = LaunchRequest("cat", tenant="AUTH_bench", figures=False)
        launch.start(request, stdin=file, stdout=writing, outputs=outputs)
        os.close(writing)
        os.close(write_meta)
        got = os.read(reading, 1 << 16)
        if until == "first byte":
            yield None
        record = launch.outcome()
        if until == "outcome":
            yield None
        launch.close()
        assert record.outcome.ok, record.outcome.sentence()
        assert (got, os.read(reading, 1), os.read(read_meta, 1)) == (data, b"", b"")
        os.close(reading)
        os.close(read_meta)
        wait_until_quiet(socket)

    return turn


@both_loads
@pytest.mark.parametrize("until", ["first byte", "outcome"])
def test_one_more_output(
    interleave: Interleave,
    node: str,
    another_node: str,
    isolation: str,
    load: str,
    until: Until,
    kilobyte: bytes,
    kilobyte_file: int,
) -> None:
    interleave(
        f"launch with one more output, {isolation}, to its {until}{load} / without",
        launched(node, kilobyte_file, kilobyte, until, meta=True),
        launched(another_node, kilobyte_file, kilobyte, until, meta=False),
        pairs=300,
        warm_up=30,
    )
