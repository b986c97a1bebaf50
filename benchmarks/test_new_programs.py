"""The first launch of a program, connect → first byte, in both isolations, against native spawn: one that is compiled
and has to be loaded, and one that has to be compiled.

Apart from the warm launch: what compilers write is still on its way to the disk for a while, and disturbs that.
"""

from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import distinct_cats, running_node, wait_until_quiet
from benchmarks.interleave import Interleave
from benchmarks.load import both_loads
from benchmarks.turns import launched, spawned
from insitu.runtime.client import NodeClient

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
