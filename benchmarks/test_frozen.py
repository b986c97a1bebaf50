"""What it costs a launch on a node to be frozen: its guest's CPU time, and the time to its first byte, against a real
launch of the same program on the same node.

The programs are copies of the shipped ones without their manifests: some of those say that they are always frozen.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import running_node, wait_until_quiet, whole_launch
from benchmarks.interleave import Interleave, Turn
from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.programs import SHIPPED
from insitu.runtime.record import Record

ROOT: Final = Path(__file__).parent.parent
PROGRAMS: Final = {"watermark": ("--text", "insitu"), "words": (), "sum": (), "cat": ()}
MIB: Final = 1 << 20


@pytest.fixture(scope="module")
def node(place: Path) -> Iterator[str]:
    programs = place / "plain"
    programs.mkdir()
    for name in PROGRAMS:
        shutil.copy(SHIPPED / f"{name}.wasm", programs / f"plain-{name}.wasm")
    (place / "frozen").mkdir()
    with running_node(place / "frozen", "--isolation", "shared", programs=programs) as socket:
        yield socket


@pytest.fixture(scope="module")
def inputs(place: Path) -> dict[str, int]:
    """A file for each program."""
    photo, text, pairs = place / "photo.jpg", place / "text", place / "pairs"
    subprocess.run([sys.executable, ROOT / "guests" / "build.py", "--photo", photo], check=True, timeout=300)
    text.write_bytes(b"".join(b"of the word%d and the%d\n" % (n % 9973, n % 97) for n in range(4 * MIB // 24)))
    pairs.write_bytes(b"".join(b"key%d\t%d\n" % (n % 9973, n) for n in range(4 * MIB // 14)))
    files = {"watermark": photo, "words": text, "sum": pairs, "cat": text}
    return {name: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for name, path in files.items()}


def launched(socket: str, name: str, args: Sequence[str], file: int, *, frozen: bool) -> tuple[bytes, Record]:
    request = LaunchRequest(f"plain-{name}", tuple(args), tenant="AUTH_bench", frozen=frozen)
    output, accepted, record = whole_launch(socket, request, file)
    assert accepted.frozen == frozen
    return output, record


@pytest.mark.parametrize("name", PROGRAMS)
def test_cpu_of_a_frozen_guest(interleave: Interleave, node: str, inputs: dict[str, int], name: str) -> None:
    args, file = PROGRAMS[name], inputs[name]
    first, _ = launched(node, name, args, file, frozen=False)

    def turn(*, frozen: bool) -> Turn:
        yield None
        output, record = launched(node, name, args, file, frozen=frozen)
        yield record.outcome.usage.cpu_us
        assert output == first, "frozen or not, it is the same result"

    interleave(
        f"{name}, CPU frozen / real",
        lambda: turn(frozen=True),
        lambda: turn(frozen=False),
        pairs=40,
        warm_up=3,
    )


def test_first_byte_of_a_frozen_launch(interleave: Interleave, node: str, kilobyte: bytes, kilobyte_file: int) -> None:
    def turn(*, frozen: bool) -> Turn:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        yield None
        launch = Launch.connect(node)
        launch.start(LaunchRequest("plain-cat", tenant="AUTH_bench", frozen=frozen), kilobyte_file, writing)
        os.close(writing)
        data = os.read(reading, 4096)
        yield None
        os.close(reading)
        launch.outcome()
        launch.close()
        assert data == kilobyte
        wait_until_quiet(node)

    interleave(
        "launch cat, shared, warm, frozen / real",
        lambda: turn(frozen=True),
        lambda: turn(frozen=False),
        pairs=200,
        warm_up=10,
    )
