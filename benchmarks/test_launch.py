"""How long a launch takes, connect → first byte, `cat` of 1 KB, in both isolations, against native spawn.

The node is a daemon of its own, the client is this process, and native spawn is done by the same process on the same
file in the same run.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import distinct_cats, running_node, wait_until_quiet
from benchmarks.interleave import Aim, Interleave
from benchmarks.many_turns import at_once, cpu_of, cpu_of_children, cpu_of_node, in_a_row, spawned_alone
from benchmarks.turns import launched, spawned
from insitu.runtime.client import NodeClient

WARM_PAIRS: Final = 500
NEW_PAIRS: Final = 60
WARM_UP: Final = 5
WARM_AIM: Final = {"process": 0.8, "shared": 0.3}
ROW: Final = 50
BURST: Final = 200
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


@pytest.fixture(scope="module", params=["process", "shared"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def node(place: Path, programs: Path, compiled: list[str], isolation: str) -> Iterator[str]:
    with running_node(place, "--isolation", isolation, programs=programs) as socket:
        yield socket


def test_warm(interleave: Interleave, node: str, isolation: str, kilobyte: bytes, kilobyte_file: int) -> None:
    """A worker stands ready: with isolation `process`, a spare that has been replaced since the last launch."""
    interleave(
        f"launch cat, {isolation}, warm / native spawn",
        launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=WARM_PAIRS,
        warm_up=50,
        aim=Aim(WARM_AIM[isolation]),
    )


def test_one_after_the_other(
    interleave: Interleave, node: str, isolation: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    """Whole launches, of which the next begins when one is over: replacements are made meanwhile."""
    ours = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None)
    interleave(
        f"{ROW} launches in a row, {isolation} / native spawns",
        in_a_row(ours, ROW),
        in_a_row(spawned(kilobyte_file, kilobyte), ROW),
        pairs=20,
        warm_up=2,
    )


def test_cpu(interleave: Interleave, node: str, isolation: str, kilobyte: bytes, kilobyte_file: int) -> None:
    """CPU of a launch, of all the node's processes together, replacements included, against that of a spawned cat."""
    ours = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None)
    interleave(
        f"CPU of a launch, {isolation} / native spawn",
        cpu_of(in_a_row(ours, ROW), lambda: cpu_of_node(node), lambda: wait_until_quiet(node), ROW),
        cpu_of(in_a_row(spawned(kilobyte_file, kilobyte), ROW), cpu_of_children, lambda: None, ROW),
        pairs=20,
        warm_up=2,
    )


def test_burst(interleave: Interleave, node: str, isolation: str, kilobyte: bytes, kilobyte_file: int) -> None:
    """So many at once over the default spares: every one is answered, or refused by name."""
    ours = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None)
    with ThreadPoolExecutor(BURST) as threads:
        interleave(
            f"burst of {BURST} launches, {isolation} / native spawns",
            at_once(ours, BURST, threads, lambda: wait_until_quiet(node)),
            at_once(spawned_alone(kilobyte, kilobyte_file), BURST, threads, lambda: None),
            pairs=10,
            warm_up=1,
        )


def test_compiled_but_not_loaded(
    interleave: Interleave, node: str, isolation: str, compiled: list[str], kilobyte: bytes, kilobyte_file: int
) -> None:
    following = iter(compiled)
    interleave(
        f"launch cat, {isolation}, compiled, not loaded / native spawn",
        launched(node, kilobyte_file, kilobyte, following.__next__, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=NEW_PAIRS,
        warm_up=WARM_UP,
    )


def test_never_seen(
    interleave: Interleave, node: str, isolation: str, programs: Path, kilobyte: bytes, kilobyte_file: int
) -> None:
    names = distinct_cats(programs, f"{UNSEEN}-{isolation}", NEW_PAIRS + WARM_UP)
    following = iter(names)
    interleave(
        f"launch cat, {isolation}, never seen / native spawn",
        launched(node, kilobyte_file, kilobyte, following.__next__, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=NEW_PAIRS,
        warm_up=WARM_UP,
    )
    served = {record.program for record in NodeClient(node).runs(len(names))}
    assert served >= set(names), "each was a program of its own"
