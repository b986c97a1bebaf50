"""What is made of programs, on disk: machine code by what went in, and unpacked files, private to one user.

    DIR/<64 hex of the module>-<16 hex of engine version, settings and machine>.cwasm       the machine code
    DIR/<64 hex of the bundle>.files                                                        a bundle's files, unpacked
    DIR/<the same>.sum                                                                      SHA-256 of either

Machine code is trusted when it is loaded, so nobody else may write here: the directory must be ours alone, and an
entry is read whole and held against its sum first. A damaged or half-written entry is no entry: it is made again.
The directory is kept below a number of bytes: what was used longest ago goes first. Where it cannot be written (full,
read-only), whoever would store something is told so by OSError, and nothing is lost but time.
"""

import errno
import hashlib
import logging
import os
import platform
import secrets
import stat
import time
from collections.abc import Collection
from copy import copy
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from insitu.runtime.private import is_ours_alone

log = logging.getLogger("insitu.cache")
log.addHandler(logging.NullHandler())  # whoever has no log is not told: `insitu run` makes it again, and that is all
CACHE_BYTES: Final = 4 << 30
"""How much of a disk the cache may take, unless somebody says otherwise."""
_DEGRADES: Final = (errno.ENOENT, errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EDQUOT)
_UNFINISHED: Final = 3600  # seconds after which a file that was never renamed is somebody's who was killed


class CacheError(Exception):
    """The directory cannot be used; the message says why and what to do."""


@cache
def engine_key(canonical_nans: bool = False) -> str:
    """16 hexadecimal digits that differ between engines whose machine code is not interchangeable."""
    from insitu.sandbox.raw import settings  # only whoever compiles or loads maps the engine: the node does not

    what = f"wasmtime {version('wasmtime')};{platform.machine()};{settings(canonical_nans=canonical_nans)}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def user_cache() -> Path:
    """Where a user's own compiled programs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "insitu" / "compiled"


class CompiledCache:
    def __init__(self, directory: str | Path, *, canonical_nans: bool = False, most: int = CACHE_BYTES) -> None:
        """Makes the directory. Raises `CacheError` when it is not this user's alone.

        `canonical_nans`: whether the engine is one of those. `most`: bytes of all entries together.
        """
        self._canonical_nans, self._most = canonical_nans, most
        self.directory = Path(directory)
        self.unusable: str | None = None
        """Why nothing can be kept here, if that is known from the start."""
        try:
            ours = is_ours_alone(self.directory, stat.S_IWGRP | stat.S_IWOTH)
        except OSError as why:
            if why.errno not in _DEGRADES:
                raise CacheError(f"cache {self.directory}: {why.strerror}") from None
            self.unusable = f"{self.directory}: {why.strerror}"
            return
        if not ours:
            raise CacheError(
                f"cache {self.directory}: holds machine code that will be run, so it must belong to the user who runs "
                f"it and be writable by nobody else; try: chmod 700 {self.directory}"
            )

    def of(self, *, canonical_nans: bool) -> "CompiledCache":
        """The same directory, for an engine of that kind."""
        other = copy(self)
        other._canonical_nans = canonical_nans
        return other

    def path(self, digest: str) -> Path:
        """Where the machine code of a module is, or would be."""
        return self.directory / f"{digest.removeprefix('sha256:')}-{engine_key(self._canonical_nans)}.cwasm"

    def files_path(self, digest: str) -> Path:
        """Where the files of a bundle are, or would be."""
        return self.directory / f"{digest.removeprefix('sha256:')}.files"

    def find(self, digest: str) -> Path | None:
        """The machine code of a module, verified; None when there is none or it is damaged."""
        return self._verified(self.path(digest))

    def find_files(self, digest: str) -> Path | None:
        """Likewise the files of a bundle (see `bundles.pack`)."""
        return self._verified(self.files_path(digest))

    def _verified(self, path: Path) -> Path | None:
        try:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            wanted = path.with_suffix(".sum").read_text()
        except (OSError, ValueError):
            return None
        if found != wanted:
            log.warning("%s is damaged: it is not used, and made again", path)
            return None
        try:
            os.utime(path)  # used: it goes last
        except OSError:
            pass
        return path

    def store(self, digest: str, code: bytes, keep: Collection[Path] = ()) -> Path:
        """Whole or not at all, also when two store the same at once. Raises OSError when the disk will not have it.

        `keep`: entries that make no room, since they are loaded.
        """
        return self._store(self.path(digest), code, keep)

    def store_files(self, digest: str, data: bytes, keep: Collection[Path] = ()) -> Path:
        return self._store(self.files_path(digest), data, keep)

    def _store(self, path: Path, data: bytes, keep: Collection[Path]) -> Path:
        self._make_room(len(data), path.name, {kept.name for kept in keep})
        _replace(path, data)
        _replace(path.with_suffix(".sum"), hashlib.sha256(data).hexdigest().encode())
        return path

    def _make_room(self, size: int, name: str, keep: set[str]) -> None:
        """Drop what was used longest ago until so many bytes fit, under that name."""
        found: list[tuple[float, int, str]] = []
        total, long_ago = size, time.time() - _UNFINISHED
        with os.scandir(self.directory) as entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # somebody else made room
                if entry.name.startswith("."):
                    if info.st_mtime < long_ago:
                        _drop(entry.path)
                    continue
                if entry.name.endswith((".cwasm", ".files")) and entry.name != name:
                    total += info.st_size
                    if entry.name not in keep:
                        found.append((info.st_mtime, info.st_size, entry.path))
        for _, bytes_, path in sorted(found):
            if total <= self._most:
                return
            # The sum last: without it the rest would be no entry, and would never be found again.
            _drop(path)
            _drop(f"{os.path.splitext(path)[0]}.sum")
            total -= bytes_
        if total > self._most:
            raise OSError(errno.EDQUOT, f"the cache may take {self._most} bytes, and loaded programs take them")


def _drop(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _replace(path: Path, data: bytes) -> None:
    # A new file and a rename, never a write in place: the old one may be mapped by running workers.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
