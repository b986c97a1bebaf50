"""The few system calls that Python has no name for, with their errors as OSError."""

import ctypes
import os
from typing import Any, Final

from insitu.runtime.confine import calls

_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_prctl: Final = _libc.prctl

PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


def call(name: str, *args: int | Any) -> int:
    """One of `calls.NUMBERS`, with integers and addresses. Raises OSError; KeyError for an unknown machine."""
    number = calls.number(name)
    assert number is not None
    given = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(_syscall(ctypes.c_long(number), *given))


def prctl(option: int, *args: int) -> int:
    padded = [*args, *(0,) * (4 - len(args))]
    return _checked(_prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded)))


def one_arena() -> None:
    """Have all threads allocate from one place. A second thread's first allocation would otherwise look up how many
    processors there are, for which some C libraries open files."""
    try:
        _libc.mallopt(-8, 1)  # M_ARENA_MAX
    except AttributeError:
        pass  # a C library without arenas


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
