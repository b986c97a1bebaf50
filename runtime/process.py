"""What our processes ask of the kernel about themselves and each other."""

import ctypes
import os
import resource
import signal
from typing import Final

NODE_FD: Final = 3
"""The one descriptor that a spawner, worker or compiler has above the standard ones: its socket to the node."""

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent: int) -> None:
    """Be killed as soon as `parent`, which must be our parent, is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it went before the call
        os._exit(0)


def set_name(name: str) -> None:
    """What `ps` and `top` show; at most 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def allow_descriptors(count: int) -> bool:
    """Let this process and its children open so many, as far as it may. Whether it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or count <= hard
    if soft < count and soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count if enough else hard, hard))
    return enough


def kill(pidfd: int) -> None:
    """SIGKILL by descriptor: a process id may be somebody else's by now, a pidfd never is."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def cpu_ns(pid: int) -> int:
    """CPU nanoseconds of a process's main thread so far; 0 when that cannot be told."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
