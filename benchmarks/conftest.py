"""What the benchmarks share, and the table of figures at the end."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.interleave import Figure, Interleave, table

_FIGURES: list[Figure] = []


@pytest.fixture
def interleave(benchmark: Any) -> Interleave:
    """Compares two things turn by turn; see interleave.py."""
    return Interleave(benchmark, _FIGURES)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ib-") as directory:
        yield Path(directory).resolve()


@pytest.fixture(scope="module")
def kilobyte() -> bytes:
    return os.urandom(1024)


@pytest.fixture(scope="module")
def kilobyte_file(place: Path, kilobyte: bytes) -> Iterator[int]:
    """An open file with `kilobyte` in it."""
    path = place / "kilobyte"
    path.write_bytes(kilobyte)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _FIGURES:
        terminalreporter.section("figures: ours against the yardstick, measured in turns")
        for line in table(_FIGURES):
            terminalreporter.write_line(line)
