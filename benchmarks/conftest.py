"""What the benchmarks share, and the table of figures at the end."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.daemon import running_node
from benchmarks.interleave import Figure, Interleave, table
from benchmarks.load import IDLE, processors_busy
from benchmarks.texts import Guests

_FIGURES: list[Figure] = []
_NOTES: list[str] = []


@pytest.fixture
def interleave(benchmark: Any) -> Interleave:
    """Compares two things turn by turn; see interleave.py."""
    return Interleave(benchmark, _FIGURES, _NOTES)


@pytest.fixture(scope="module")
def guests() -> Guests:
    return Guests()


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


@pytest.fixture(scope="module", params=["process", "shared"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest) -> Iterator[str]:
    """What to add to a figure's name: whether the other processors are busy (see `load.both_loads`)."""
    with processors_busy(getattr(request, "param", IDLE)) as name:
        yield name


@pytest.fixture(scope="module")
def programs(place: Path) -> Path:
    """The directory of the node's programs."""
    directory = place / "programs"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def node(place: Path, programs: Path, isolation: str) -> Iterator[str]:
    with running_node(place, "--isolation", isolation, programs=programs) as socket:
        yield socket


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _FIGURES or _NOTES:
        terminalreporter.section("figures: ours against the yardstick, measured in turns")
        for line in [*(table(_FIGURES) if _FIGURES else ()), *_NOTES]:
            terminalreporter.write_line(line)
