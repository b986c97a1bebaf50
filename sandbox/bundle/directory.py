"""A bundle as a directory: made whole or not at all, and read as what it may be, the work of an enemy."""

import os
import shutil
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from insitu.sandbox.bundle.format import MAX_JSON, Bundle
from insitu.sandbox.bundle.tree import digest_of
from insitu.sandbox.errors import BundleError

JSON: Final = "bundle.json"
PROGRAM: Final = "program.wasm"
PACKED: Final = "program.zip"
PROGRAM_MOST: Final = 64 << 20
"""Bytes of a program that is kept; of a larger one only the digest is."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def program_name(*, bundle: bool) -> str:
    """Of the program's bytes in a bundle. Those of one that came as a bundle are not unpacked: whoever runs it does."""
    return PACKED if bundle else PROGRAM


def input_name(channel: str) -> str:
    """Of an input's bytes in a bundle: "stdin" → inputs/stdin, "in/NAME" → inputs/in-NAME."""
    return "inputs/" + channel.replace("/", "-")


class BundleWriter:
    """A bundle in the making, beside its place. As a context manager it leaves nothing, unless it was finished."""

    def __init__(self, place: Path) -> None:
        """`place` is not there yet, or is an empty directory. Raises `BundleError`."""
        self._place = Path(os.path.abspath(place))
        self._parts = self._place.with_name(f".{self._place.name}.{os.getpid()}.part")
        try:
            if os.path.lexists(self._place):
                if self._place.is_symlink() or not self._place.is_dir():
                    raise BundleError(f"{place}: something else is there; a bundle needs a directory of its own")
                if any(self._place.iterdir()):
                    raise BundleError(f"{place}: is not empty; a bundle needs a directory of its own")
            self._parts.mkdir(mode=0o700)  # it may hold what only its reader may see
        except OSError as why:
            raise BundleError(f"{place}: {why.strerror}") from None

    def create(self, name: str) -> int:
        """A new part, for reading and writing. Raises OSError."""
        path = self._parts / name
        if path.parent != self._parts:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, _WRITE, 0o600)

    def link(self, name: str, source: Path) -> None:
        """A part that is also in another bundle. Raises OSError."""
        os.link(source, self._parts / name, follow_symlinks=False)

    def add(self, name: str, data: bytes) -> None:
        """Raises OSError."""
        with open(self.create(name), "wb") as file:
            file.write(data)

    def drop(self, name: str) -> None:
        (self._parts / name).unlink(missing_ok=True)

    def finish(self, bundle: Bundle) -> None:
        """It is there from now on, under its own name. Raises OSError, `BundleError`."""
        data = bundle.to_json()
        if len(data) > MAX_JSON:
            raise BundleError(
                f"{self._place}: what there is to say is {len(data)} bytes, and at most {MAX_JSON} are read"
            )
        self.add(JSON, data)
        os.rename(self._parts, self._place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._parts, ignore_errors=True)


class BundleReader:
    """A bundle that somebody hands us. Close it."""

    def __init__(self, place: Path) -> None:
        """Reads `bundle.json`; the parts are read when they are asked for. Raises `BundleError`."""
        self.place = place
        try:
            self._fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as why:
            raise BundleError(f"{place}: {why.strerror}") from None
        except ValueError:
            raise BundleError(f"{place!r}: no path") from None
        try:
            fd, size = self._open(JSON)
            try:
                if size > MAX_JSON:
                    raise self._wrong(JSON, f"{size} bytes, and at most {MAX_JSON} are read")
                data = bytearray()
                while len(data) <= MAX_JSON and (piece := os.read(fd, 1 << 20)):
                    data += piece
            finally:
                os.close(fd)
            self.bundle = Bundle.from_json(bytes(data), f"{place}/{JSON}")
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def part(self, name: str, digest: str, size: int) -> int:
        """A part's descriptor, after it was held against both. Raises `BundleError`."""
        fd, found = self._open(name)
        try:
            if found != size:
                raise self._wrong(name, f"{found} bytes, and {JSON} says {size}")
            is_digest, count = digest_of(fd, most=size + 1)
            if (is_digest, count) != (digest, size):
                raise self._wrong(name, f"is {is_digest}, and {JSON} says {digest}")
            return fd
        except OSError as why:
            os.close(fd)
            raise self._wrong(name, why.strerror or str(why)) from None
        except BaseException:
            os.close(fd)
            raise

    def _open(self, name: str) -> tuple[int, int]:
        """Reached through no link, and a regular file. `name` is one of ours."""
        folder, _, last = name.rpartition("/")
        try:
            inside = os.dup(self._fd)
            if folder:
                os.close(inside)
                inside = os.open(folder, _READ | os.O_DIRECTORY, dir_fd=self._fd)
            try:
                fd = os.open(last, _READ, dir_fd=inside)
            finally:
                os.close(inside)
        except OSError as why:
            raise self._wrong(name, why.strerror or str(why)) from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise self._wrong(name, "is no regular file")
        return fd, status.st_size

    def _wrong(self, name: str, what: str) -> BundleError:
        return BundleError(f"{self.place}/{name}: {what}")
