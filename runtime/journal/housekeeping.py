"""The two threads of a journal, which wait for the disk so that the node's loop never does.

*Syncer*: a few milliseconds after something was written, asks that SQLite's log and PATH-running reach the disk.

*Housekeeper*: brings SQLite's log into the database when it has grown, and lets the log begin anew. That is the one
moment at which two orders on the disk matter: the log's new beginning must be there before anything is appended to it,
or a power failure could bring an old beginning back, over a database that is ahead of it. So the housekeeper takes the
pen for that moment (`lend`): the loop keeps what is to be written, and its answers, until it has the pen back. The
same moment serves to delete what is older than it need be, a few rows at a time.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from insitu.runtime.journal import SYNCED, schema
from insitu.runtime.journal.running import Running

log = logging.getLogger("insitu.node")

GATHER: Final = 0.015  # seconds that the syncer waits for company
RETRY: Final = 1.0  # seconds
PURGE_EVERY: Final = 3600.0  # seconds
_PURGE_ROWS: Final = 200  # at a time: about a millisecond
_PURGE_FRAMES: Final = 100  # that it takes in the log
# All but the last, which keeps its number from being given again.
_OLDEST: Final = (
    "SELECT seq FROM (SELECT seq, ended_us FROM launches WHERE seq < (SELECT max(seq) FROM launches) ORDER BY seq "
    f"LIMIT {_PURGE_ROWS}) WHERE ended_us < ?"
)
_PURGE_PAUSE: Final = 0.05  # seconds between: the loop writes too
_CLOCK_OFF: Final = 3600.0  # seconds by which a clock may be put right
_COMPLAIN: Final = 60.0  # seconds between two complaints of one kind
_FRAME: Final = schema.PAGE + 24


class Owner(Protocol):
    """What the threads ask of the journal. Called from them."""

    def lend(self) -> None:
        """Soon the loop calls `Housekeeper.take`, and writes nothing until `take_back`."""

    def take_back(self) -> None: ...
    def failing(self, what: str, why: str | None) -> None:
        """`what` cannot be done because of `why`, or (None) can be done again."""


class Syncer:
    def __init__(self, owner: Owner, path: str, log_fd: int, running: Running) -> None:
        self._owner, self._path, self._log_fd, self._running = owner, path, log_fd, running
        self._files = {name: _identity(name) for name in (path, f"{path}-wal", f"{path}-running")}
        self._wake = threading.Event()
        self._closing = False
        self._since = 0.0
        self._complained = -_COMPLAIN
        self.slowest = 0.0
        """Seconds, the longest from a write to the disk's word for it."""
        self._thread = threading.Thread(target=self._serve, name="insitu-sync", daemon=True)
        self._thread.start()

    def wrote(self) -> None:
        """Something is to reach the disk."""
        if not self._wake.is_set():
            self._since = time.monotonic()
            self._wake.set()

    def close(self) -> None:
        self._closing = True
        self.wrote()
        self._thread.join()

    def _serve(self) -> None:
        while not self._closing:  # looked at after every `clear`, which may have been that of `close`
            self._wake.wait()
            time.sleep(GATHER)
            since = self._since
            self._wake.clear()  # what is written from here on is the next round's
            try:
                again = self._sync()
            except OSError as why:
                self._owner.failing("sync", why.strerror or str(why))
                time.sleep(RETRY)
                self._wake.set()
                continue
            self._owner.failing("sync", None)
            self._took(time.monotonic() - since)
            if again:
                self.wrote()

    def _sync(self) -> bool:
        for name, there in self._files.items():
            if _identity(name) != there:
                what = "the file" if name == self._path else os.path.basename(name)
                raise OSError(0, f"{what} was moved away or deleted; bring it back, or start the node again")
        os.fdatasync(self._log_fd)
        return self._running.sync()

    def _took(self, seconds: float) -> None:
        self.slowest = max(self.slowest, seconds)
        if seconds > SYNCED and time.monotonic() - self._complained > _COMPLAIN:
            self._complained = time.monotonic()
            log.warning("the disk took %.0f ms to keep the journal: a power failure loses as much", seconds * 1000)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


class Housekeeper:
    def __init__(self, owner: Owner, path: str, log_fd: int, *, days: int, frames: int, reserve: int) -> None:
        """`days`: records older are deleted. `frames`, `reserve`: see `Journal`."""
        self._owner, self._log_fd, self._days = owner, log_fd, days
        self._began = time.time() - time.monotonic()
        self._frames, self._reserve = frames, reserve
        self._connection = schema.connect(path)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._wake = threading.Event()
        self._pen = threading.Event()
        self._closing = False
        self._purged = -PURGE_EVERY
        """When the old were last looked for, monotonic; never, to begin with."""
        self._used = 0
        """Pages in the log, as of the last round."""
        self._deleted = 0
        """Pages of the log that deleting took since it was last seen to, about."""
        self._failing = False
        self._thread = threading.Thread(target=self._serve, name="insitu-journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """The log has grown."""
        self._wake.set()

    def take(self) -> None:
        """From the loop: the pen is ours."""
        self._pen.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._pen.set()
        self._thread.join()
        self._connection.close()

    def reserve(self) -> None:
        """Room in the log for what comes before the next round, and for the ends of what runs. Raises OSError."""
        os.posix_fallocate(self._log_fd, 0, (self._used + self._frames + self._reserve) * _FRAME)

    def _serve(self) -> None:
        while not self._closing:
            due = self._purged + PURGE_EVERY - time.monotonic()
            pause = RETRY if self._failing else _PURGE_PAUSE if due <= 0 else due
            if self._wake.wait(pause) or self._failing:
                self._wake.clear()
                self._guarded(self._tidy)
            if due <= 0 and not self._failing:
                self._guarded(self._purge)

    def _guarded(self, step: Callable[[], None]) -> None:
        if self._closing:
            return
        try:
            step()
        except (sqlite3.Error, OSError) as why:
            self._failing = True
            self._owner.failing("housekeeping", getattr(why, "strerror", None) or str(why))
        else:
            self._failing = False
            self._owner.failing("housekeeping", None)

    def _checkpoint(self) -> tuple[int, int]:
        """Frames in the log, and of them in the database as well."""
        _busy, frames, done = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return frames, done

    def _tidy(self) -> None:
        os.fdatasync(self._log_fd)  # most of the waiting, while the loop goes on writing
        self._with_pen(self._restart)
        self.reserve()

    def _with_pen(self, step: Callable[[], None]) -> None:
        self._owner.lend()
        try:
            self._pen.wait()
            if not self._closing:
                step()
        finally:
            self._pen.clear()
            self._owner.take_back()

    def _restart(self) -> None:
        # Only ever with the pen: once the whole log is in the database, the next to write begins it anew, and the loop
        # would do so without waiting for the disk.
        frames, done = self._checkpoint()
        self._used = frames
        if frames == done:  # else somebody reads what is in it: another time
            # A commit that finds the whole log in the database begins it anew, and here waits for the disk to have it.
            self._connection.execute("UPDATE journal SET restarts = restarts + 1")

    def _now(self) -> float:
        """Unix time, but no later than it can be by how long this has run: a clock that jumps ahead deletes nothing."""
        return min(time.time(), self._began + time.monotonic() + _CLOCK_OFF)

    def _purge(self) -> None:
        """Some of the old; when there is none, it is done for now."""
        before = int((self._now() - self._days * 86400) * 1e6)
        if self._connection.execute(_OLDEST, (before,)).fetchone() is None:
            self._purged = time.monotonic()
            return
        self._with_pen(lambda: self._delete(before))
        self._deleted += _PURGE_FRAMES
        if self._deleted >= self._frames:  # that has made the log grow as well
            self._deleted = 0
            self._wake.set()

    def _delete(self, before: int) -> None:
        self._connection.execute(f"DELETE FROM launches WHERE seq IN (SELECT seq FROM ({_OLDEST}))", (before,))
