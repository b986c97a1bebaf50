"""Resource limits: how much of the machine one process may take, whatever goes on in it.

Holds back: a process that would fill memory, descriptors or the process table, and core files, which hold a tenant's
bytes. A second line: a guest's own limits are `sandbox/limits.py`.

Not limited, and why: address space (every sandbox reserves 4 GiB of it and uses little); a worker's files (its outputs
may be files, and are counted by the sandbox) and its CPU time (it may serve for days; the sandbox counts each launch).
"""

import resource
import signal
from typing import Final

from insitu.runtime.confine.measure import Missing, Setup

GIB: Final = 1 << 30
WORKER_MEMORY: Final = 8 * GIB
"""Bytes of writable private memory of a worker: the 4 GiB that a guest can address, its files, and the engine."""
WORKER_DESCRIPTORS: Final = 1024
"""Of a worker: one per loaded program, the launch's channels, and the node."""
COMPILER_MEMORY: Final = 4 * GIB
"""Bytes of writable private memory of a compiler."""
COMPILER_CPU: Final = 600
"""CPU seconds of a compiler, all its threads together."""
COMPILER_WALL: Final = 900.0
"""Seconds after which it is ended, working or not."""
COMPILER_DESCRIPTORS: Final = 256
COMPILER_FILE: Final = 2 * GIB
"""Bytes of the largest file that a compiler may write."""

_FOR_ALL: Final = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_RTPRIO: 0,
}
_WORKER: Final = {resource.RLIMIT_DATA: WORKER_MEMORY, resource.RLIMIT_NOFILE: WORKER_DESCRIPTORS}
_COMPILER: Final = {
    resource.RLIMIT_DATA: COMPILER_MEMORY,
    resource.RLIMIT_CPU: COMPILER_CPU,
    resource.RLIMIT_NOFILE: COMPILER_DESCRIPTORS,
    resource.RLIMIT_FSIZE: COMPILER_FILE,
}


def _lower(limits: dict[int, int]) -> None:
    for which, most in limits.items():
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(which, (most, most))


def _prove(limits: dict[int, int]) -> None:
    for which, most in limits.items():
        _, hard = resource.getrlimit(which)
        if hard == resource.RLIM_INFINITY or hard > most:
            raise Missing(f"limit {which} stands at {hard}, and not at {most}")


def take_in_spawner(_: Setup) -> None:
    _lower(_FOR_ALL)


def prove_in_spawner(_: Setup) -> None:
    _prove(_FOR_ALL)


def take_in_worker(_: Setup) -> None:
    _lower(_WORKER)


def prove_in_worker(_: Setup) -> None:
    _prove(_FOR_ALL | _WORKER)


def take_in_compiler(_: Setup) -> None:
    _lower(_COMPILER)
    # Its own clock, not the node's: a compiler that nobody waits for any more must end too.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, COMPILER_WALL)


def prove_in_compiler(_: Setup) -> None:
    _prove(_FOR_ALL | _COMPILER)
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        raise Missing("no timer runs")


def take_processes(_: Setup) -> None:
    """No more threads or processes of this user's from here: after its own thread was started."""
    _lower({resource.RLIMIT_NPROC: 0})


def prove_processes(_: Setup) -> None:
    _prove({resource.RLIMIT_NPROC: 0})
