"""How long a launch takes, connect → first byte, `cat` of 1 KB, isolation `shared`, against native spawn.

The node is a daemon of its own, the client is this process, and native spawn is done by the same process on the same
file in the same run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import distinct_cats, running_node, wait_until_quiet
from benchmarks.interleave import Aim, Interleave
from benchmarks.turns import launched, spawned
from insitu.runtime.client import NodeClient

WARM_PAIRS: Final = 500
NEW_PAIRS: Final = 60
WARM_UP: Final = 5
COMPILED, UNSEEN = "compiled", "unseen"


@pytest.fixture(scope="module")
def programs(place: Path) -> Path:
    directory = place / "programs"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def compiled(place: Path, programs: Path, kilobyte: bytes, kilobyte_file: int) -> list[str]:
    """Names of programs that an earlier life of the node has compiled."""
    names = distinct_cats(programs, COMPILED, NEW_PAIRS + WARM_UP)
    with running_node(place, programs=programs) as socket:
        following = iter(names)
        turns = launched(socket, kilobyte_file, kilobyte, following.__next__, lambda: None)
        for _ in names:
            for _section in turns():
                pass
    return names


@pytest.fixture(scope="module")
def node(place: Path, programs: Path, compiled: list[str]) -> Iterator[str]:
    with running_node(place, programs=programs) as socket:
        yield socket


def test_warm(interleave: Interleave, node: str, kilobyte: bytes, kilobyte_file: int) -> None:
    interleave(
        "launch cat, warm / native spawn",
        launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None),
        spawned(kilobyte_file, kilobyte),
        pairs=WARM_PAIRS,
        warm_up=50,
        aim=Aim(0.5),
    )


def test_compiled_but_not_loaded(
    interleave: Interleave, node: str, compiled: list[str], kilobyte: bytes, kilobyte_file: int
) -> None:
    following = iter(compiled)
    interleave(
        "launch cat, compiled, not loaded / native spawn",
        launched(node, kilobyte_file, kilobyte, following.__next__, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=NEW_PAIRS,
        warm_up=WARM_UP,
    )


def test_never_seen(interleave: Interleave, node: str, programs: Path, kilobyte: bytes, kilobyte_file: int) -> None:
    names = distinct_cats(programs, UNSEEN, NEW_PAIRS + WARM_UP)
    following = iter(names)
    interleave(
        "launch cat, never seen / native spawn",
        launched(node, kilobyte_file, kilobyte, following.__next__, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=NEW_PAIRS,
        warm_up=WARM_UP,
    )
    served = {record.program for record in NodeClient(node).runs(len(names))}
    assert served >= set(names), "each was a program of its own"
