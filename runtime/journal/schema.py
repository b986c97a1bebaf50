"""What stands in a journal: its one table of launches, how a record becomes a row, and how the file is opened.

Rows are appended in the order in which launches ended, and there is no index: an insert touches the last page and no
other, which is what keeps it at some 15 µs. Readers scan.
"""

import json
import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from insitu.runtime.place import NodeFailed
from insitu.runtime.record import Record
from insitu.sandbox.outcome import ChannelStatistics

APPLICATION: Final = 0x696E7369  # "insi": what `file` and we know a journal by
VERSION: Final = 1
PAGE: Final = 1024  # bytes; a record is about 260, and every commit appends whole pages to SQLite's log
LARGEST: Final = (1 << 63) - 1  # SQLite's integers
_OURS: Final = 0o600

COLUMNS: Final = {
    "seq": ("INTEGER PRIMARY KEY", "in the order of ends"),
    "id": ("TEXT NOT NULL", "the launch, 32 hexadecimal digits"),
    "request_id": ("TEXT NOT NULL", "of whoever asked; Swift's transaction id"),
    "tenant": ("TEXT NOT NULL", "who is billed"),
    "program": ("TEXT NOT NULL", "the name that was asked for"),
    "digest": ("TEXT NOT NULL", "what ran, sha256:…"),
    "object": ("TEXT NOT NULL", "what was read, /account/container/object, or empty"),
    "node": ("TEXT NOT NULL", "where it ran"),
    "isolation": ("TEXT NOT NULL", "how: process, a worker for this launch; shared, one that serves one tenant"),
    "started_us": ("INTEGER NOT NULL", "Unix time at which the node had the whole request, microseconds"),
    "ended_us": ("INTEGER NOT NULL", "the same, of its end; of a lost one: when that was found"),
    "launch_us": ("INTEGER NOT NULL", "from started to the guest's first instruction; 0 when it is not known"),
    "end": ("TEXT NOT NULL", "exit, trap, limit, damaged, cancelled, lost"),
    "exit_code": ("INTEGER", "of an exit"),
    "limit_name": ("TEXT", "of a limit that was reached"),
    "note": ("TEXT NOT NULL", "what else is known, one line"),
    "broken": ("TEXT NOT NULL", "an output that the host could not write, and why; else empty"),
    "fuel": ("INTEGER NOT NULL", "engine units"),
    "cpu_us": ("INTEGER NOT NULL", "CPU microseconds"),
    "wall_us": ("INTEGER NOT NULL", "microseconds from the sandbox's making to its end"),
    "memory_peak": ("INTEGER NOT NULL", "bytes"),
    "bytes_in": ("INTEGER NOT NULL", "from stdin and named inputs"),
    "bytes_out": ("INTEGER NOT NULL", "to stdout and named outputs"),
    "bytes_err": ("INTEGER NOT NULL", "to stderr"),
    "channels": ("TEXT", "figures by channel as JSON, of launches with named ones"),
}
"""Of table `launches`: SQL type and what it says. Units stand in the names."""

Row = Sequence[str | int | None]
INSERT: Final = f"INSERT INTO launches ({', '.join(list(COLUMNS)[1:])}) VALUES ({', '.join('?' * (len(COLUMNS) - 1))})"
_CREATE: Final = (
    f"CREATE TABLE launches ({', '.join(f'{name} {kind}' for name, (kind, _) in COLUMNS.items())})",
    # One row. `clean`: closed in good order; `restarts`: how often SQLite's log began anew.
    "CREATE TABLE journal (clean INTEGER NOT NULL, restarts INTEGER NOT NULL)",
    "INSERT INTO journal VALUES (1, 0)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


class JournalError(NodeFailed):
    """The file cannot serve as a journal. The message names it, and says why and what to do."""


def row(record: Record, ended_us: int) -> Row:
    """For `INSERT`."""
    outcome = record.outcome
    usage = outcome.usage
    return (
        record.id,
        record.request_id,
        record.tenant,
        record.program,
        record.digest,
        record.object,
        record.node,
        record.isolation,
        int(record.started * 1e6),
        ended_us,
        record.launch_us,
        outcome.end,
        outcome.exit_code,
        None if outcome.limit is None else outcome.limit.name,
        outcome.note,
        outcome.broken,
        min(usage.fuel, LARGEST),
        usage.cpu_us,
        usage.wall_us,
        usage.memory_peak,
        usage.bytes_in,
        usage.bytes_out,
        usage.bytes_err,
        json.dumps({name: _plain(one) for name, one in outcome.channels.items()}) if outcome.channels else None,
    )


def _plain(figures: ChannelStatistics) -> dict[str, int | str | None]:
    return {name: getattr(figures, name) for name in figures.__slots__}


def connect(path: str) -> sqlite3.Connection:
    """For writing. Every statement is its own transaction; syncing and checkpoints are up to the caller."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def open_journal(path: str) -> tuple[sqlite3.Connection, bool]:
    """The file, made when there is none, and whether it was closed in good order. Raises `JournalError`."""
    place = Path(path)
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its other files the same mode. Closed before SQLite has a lock on it: closing would lose that.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _OURS)
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        os.close(fd)
        if not regular:
            raise JournalError(f"journal {path}: no regular file")
        empty = place.stat().st_size == 0
        log = Path(f"{path}-wal")
        if empty and log.exists() and log.stat().st_size:
            raise JournalError(
                f"journal {path} is gone or empty, but {log} is still there and holds records: "
                f"bring the journal back, or move {log} away as well"
            )
    except OSError as why:
        raise JournalError(f"journal {path}: {why.strerror}") from None
    try:
        connection = connect(path)
    except sqlite3.Error as why:
        raise trouble(path, why) from None
    try:
        clean = _prepare(connection, path, empty)
    except sqlite3.DatabaseError as why:
        connection.close()
        raise trouble(path, why) from None
    except JournalError:
        connection.close()
        raise
    return connection, clean


def _prepare(connection: sqlite3.Connection, path: str, empty: bool) -> bool:
    if empty:
        connection.execute(f"PRAGMA page_size = {PAGE}")
    else:
        check_ours(connection, path)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(f"journal {path}: its file system cannot carry SQLite's log; put it on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA user_version").fetchone() == (0,):
        connection.execute("BEGIN IMMEDIATE")
        for statement in _CREATE:
            connection.execute(statement)
        connection.execute("COMMIT")
        return True
    (clean,) = connection.execute("SELECT clean FROM journal").fetchone()
    return bool(clean)


def check_ours(connection: sqlite3.Connection, path: str) -> None:
    """Raises `JournalError`, and sqlite3.DatabaseError when it is no database at all."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (tables or application) and application != APPLICATION:
        raise JournalError(f"{path} is a database, but no journal of insitu's")
    if version > VERSION:
        raise JournalError(f"journal {path} has version {version}, and this insitu knows {VERSION}: use a newer insitu")
    if version:
        there = [name for _, name, *_ in connection.execute("PRAGMA table_info(launches)")]
        if there != list(COLUMNS):
            other = sorted(set(there) ^ set(COLUMNS)) or ["their order"]
            raise JournalError(
                f"journal {path} has other columns than this insitu's ({', '.join(other)}): move it away together with "
                f"{path}-wal, or use the insitu that wrote it"
            )


def check_whole(connection: sqlite3.Connection, path: str) -> None:
    """Look through every page. Raises `JournalError` when one is damaged."""
    try:
        found = [text for (text,) in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as why:
        raise trouble(path, why) from None
    if found != ["ok"]:
        raise damaged(path, found[0].splitlines()[-1])


def trouble(path: str, why: sqlite3.Error) -> JournalError:
    code = getattr(why, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(why))
    return JournalError(f"journal {path}: {why}")


def damaged(path: str, why: str) -> JournalError:
    return JournalError(
        f"journal {path} is damaged ({why}). It holds what tenants are billed by, so nothing is started over it: move "
        f"it away together with {path}-wal, save what can be saved (sqlite3 FILE .recover), and start again"
    )
