"""No descriptors but its own: the standard three, the node's socket, and the engine's of compiled programs.

Holds back: a descriptor that the spawner happened to have open, now or in a later version of it. What stays: /dev/null
as 0 and 1, the node's log as 2 (last words go there), 3 to the node, and those by which the engine maps a program's
data into each sandbox: files of the cache, open for reading.
"""

import os
from typing import Final

from insitu.runtime.confine.measure import Missing, Setup
from insitu.runtime.process import NODE_FD

_MOST: Final = 1 << 20


def opened() -> frozenset[int]:
    """Those that are open, above the node's."""
    with os.scandir("/proc/self/fd") as listing:
        found = {int(entry.name) for entry in listing}
    return frozenset(fd for fd in found if fd > NODE_FD and _is_open(fd))


def _is_open(fd: int) -> bool:
    """The listing's own is in it, and no more there."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def take(setup: Setup) -> None:
    after = NODE_FD
    for kept in sorted(setup.images):
        if kept > after + 1:
            os.closerange(after + 1, kept)
        after = kept
    os.closerange(after + 1, _MOST)


def prove(setup: Setup) -> None:
    for fd in range(NODE_FD + 1, 256):
        if _is_open(fd) and fd not in setup.images:
            raise Missing(f"descriptor {fd} is open")
