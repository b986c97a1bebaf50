"""Landlock: which paths a process may use, whatever its user may. Also TCP ports, and signals to processes outside.

Holds back, in a worker: every path there is. In a spawner: writing anywhere but in the cache, and executing anything.
In a compiler: all but reading the program and Python's modules; in a storekeeper: all but the cache and these. seccomp
cannot do that: a path is in memory, which a filter does not see.
"""

import ctypes
import os
import sys
from collections.abc import Mapping
from typing import Final

from insitu.runtime.confine import system
from insitu.runtime.confine.measure import Missing, Setup

_VERSION: Final = 1
_PATH_BENEATH: Final = 1
# linux/landlock.h
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REG, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8, 1 << 14
_ON_FILES: Final = 1 << 0 | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
READ: Final = READ_FILE | READ_DIR
CHANGE: Final = READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
_FS_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many kinds of access a version of the interface knows; later ones know as many as the fifth."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Of the kernel's interface. Raises `Missing`."""
    try:
        return system.call("landlock_create_ruleset", 0, 0, _VERSION)
    except OSError as why:
        raise Missing(f"the kernel has no Landlock, or it is switched off: {why.strerror}") from None


def ruleset(allowed: Mapping[str, int]) -> int:
    """A descriptor of what denies everything but `allowed`, by path. Paths that are not there are passed over."""
    abi = version()
    handled = (1 << _FS_BITS.get(abi, 16)) - 1
    attributes = _Ruleset(handled, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    fd = system.call("landlock_create_ruleset", ctypes.byref(attributes), size, 0)
    for path, rights in allowed.items():
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not os.path.isdir(path):
                rights &= _ON_FILES
            rule = _Beneath(rights & handled, parent)
            system.call("landlock_add_rule", fd, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(parent)
    return fd


def _restrict(fd: int) -> None:
    system.call("landlock_restrict_self", fd, 0)
    os.close(fd)


def take_in_spawner(setup: Setup) -> None:
    _restrict(ruleset({"/": READ, "/dev/null": READ | WRITE_FILE, setup.cache: CHANGE}))


def take_in_compiler(setup: Setup) -> None:
    _restrict(ruleset(dict.fromkeys((*_modules(), *setup.reads), READ)))


def take_in_storekeeper(setup: Setup) -> None:
    _restrict(ruleset({**dict.fromkeys(_modules(), READ), setup.cache: CHANGE}))


def _modules() -> list[str]:
    """Where Python's own are: one may be imported late."""
    return [path for path in (*sys.path, os.path.dirname(os.__file__)) if path]


def take_in_worker(setup: Setup) -> None:
    _restrict(setup.closed if setup.closed >= 0 else ruleset({}))


def prove_closed(_: Setup) -> None:
    """The root directory, which anybody may read, cannot be opened."""
    _expect_denied("/", os.O_RDONLY)


def prove_read_only(_: Setup) -> None:
    _expect_denied("/tmp", os.O_WRONLY | os.O_TMPFILE)


def _expect_denied(path: str, flags: int) -> None:
    try:
        fd = os.open(path, flags)
    except PermissionError:
        return
    except OSError as why:
        raise Missing(f"opening {path} failed otherwise: {why.strerror}") from None
    os.close(fd)
    raise Missing(f"{path} could be opened")
