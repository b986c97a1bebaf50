"""Capabilities, root's rights one by one: workers keep none, a spawner those that it confines others with, a compiler
that of reading the program wherever the operator put it.

Holds back: what root may do beyond its own files, in a process that still is root's.
"""

import ctypes
from typing import Final

from insitu.runtime.confine import system
from insitu.runtime.confine.measure import Missing, Setup

_VERSION_3: Final = 0x20080522
_DAC_READ_SEARCH, _KILL, _SETGID, _SETUID, _SYS_CHROOT = 2, 5, 6, 7, 18
SPAWNER: Final = 1 << _SETGID | 1 << _SETUID | 1 << _SYS_CHROOT | 1 << _KILL | 1 << _DAC_READ_SEARCH
"""Changing who a worker is and what it sees; ending workers of another user with it; reading programs and the cache
wherever the operator put them."""
COMPILER: Final = 1 << _DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


# Made here, and not in every fork anew: that costs ten times what the call does.
_HEADER: Final = ctypes.byref(_Header(_VERSION_3, 0))
_NONE: Final = (_Sets * 2)()


def permitted() -> int:
    """Of the calling thread, as bits."""
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    system.call("capget", ctypes.byref(header), sets)
    return int(sets[0].permitted) | int(sets[1].permitted) << 32


def _keep(wanted: int) -> None:
    kept = permitted() & wanted
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    for at in range(2):
        sets[at].effective = sets[at].permitted = kept >> (32 * at) & 0xFFFFFFFF
    system.call("capset", ctypes.byref(header), sets)


def _prove(most: int) -> None:
    if beyond := permitted() & ~most:
        raise Missing(f"capabilities {beyond:#x} are still there")


def take_in_spawner(_: Setup) -> None:
    system.prctl(system.PR_CAP_AMBIENT, system.PR_CAP_AMBIENT_CLEAR_ALL)
    _keep(SPAWNER)


def prove_in_spawner(_: Setup) -> None:
    _prove(SPAWNER)


def take_in_compiler(_: Setup) -> None:
    _keep(COMPILER)


def prove_in_compiler(_: Setup) -> None:
    _prove(COMPILER)


def take_all(_: Setup) -> None:
    system.call("capset", _HEADER, _NONE)


def prove_none(_: Setup) -> None:
    _prove(0)
