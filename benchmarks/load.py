"""A machine on which others work too: all processors but one are kept busy while something is measured.

Each by a process that computes for ever, held on its processor, of the same priority as everything else. What is
measured goes where the scheduler puts it, the busy processors among them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

IDLE, BUSY = "idle", "busy"
LOADS: Final = (IDLE, BUSY)
both_loads: Final = pytest.mark.parametrize("load", LOADS, indirect=True, scope="module")
_BURN: Final = """
import os, sys
from insitu.runtime.process import die_with_parent
die_with_parent(int(sys.argv[1]))
os.sched_setaffinity(0, {int(sys.argv[2])})
print(flush=True)
while True:
    pass
"""


@contextmanager
def processors_busy(load: str) -> Iterator[str]:
    """Meanwhile the others work, or nobody does. Yields what to add to a figure's name."""
    others = sorted(os.sched_getaffinity(0))[1:] if load == BUSY else []
    if load == BUSY and not others:
        raise RuntimeError("there is no other processor that could be busy")
    burners = [
        subprocess.Popen(
            [sys.executable, "-c", _BURN, str(os.getpid()), str(number)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        for number in others
    ]
    try:
        for burner in burners:
            assert burner.stdout is not None
            if not burner.stdout.readline():
                raise RuntimeError("a process that was to keep a processor busy ended")
        yield ", busy" if others else ""
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
            assert burner.stdout is not None
            burner.stdout.close()
