"""Compiled programs on disk: machine code by what went in, private to one user.

    DIR/<64 hex of the program>-<16 hex of engine version, settings and machine>.cwasm       the machine code
    DIR/<the same>.sum                                                                       its SHA-256

Machine code is trusted when it is loaded, so nobody else may write here: the directory must be ours alone, and an
entry is read whole and held against its sum first. A damaged or half-written entry is no entry: the program is
compiled again.
"""

import hashlib
import os
import platform
import stat
from functools import cache
from importlib.metadata import version
from pathlib import Path

from insitu.runtime.private import is_ours_alone


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
    def __init__(self, directory: str | Path, *, canonical_nans: bool = False) -> None:
        """Makes the directory. Raises `CacheError` when it is not this user's alone.

        `canonical_nans`: whether the engine is one of those.
        """
        self._canonical_nans = canonical_nans
        self.directory = Path(directory)
        try:
            ours = is_ours_alone(self.directory, stat.S_IWGRP | stat.S_IWOTH)
        except OSError as why:
            raise CacheError(f"cache {self.directory}: {why.strerror}") from None
        if not ours:
            raise CacheError(
                f"cache {self.directory}: holds machine code that will be run, so it must belong to the user who runs "
                f"it and be writable by nobody else; try: chmod 700 {self.directory}"
            )

    def path(self, digest: str) -> Path:
        """Where the machine code of a program is, or would be."""
        return self.directory / f"{digest.removeprefix('sha256:')}-{engine_key(self._canonical_nans)}.cwasm"

    def find(self, digest: str) -> Path | None:
        """The machine code of a program, verified; None when there is none or it is damaged."""
        path = self.path(digest)
        try:
            code, wanted = path.read_bytes(), path.with_suffix(".sum").read_text()
        except (OSError, ValueError):
            return None
        return path if hashlib.sha256(code).hexdigest() == wanted else None

    def store(self, digest: str, code: bytes) -> Path:
        """Whole or not at all, also when two store the same at once. Raises OSError when the disk will not have it."""
        path = self.path(digest)
        _replace(path, code)
        _replace(path.with_suffix(".sum"), hashlib.sha256(code).hexdigest().encode())
        return path


def _replace(path: Path, data: bytes) -> None:
    # A new file and a rename, never a write in place: the old one may be mapped by running workers.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
