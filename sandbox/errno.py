"""The error numbers of WASI preview1 (`$errno` in its specification), and what a host's error becomes."""

import errno
from typing import Final

SUCCESS: Final = 0
AGAIN: Final = 6
BADF: Final = 8
FAULT: Final = 21
INTR: Final = 27
INVAL: Final = 28
IO: Final = 29
NOENT: Final = 44
NOSPC: Final = 51
NOSYS: Final = 52
NOTDIR: Final = 54
NOTSOCK: Final = 57
NOTSUP: Final = 58
OVERFLOW: Final = 61
PIPE: Final = 64
SPIPE: Final = 70
NOTCAPABLE: Final = 76

_FROM_HOST: Final = {errno.EPIPE: PIPE, errno.ECONNRESET: PIPE, errno.ENOSPC: NOSPC, errno.EDQUOT: NOSPC}


class GuestError(Exception):
    """Ends a host call with an error number for the guest, which goes on."""

    def __init__(self, code: int) -> None:
        self.code = code


class GuestStop(Exception):
    """Ends the guest: a limit is reached, or it asked to exit. What it was stands in the guest's own state."""


def from_host(error: OSError) -> int:
    """Few host errors mean anything to a guest: the others are an I/O error, and say nothing about the host."""
    return _FROM_HOST.get(error.errno or 0, IO)
