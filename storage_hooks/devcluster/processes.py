"""Children that cannot outlive their parent, and how they are ended.

Every child asks the kernel to kill it when its parent dies (PR_SET_PDEATHSIG), so that not even SIGKILL to the
supervisor leaves anything behind.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
TERM_PATIENCE: Final = 5.0  # seconds between SIGTERM and SIGKILL


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """To be called in the child: the signal comes when `parent` ends, and at once when it has ended already."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def spawn(log: Path, body: Callable[[], object], *, death: signal.Signals, drop: Iterable[Callable[[], object]]) -> int:
    """Forks a child in a session of its own that runs `body` with its output in `log`; gives its pid.

    `drop` closes in the child what only the parent needs. Must be called from a process with a single thread.
    """
    parent = os.getpid()
    # Until the child has put off its parent's handlers, a signal to it would be taken by them and be lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.setsid()
        die_with_parent(parent, death)
        null = os.open(os.devnull, os.O_RDONLY)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for source, target in ((null, 0), (out, 1), (out, 2)):
            os.dup2(source, target)
        for fd in {null, out} - {0, 1, 2}:
            os.close(fd)
        for close in drop:
            close()
        body()
    except BaseException:  # noqa: BLE001 - the child must never run on into its parent's code
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(1)


def reap(pid: int) -> int | None:
    """The exit status of a child that has ended (negative: the signal that killed it), None while it lives."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if done else None


def end(pids: Iterable[int], patience: float = TERM_PATIENCE) -> None:
    """Ends children: SIGTERM, then SIGKILL to whoever is left after `patience` seconds. Returns when all are reaped."""
    left = set(pids)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    pause = 0.002
    while left:
        left = {pid for pid in left if reap(pid) is None}
        if left and time.monotonic() > deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            deadline += patience
        if left:
            time.sleep(pause)
            pause = min(0.05, pause * 1.5)


def describe(status: int) -> str:
    return f"exit code {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
