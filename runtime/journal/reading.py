"""Sums over journals, read where they lie: while their nodes run, and when they are down.

A reader takes no lock that a node waits for; while it reads, the node's log is not begun anew.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from insitu.runtime.journal import schema
from insitu.runtime.journal.schema import JournalError

By = Literal["tenant", "program", "object"]
BY: Final = ("tenant", "program", "object")
_WAIT: Final = 10.0  # seconds for a node that opens or closes its journal this very moment
_PAGE_OF_MEMORY: Final = 1 << 16  # wasm's
# SQLite fails when a sum does not fit 63 bits, and rounds when a product does not: halves are summed apart.
_EXACT: Final = {
    "fuel": "fuel",
    "cpu_us": "cpu_us",
    "wall_us": "wall_us",
    "memory_us": f"((memory_peak + {_PAGE_OF_MEMORY - 1}) / {_PAGE_OF_MEMORY}) * wall_us",
    "bytes_in": "bytes_in",
    "bytes_out": "bytes_out",
    "bytes_err": "bytes_err",
}
_HALVES: Final = ", ".join(f"sum(({what}) >> 32), sum(({what}) & 4294967295)" for what in _EXACT.values())


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some launches."""

    launches: int = 0
    ok: int = 0
    """Of them: ended with exit code 0, and all their output could be written."""
    failed: int = 0
    """Of them: all others, lost and cancelled ones among them."""
    lost: int = 0
    """Of the failed: their worker or their node died; what they used is not, or not all, known."""
    fuel: int = 0
    cpu_us: int = 0
    wall_us: int = 0
    memory_us: int = 0
    """Peak memory, in wasm pages of 64 KiB, times wall microseconds: at most what was occupied."""
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_err: int = 0

    @property
    def memory_mib_seconds(self) -> float:
        return self.memory_us / 16 / 1e6

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def sums(paths: Iterable[str | Path], by: By | None = None, since_us: int = 0) -> dict[str, Sums]:
    """Of all launches in these journals that ended at `since_us` (Unix time, microseconds) or later: by tenant, digest
    of the program or object; without `by` under the one key "". Raises `JournalError`."""
    found: dict[str, Sums] = {}
    key = {"tenant": "tenant", "program": "digest", "object": "object", None: "''"}[by]
    for path in paths:
        for name, one in _of_one(os.fspath(path), key, since_us):
            found[name] = found.get(name, Sums()) + one
    return found


def names(paths: Iterable[str | Path]) -> dict[str, str]:
    """Digest → the name by which it was last asked for. Raises `JournalError`."""
    found: dict[str, str] = {}
    for path in paths:
        query = "SELECT digest, program, max(seq) FROM launches GROUP BY digest"
        found |= {str(digest): str(name) for digest, name, _ in _asked(os.fspath(path), query, ())}
    return found


def _of_one(path: str, key: str, since_us: int) -> Iterator[tuple[str, Sums]]:
    query = (
        f"SELECT {key}, count(*), ifnull(sum(end = 'exit' AND exit_code = 0 AND broken = ''), 0), "
        f"ifnull(sum(end = 'lost'), 0), {_HALVES} FROM launches WHERE ended_us >= ? GROUP BY 1"
    )
    for name, launches, ok, lost, *halves in _asked(path, query, (since_us,)):
        whole = [int(high << 32) + int(low) for high, low in zip(halves[::2], halves[1::2], strict=True)]
        yield str(name), Sums(launches, ok, launches - ok, lost, *whole)


def distinct(paths: Iterable[str | Path]) -> list[Path]:
    """Each journal once, however often and by whatever names it is there."""
    found = {os.path.realpath(path): Path(path) for path in paths}
    return list(found.values())


def _asked(path: str, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
    if not os.path.isfile(path):
        raise JournalError(f"no journal at {path}")
    path = os.path.realpath(path)  # SQLite's other files stand beside what a link leads to
    where = f"file:{quote(path)}?mode=ro"
    try:
        if not os.path.exists(f"{path}-wal"):
            # Closed in good order: there is nothing but the file, and to read it takes no right to its directory.
            answer = _answered(path, f"{where}&immutable=1", query, values)
            if not os.path.exists(f"{path}-wal"):  # else a node has opened it meanwhile
                return answer
        return _answered(path, where, query, values)
    except sqlite3.Error as why:
        raise _unreadable(path, why) from None


def _answered(path: str, where: str, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(where, uri=True, timeout=_WAIT, isolation_level=None)
    try:
        schema.check_ours(connection, path)
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            raise JournalError(f"{path} is empty, and no journal of insitu's")
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def _unreadable(path: str, why: sqlite3.Error) -> JournalError:
    code = getattr(why, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return JournalError(f"{path} is no journal of insitu's")
    if code == sqlite3.SQLITE_CORRUPT:
        return JournalError(f"journal {path} is damaged ({why}); what can be saved, `sqlite3 FILE .recover` saves")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return JournalError(f"journal {path} cannot be opened: try as the node's user, or as root ({why})")
    return JournalError(f"journal {path}: {why}")
