"""How long a launch takes, connect → first byte, `cat` of 1 KB, in both isolations, against native spawn; while nobody
else works and while the other processors are busy.

The node is a daemon of its own, the client is this process, and native spawn is done by the same process on the same
file in the same run.
"""

from typing import Final

from benchmarks.daemon import wait_until_quiet
from benchmarks.interleave import Aim, Interleave
from benchmarks.load import both_loads
from benchmarks.turns import WARM_AIM, launched, spawned

WARM_PAIRS: Final = 500


@both_loads
def test_warm(
    interleave: Interleave,
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
