"""Programs that came with a request: a launch named a digest that the node did not have, and whoever sent it did.

    DIR/<64 hex>.wasm, DIR/<64 hex>.zip

They are found by their digest alone, never by a name: a digest cannot be somebody else's. What arrives is held against
the digest before it is anything. The directory is kept below a number of bytes, and of programs; what was used longest
ago goes first, and is asked for again when it is wanted again. To look through one that is full of small ones holds
launches up, so that is done once in many arrivals, and what came since is remembered.
"""

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Final

from insitu.runtime.bundles.archive import is_archive
from insitu.runtime.errors import Busy, ProgramRejected
from insitu.sandbox.limits import GIB, MAX_PROGRAM

STORE_BYTES: Final = 1 * GIB
"""How much of a disk they may take."""
STORE_COUNT: Final = 4096
"""Programs, however small."""
_LOOK: Final = 128
"""Arrivals after which the directory is looked through again: another node of the same user may fill it, too."""
_LEFT: Final = 3600  # seconds after which what has not arrived is somebody's who was killed

Stamp = tuple[int, int, int]


class Arrivals:
    def __init__(self, directory: str | Path, most: int = STORE_BYTES, count: int = STORE_COUNT) -> None:
        """Nothing is made before something arrives."""
        self._directory, self._most, self._count = Path(directory), most, count
        self._used: dict[str, float] = {}
        self._stamps: dict[str, Stamp] = {}
        """Of files that were held against their digests as they came."""
        self._bytes = self._programs = 0
        """As far as is known."""
        self._since = _LOOK
        """Arrivals since it was looked through."""

    def find(self, digest: str) -> str | None:
        """The file of that digest."""
        for suffix in (".wasm", ".zip"):
            path = str(self._directory / f"{digest.removeprefix('sha256:')}{suffix}")
            if os.path.isfile(path):
                self._used[path] = time.time()
                return path
        return None

    def used(self, path: str) -> None:
        """By somebody who knew where it was, if it is one of these."""
        if path in self._used:
            self._used[path] = time.time()

    def verified(self, path: str, stamp: tuple[int, ...]) -> str | None:
        """The digest of a file that is what it was when it came. `stamp`: inode, size and time of change, as they are
        now."""
        return f"sha256:{Path(path).stem}" if self._stamps.get(path) == stamp else None

    def forget(self, path: str) -> None:
        """It is not what its name says."""
        Path(path).unlink(missing_ok=True)
        self._drop(path)

    def begin(self, digest: str) -> "Arrival":
        """Raises `Busy` when the disk will not have it."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Arrival(self, self._directory, digest)
        except OSError as why:
            raise Busy(f"{self._directory}: {why.strerror}: programs cannot be taken in now", 5.0) from None

    def make_room(self, size: int) -> None:
        """For one more of that size. Raises OSError."""
        self._since += 1
        if self._since < _LOOK and self._bytes + size <= self._most and self._programs < self._count:
            return
        found: list[tuple[float, int, str]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # another node made room
                last = max(info.st_mtime, self._used.get(entry.path, 0.0))
                if not entry.name.startswith(".") or time.time() - info.st_mtime > _LEFT:  # else it is arriving now
                    found.append((last, info.st_size, entry.path))
        self._since, self._programs = 0, len(found)
        self._bytes = sum(bytes_ for _, bytes_, _ in found)
        if self._bytes + size <= self._most and self._programs < self._count:
            return
        # Somewhat more room than is needed, so that the next one need not look.
        most, count = min(self._most - size, self._most * 9 // 10), self._count * 9 // 10
        for _, bytes_, path in sorted(found):
            if self._bytes <= most and self._programs <= count:
                return
            Path(path).unlink(missing_ok=True)
            self._drop(path)
            self._bytes -= bytes_
            self._programs -= 1

    def arrived(self, path: str) -> None:
        """It is there, and what its name says. Raises OSError."""
        info = os.stat(path)
        self._stamps[path] = (info.st_ino, info.st_size, info.st_mtime_ns)
        self._used[path] = time.time()
        self._bytes += info.st_size
        self._programs += 1

    def _drop(self, path: str) -> None:
        self._used.pop(path, None)
        self._stamps.pop(path, None)


class Arrival:
    """One program on its way in."""

    def __init__(self, arrivals: Arrivals, directory: Path, digest: str) -> None:
        self._arrivals, self._directory, self._digest = arrivals, directory, digest
        self._sum, self._size, self._head = hashlib.sha256(), 0, b""
        self._path = directory / f".{secrets.token_hex(8)}"
        self._file = open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")  # noqa: SIM115

    def feed(self, data: bytes) -> None:
        """Raises `ProgramRejected` when it gets too long, `Busy` when the disk will not have it."""
        self._size += len(data)
        if self._size > MAX_PROGRAM:
            raise ProgramRejected(f"program {self._digest}: over {MAX_PROGRAM} bytes, and no more are allowed")
        self._sum.update(data)
        self._head = (self._head + data[:4])[:4]
        try:
            self._file.write(data)
        except OSError as why:
            raise self._unkept(why) from None

    def finish(self) -> None:
        """It is there from now on. Raises `ProgramRejected` when it is another, `Busy`."""
        found = f"sha256:{self._sum.hexdigest()}"
        if found != self._digest:
            raise ProgramRejected(f"program {self._digest}: what was sent has the digest {found}")
        suffix = ".zip" if is_archive(self._head) else ".wasm"
        try:
            self._file.close()
            self._arrivals.make_room(self._size)
            path = str(self._directory / f"{self._digest.removeprefix('sha256:')}{suffix}")
            os.replace(self._path, path)
            self._arrivals.arrived(path)
        except OSError as why:
            raise self._unkept(why) from None

    def close(self) -> None:
        """Whatever became of it; nothing half is left."""
        try:
            self._file.close()
        except OSError:
            pass  # what it still held has no room
        self._path.unlink(missing_ok=True)

    def _unkept(self, why: OSError) -> Busy:
        return Busy(f"program {self._digest} cannot be taken in now: {why.strerror}", retry_after=5.0)
