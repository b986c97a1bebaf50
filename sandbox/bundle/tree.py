"""A tree of files as a list: what `--root` or `--files` gave a guest, to be made again elsewhere."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from insitu.sandbox.bundle.fields import Fields
from insitu.sandbox.digest import is_digest
from insitu.sandbox.errors import BundleError

MAX_ENTRIES: Final = 200_000
MAX_BYTES: Final = 4 << 30
"""Of all files together that a bundle may hold: so much is written when they are made again."""
_DEPTH: Final = 200
_NAME: Final = 255  # bytes of a component
_PATH: Final = 8192
_PIECE: Final = 1 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory; a file, with `size` and `digest`; or a symbolic link, with `target`. `path` is relative."""

    path: str
    size: int | None = None
    digest: str | None = None
    target: str | None = None

    @property
    def kind(self) -> str:
        return "file" if self.digest is not None else "directory" if self.target is None else "link"

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"path": self.path, "kind": self.kind}
        if self.kind == "file":
            fields |= {"size": self.size, "digest": self.digest}
        elif self.kind == "link":
            fields["target"] = self.target
        return fields

    def words(self) -> str:
        if self.kind == "file":
            return f"{self.size} bytes, {self.digest}"
        return self.kind if self.target is None else f"link to {self.target}"


def entry_from(raw: Fields) -> Entry:
    """Raises `BundleError`."""
    path, kind = raw.text("path", _PATH), raw.choice("kind", ("directory", "file", "link"))
    found = Entry(path)
    if kind == "file":
        found = Entry(path, size=raw.count("size"), digest=raw.digest("digest"))
    elif kind == "link":
        found = Entry(path, target=raw.text("target", _PATH))
    raw.end()
    return found


def check(entries: Sequence[Entry], where: str) -> None:
    """That making them stays within one directory. Raises `BundleError` naming the first that would not."""
    if len(entries) > MAX_ENTRIES:
        raise BundleError(f"{where}: {len(entries)} entries, and at most {MAX_ENTRIES} may be")
    directories, known = {""}, set[str]()
    for entry in entries:
        parent, _, name = entry.path.rpartition("/")
        absolute = entry.path.startswith("/")
        if absolute or name in ("", ".", "..") or len(name.encode()) > _NAME or entry.path.count("/") > _DEPTH:
            raise BundleError(f"{where}: {entry.path[:100]!r} is no path within a directory")
        if parent not in directories:  # a link is none: nothing is made behind one
            raise BundleError(f"{where}: {entry.path[:100]!r} is in no directory that comes before it")
        if entry.path in known:
            raise BundleError(f"{where}: {entry.path[:100]!r} is there twice")
        known.add(entry.path)
        if entry.kind == "directory":
            directories.add(entry.path)


def taken(path: Path, keep: Callable[[str], int | None]) -> tuple[Entry, ...]:
    """The list of what is below `path`; no link of it is followed.

    `keep(digest)` gives a descriptor to write the file's bytes to, or None when they are not wanted; it is closed here.
    Raises `BundleError` for what cannot be listed, OSError when what is kept cannot be written.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as why:
        raise BundleError(f"{path}: {why.strerror}") from None
    found = tuple(_walk(fd, "", keep))
    check(found, str(path))
    return found


Look = dict[str, tuple[int, ...]]
"""Of every path below a directory: file type, inode, size, and the times at which it changed."""


def looked(path: Path) -> Look:
    """As far as it can be seen: to know whether two looks saw the same. Follows no link."""
    found: Look = {}
    for directory, folders, names in os.walk(path):
        for name in (*folders, *names):
            where = os.path.join(directory, name)
            try:
                status = os.lstat(where)
            except OSError:
                continue
            times = status.st_mtime_ns, status.st_ctime_ns
            found[where] = (stat.S_IFMT(status.st_mode), status.st_ino, status.st_size, *times)
    return found


def total(look: Look) -> int:
    """Bytes of all files."""
    return sum(seen[2] for seen in look.values() if seen[0] == stat.S_IFREG)


def _walk(fd: int, path: str, keep: Callable[[str], int | None]) -> Iterator[Entry]:
    """Takes `fd`."""
    try:
        with os.scandir(fd) as listing:
            names = sorted(os.fsencode(entry.name) for entry in listing)
        for raw in names:
            try:
                name = raw.decode()
                where = f"{path}/{name}" if path else name
                status = os.stat(raw, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    inside = os.open(raw, _DIRECTORY, dir_fd=fd)
                    yield Entry(where)
                    yield from _walk(inside, where, keep)
                elif stat.S_ISLNK(status.st_mode):
                    yield Entry(where, target=os.fsencode(os.readlink(raw, dir_fd=fd)).decode())
                elif stat.S_ISREG(status.st_mode):
                    yield _file(os.open(raw, _FILE, dir_fd=fd), where, keep)
                else:
                    raise BundleError(f"{where}: neither a file nor a directory nor a symbolic link")
            except UnicodeDecodeError:
                raise BundleError(f"{raw!r} in {path or '/'}: a name or a link's target that is no UTF-8") from None
            except OSError as why:
                raise BundleError(f"{where}: {why.strerror}") from None
    finally:
        os.close(fd)


def _file(fd: int, path: str, keep: Callable[[str], int | None]) -> Entry:
    """Takes `fd`."""
    try:
        digest, size = digest_of(fd)
        target = keep(digest)
        if target is not None:
            try:
                if copied(fd, target) != (digest, size):
                    raise BundleError(f"{path}: changed while it was looked at")
            finally:
                os.close(target)
        return Entry(path, size=size, digest=digest)
    finally:
        os.close(fd)


def digest_of(fd: int, start: int = 0, most: int | None = None) -> tuple[str, int]:
    """Of a file's bytes from `start`, `most` of them: digest and count. Leaves the descriptor's offset alone."""
    return _pass(fd, None, start, most)


def copied(fd: int, target: int, start: int = 0, most: int | None = None) -> tuple[str, int]:
    """The same of what has been written to `target`, which is a file, at its offset."""
    return _pass(fd, target, start, most)


def _pass(fd: int, target: int | None, start: int, most: int | None) -> tuple[str, int]:
    digest, count = hashlib.sha256(), 0
    while most is None or count < most:
        piece = os.pread(fd, _PIECE if most is None else min(_PIECE, most - count), start + count)
        if not piece:
            break
        digest.update(piece)
        count += len(piece)
        while target is not None and piece:
            piece = piece[os.write(target, piece) :]
    return "sha256:" + digest.hexdigest(), count


def made(entries: Sequence[Entry], directory: Path, content: Callable[[str, int], int]) -> None:
    """Make them, checked, below `directory`, which is ours alone. `content(digest, size)` opens a file's bytes, held
    against both. Raises `BundleError`, OSError."""
    for entry in entries:
        place = directory / entry.path
        if entry.kind == "directory":
            place.mkdir()
        elif entry.target is not None:
            place.symlink_to(entry.target)
        else:
            source = content(entry.digest or "", entry.size or 0)
            try:
                target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    copied(source, target)
                finally:
                    os.close(target)
            finally:
                os.close(source)


def differences(recorded: Sequence[Entry], now: Sequence[Entry]) -> list[str]:
    """One line for each path that is not the same, in the order of paths."""
    before, after = {e.path: e for e in recorded}, {e.path: e for e in now}
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            found.append(
                f"{path}: {old.words() if old else 'not there'} recorded, {new.words() if new else 'not there'} now"
            )
    return found


def part_name(digest: str) -> str:
    """Of a file's contents in a bundle."""
    assert is_digest(digest)
    return "files/" + digest.removeprefix("sha256:")
