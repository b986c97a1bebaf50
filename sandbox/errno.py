"""The error numbers of WASI preview1 (`$errno` in its specification), and what a host's error becomes."""

import errno
from typing import Final

SUCCESS: Final = 0
ACCES: Final = 2
BADF: Final = 8
BUSY: Final = 10
EXIST: Final = 20
FAULT: Final = 21
FBIG: Final = 22
ILSEQ: Final = 25
INVAL: Final = 28
IO: Final = 29
ISDIR: Final = 31
LOOP: Final = 32
MFILE: Final = 33
MLINK: Final = 34
NAMETOOLONG: Final = 37
NOENT: Final = 44
NOSPC: Final = 51
NOTDIR: Final = 54
NOTEMPTY: Final = 55
NOTSOCK: Final = 57
NOTSUP: Final = 58
OVERFLOW: Final = 61
PERM: Final = 63
PIPE: Final = 64
ROFS: Final = 69
SPIPE: Final = 70
XDEV: Final = 75
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
