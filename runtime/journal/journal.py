"""The journal as the node's loop uses it. See the package for what it promises.

begin ─▶ slot in PATH-running … end ─▶ row in SQLite's log ─▶ slot freed ─▶ the answer
                                   └─ not now: kept with its answer, and written when it can be
"""

import json
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from insitu.runtime.errors import Busy
from insitu.runtime.journal import schema
from insitu.runtime.journal.housekeeping import RETRY, Housekeeper, Syncer
from insitu.runtime.journal.running import Begun, Running
from insitu.runtime.journal.schema import JournalError
from insitu.runtime.loop import Loop, Timer
from insitu.runtime.record import Record
from insitu.runtime.task import Task
from insitu.sandbox.outcome import Outcome

log = logging.getLogger("insitu.node")

DAYS: Final = 400
"""Days that records are kept: a year, and what a yearly bill takes to be disputed."""
FRAMES: Final = 4000
"""Pages in SQLite's log at which the housekeeper begins it anew: 4 MB, some 2,600 launches."""
RESERVE: Final = 1000
"""Pages kept free in the log beyond that, and for each worker `_RESERVE_EACH`: launches that run when the disk is full
have their records."""
_RESERVE_EACH: Final = 28  # the largest record takes 25, three of them the figures of its channels
_BUSY: Final = 0.005  # seconds until the next try while somebody else writes
_PATIENCE: Final = 1.0  # seconds that somebody else may write before it is called trouble
_DIED: Final = "the node died while it ran"
_STOPPED: Final = "the node was stopped while it ran"


class _Pending:
    __slots__ = ("row", "slot", "then")

    def __init__(self, row: schema.Row, slot: int, then: Callable[[], None]) -> None:
        self.row, self.slot, self.then = row, slot, then


class Journal:
    """All is called from the loop's thread; `lend`, `take_back` and `failing` alone are the other threads'."""

    def __init__(
        self, path: str, node: str, *, workers: int, days: int = DAYS, frames: int = FRAMES, reserve: int = RESERVE
    ) -> None:
        """Open or make it, and record as lost what the node before left under way. Blocks; raises `JournalError`.

        `workers`: launches that run at once, about. `frames`, `reserve`: see `FRAMES`, `RESERVE`.
        """
        self.path, self._node, self._frames = os.path.realpath(path), node, frames  # as SQLite does
        Path(self.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._running = Running(f"{self.path}-running")
        try:
            self._connection, clean = schema.open_journal(self.path)
        except JournalError:
            self._running.close()
            raise
        try:
            self._open(clean, workers)
        except (sqlite3.Error, OSError, JournalError) as why:
            self._connection.close()
            self._running.close()
            if isinstance(why, JournalError):
                raise
            if isinstance(why, sqlite3.Error):
                raise schema.trouble(self.path, why) from None
            raise JournalError(f"journal {self.path}: {why.strerror}") from None
        self._log_fd = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CLOEXEC)
        self._pending: deque[_Pending] = deque()
        self._lent = False
        self._written = 0
        """Pages of the log since the housekeeper was last called, at most."""
        self._trouble: dict[str, str] = {}
        self._busy_since: float | None = None
        self._timer: Timer | None = None
        self._loop: Loop | None = None
        self._messages: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._syncer = Syncer(self, self.path, self._log_fd, self._running)
        self._housekeeper = Housekeeper(
            self, self.path, self._log_fd, days=days, frames=frames, reserve=reserve + _RESERVE_EACH * workers
        )
        try:
            self._housekeeper.reserve()
        except (OSError, sqlite3.Error) as why:
            self._heard("housekeeping", getattr(why, "strerror", None) or str(why))

    def _open(self, clean: bool, workers: int) -> None:
        if not clean:
            begun = time.monotonic()
            schema.check_whole(self._connection, self.path)
            log.info("journal %s was not closed; it is whole (%.1f s)", self.path, time.monotonic() - begun)
        self._recover()
        # All that follows without waiting for the disk is to follow a log whose beginning is on it.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.execute("UPDATE journal SET clean = 0")
        self._connection.execute("PRAGMA synchronous = OFF")
        (self._seq,) = self._connection.execute("SELECT ifnull(max(seq), 0) FROM launches").fetchone()
        self._running.empty(workers + 8)

    def _recover(self) -> None:
        """What the node before left under way and did not record."""
        left = self._running.left()
        if not left:
            return
        since = min(launch.seq for launch in left)
        known = {id_ for (id_,) in self._connection.execute("SELECT id FROM launches WHERE seq > ?", (since,))}
        lost = [launch for launch in left if launch.id not in known]
        now = time.time_ns() // 1000
        rows = [self._lost(launch, _DIED, now) for launch in lost]
        if rows:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(schema.INSERT, rows)
            self._connection.execute("COMMIT")
            log.warning("%d launches were lost with the node before; the journal says so", len(rows))

    def _lost(self, launch: Begun, note: str, now_us: int) -> schema.Row:
        record = Record(
            id=launch.id,
            request_id=launch.request_id,
            tenant=launch.tenant,
            object=launch.object,
            program=launch.program,
            digest=launch.digest,
            args=(),
            node=self._node,
            worker=0,
            started=launch.started_us / 1e6,
            launch_us=0,
            outcome=Outcome("lost", note=note),
        )
        return schema.row(record, now_us)

    def attach(self, loop: Loop) -> None:
        """Before anything else is asked of it."""
        self._loop = loop
        loop.watch(self._bell, self._rung)
        self._housekeeper.start()

    # What the node asks.

    def admit(self) -> None:
        """Raises `Busy` while records cannot be written."""
        if self._trouble:
            raise Busy(f"no launches while the journal cannot be written ({self._why()})", retry_after=5.0)

    def _why(self) -> str:
        return "; ".join(f"{what}: {why}" for what, why in self._trouble.items())

    def begin(self, task: Task) -> int:
        """Before anybody learns that it was accepted. Its slot, for `end`. Raises `Busy` when it cannot be entered."""
        try:
            slot = self._running.begin(
                Begun(
                    task.id,
                    task.request_id,
                    task.tenant,
                    task.info.name,
                    task.info.digest,
                    task.object,
                    int(task.started * 1e6),
                    self._seq,
                )
            )
        except OSError as why:
            self._heard("running", why.strerror or str(why))
            if self._loop is not None:
                self._loop.after(RETRY, self._probe)
            self.admit()
            raise
        self._syncer.wrote()
        return slot

    def _probe(self) -> None:
        """Whether a launch can be entered again."""
        try:
            self._running.probe()
        except OSError:
            assert self._loop is not None
            self._loop.after(RETRY, self._probe)
        else:
            self._heard("running", None)

    def end(self, record: Record, slot: int, then: Callable[[], None]) -> None:
        """Write it, then call `then`: at once, or when it could be written."""
        row = schema.row(record, time.time_ns() // 1000)
        if not self._lent and not self._pending:
            try:
                self._insert(row)
            except sqlite3.Error as why:
                self._cannot(why)
            else:
                self._done(row, slot)
                return then()
        self._pending.append(_Pending(row, slot, then))
        return None

    def state(self) -> dict[str, Any]:
        """For people: where it is, what keeps it, and how quick its disk is."""
        return {
            "path": self.path,
            "trouble": self._why(),
            "pending": len(self._pending),
            "slowest_sync_ms": round(self._syncer.slowest * 1000, 1),
        }

    def close(self) -> None:
        """Write what is pending, record what is still under way as lost, and close in good order."""
        self._housekeeper.close()
        self._lent = False
        if self._pending:
            self._flush()
        recorded = {entry.row[0] for entry in self._pending}
        for entry in self._pending:
            log.critical("the journal cannot be written; lost: %s", json.dumps(entry.row))
        self._pending.clear()
        self._syncer.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None:
            self._loop.forget(self._bell)
        try:
            now = time.time_ns() // 1000
            rows = [self._lost(launch, _STOPPED, now) for launch in self._running.left() if launch.id not in recorded]
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(schema.INSERT, rows)
            self._connection.execute("UPDATE journal SET clean = 1")
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not recorded:
                os.ftruncate(self._running.fd, 0)
        except (sqlite3.Error, OSError) as why:
            log.error("journal %s is not closed in good order: %s", self.path, why)
        self._connection.close()
        self._running.close()
        os.close(self._log_fd)
        os.close(self._bell)

    # Writing.

    def _insert(self, row: schema.Row) -> None:
        self._seq = self._connection.execute(schema.INSERT, row).lastrowid or 0

    def _done(self, row: schema.Row, slot: int) -> None:
        self._running.end(slot)
        self._syncer.wrote()
        # A page, and the one above it now and then; a name of 4 KiB is on pages of its own.
        texts = sum(len(text) for text in row if isinstance(text, str))
        self._written += 2 + texts * 4 // schema.PAGE if texts > schema.PAGE // 2 else 2
        if self._written >= self._frames:
            self._written = 0
            self._housekeeper.wake()

    def _cannot(self, why: sqlite3.Error) -> None:
        busy = getattr(why, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        if busy:
            # Somebody else writes, with a shell of his own, say: for a moment that is no trouble.
            self._busy_since = self._busy_since or time.monotonic()
        if not busy or time.monotonic() - (self._busy_since or 0.0) > _PATIENCE:
            self._heard("writing", str(why))
        self._try_again(_BUSY if busy else RETRY / 4)

    def _try_again(self, seconds: float) -> None:
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.after(seconds, self._flush)

    def _flush(self) -> None:
        """What is pending, in one transaction; then its answers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lent:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for entry in self._pending:
                    self._insert(entry.row)
                if self._trouble:
                    self._connection.execute("UPDATE journal SET clean = 0")  # to have written something
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as why:
            return self._cannot(why)
        self._busy_since = None
        done = list(self._pending)
        self._pending.clear()
        for entry in done:
            self._done(entry.row, entry.slot)
        self._heard("writing", None)
        for entry in done:
            entry.then()
        return None

    # From the threads, and what the loop makes of it.

    def lend(self) -> None:
        self._post(self._lend)

    def take_back(self) -> None:
        self._post(self._take_back)

    def failing(self, what: str, why: str | None) -> None:
        if self._trouble.get(what) != why:
            self._post(lambda: self._heard(what, why))

    def _post(self, message: Callable[[], None]) -> None:
        self._messages.append(message)
        os.eventfd_write(self._bell, 1)

    def _rung(self, _: int) -> None:
        os.eventfd_read(self._bell)
        while self._messages:
            self._messages.popleft()()

    def _lend(self) -> None:
        self._lent = True
        self._housekeeper.take()

    def _take_back(self) -> None:
        self._lent = False
        if self._pending:
            self._flush()

    def _heard(self, what: str, why: str | None) -> None:
        if self._trouble.get(what) == why:
            return
        if why is not None:
            log.error("journal %s: %s: %s; new launches are refused", self.path, what, why)
            self._trouble[what] = why
        else:
            self._trouble.pop(what, None)
            if not self._trouble:
                log.info("journal %s is written again", self.path)
