"""How long a launch takes, connect → first byte, `cat` of 1 KB, in both isolations, against native spawn; while nobody
else works and while the other processors are busy.

The node is a daemon of its own, the client is this process, and native spawn is done by the same process on the same
file in the same run.
"""

from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import distinct_cats, running_node, wait_until_quiet
from benchmarks.interleave import Aim, Interleave
from benchmarks.load import both_loads
from benchmarks.turns import WARM_AIM, launched, spawned
from insitu.runtime.client import NodeClient

WARM_PAIRS: Final = 500
NEW_PAIRS: Final = 60
WARM_UP: Final = 5
COMPILED, UNSEEN = "compiled", "unseen"


@pytest.fixture(scope="module")
def compiled(place: Path, programs: Path, kilobyte: bytes, kilobyte_file: int) -> list[str]:
    """Names of programs that an earlier life of the node has compiled, in the order in which they are to be used."""
    names = distinct_cats(programs, COMPILED, 2 * (NEW_PAIRS + WARM_UP))
    with running_node(place, programs=programs) as socket:
        following = iter(names)
        turns = launched(socket, kilobyte_file, kilobyte, following.__next__, lambda: None)
        for _ in names:
            for _section in turns():
                pass
    return names


@both_loads
def test_warm(
    interleave: Interleave,
    compiled: list[str],
    node: str,
    isolation: str,
    load: str,
    kilobyte: bytes,
    kilobyte_file: int,
) -> None:
    """A worker stands ready: with isolation `process`, a spare that has been replaced since the last launch."""
    interleave(
        f"launch cat, {isolation}, warm{load} / native spawn",
        launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=WARM_PAIRS,
        warm_up=50,
        aim=Aim(WARM_AIM[isolation]),
    )


@both_loads
def test_compiled_but_not_loaded(
    interleave: Interleave,
    compiled: list[str],
    node: str,
    isolation: str,
    load: str,
    kilobyte: bytes,
    kilobyte_file: int,
) -> None:
    half = len(compiled) // 2  # a node loads each once
    following = iter(compiled[half:] if load else compiled[:half])
    interleave(
        f"launch cat, {isolation}, compiled, not loaded{load} / native spawn",
        launched(node, kilobyte_file, kilobyte, following.__next__, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=NEW_PAIRS,
        warm_up=WARM_UP,
    )


@both_loads
def test_never_seen(
    interleave: Interleave,
    compiled: list[str],
    node: str,
    isolation: str,
    load: str,
    programs: Path,
    kilobyte: bytes,
    kilobyte_file: int,
) -> None:
    names = distinct_cats(programs, f"{UNSEEN}-{isolation}{load[1:].strip()}", NEW_PAIRS + WARM_UP)
    following = iter(names)
    interleave(
        f"launch cat, {isolation}, never seen{load} / native spawn",
        launched(node, kilobyte_file, kilobyte, following.__next__, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=NEW_PAIRS,
        warm_up=WARM_UP,
    )
    served = {record.program for record in NodeClient(node).runs(len(names))}
    assert served >= set(names), "each was a program of its own"
