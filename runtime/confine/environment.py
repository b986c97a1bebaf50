"""An empty environment, in Python's eyes, in the C library's, and in /proc/PID/environ.

Holds back: what operators put there: passwords, tokens, paths.
"""

import ctypes
import os
from pathlib import Path

from insitu.runtime.confine.measure import Missing, Setup


def take(_: Setup) -> None:
    """In the spawner; children have it so."""
    os.environ.clear()
    ctypes.CDLL(None).clearenv()
    # The text itself stays where the kernel put it when the program began: fields 50 and 51 say where.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)


def prove(_: Setup) -> None:
    if os.environ:
        raise Missing(f"{len(os.environ)} variables are there")
    try:
        left = Path("/proc/self/environ").read_bytes()
    except OSError:
        return  # a process that sees no /proc: its parent has proved it
    if left.strip(b"\0"):
        raise Missing("/proc/self/environ still shows it")
