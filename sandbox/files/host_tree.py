"""A directory of the host as a guest may get it: looked at once, by us, and never by a guest's path.

It is walked with descriptors of our own, and no link of it is followed. The guest's paths are resolved in what was
written down then; all that reaches the host again is the reading of a file of it, which must still be the very same.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from insitu.sandbox import errno
from insitu.sandbox.channels.base import head
from insitu.sandbox.errno import GuestError, from_host
from insitu.sandbox.errors import FilesError
from insitu.sandbox.files.nodes import NAME_MAX, Directory, Link, MemoryFile, ReadOnlyFile
from insitu.sandbox.files.volume import Volume

MAX_ENTRIES: Final = 200_000
_DEPTH: Final = 200


class HostContents:
    """A regular file of the host, opened while a guest has it open."""

    __slots__ = ("_fd", "_identity", "_opened", "_path", "size")

    def __init__(self, path: bytes, status: os.stat_result) -> None:
        self._path, self._identity, self.size = path, (status.st_dev, status.st_ino), status.st_size
        self._fd, self._opened = -1, 0

    def open(self) -> None:
        if not self._opened:
            try:
                fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as why:
                raise GuestError(errno.ACCES if isinstance(why, PermissionError) else from_host(why)) from None
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != self._identity or not stat.S_ISREG(status.st_mode):
                os.close(fd)
                raise GuestError(errno.IO)  # another file has taken its place since
            self._fd = fd
        self._opened += 1

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        """Up to the size that was told, though the file may have grown since."""
        left = self.size - offset
        if left <= 0:
            return 0
        if sum(map(len, views)) > left:
            views = head(views, left)
        try:
            return os.preadv(self._fd, views, offset)
        except OSError as why:
            raise GuestError(from_host(why)) from None

    def close(self) -> None:
        self._opened -= 1
        if not self._opened:
            os.close(self._fd)
            self._fd = -1


def read_only(path: Path, *, time: int | None = None) -> Directory:
    """The files below `path`, read where they lie when a guest reads them. For many launches: nothing in it changes.

    `time`: nanoseconds since 1970 that all of them claim to be of; by default each its own. Raises `FilesError`.
    """
    return _Walk(Volume(1, read_only=True), time, copy=False).root(path)


def copied(path: Path, volume: Volume, *, time: int | None = None) -> Directory:
    """A copy of what is below `path`, in memory and the guest's own; counted by `volume`. Raises `FilesError`."""
    return _Walk(volume, time, copy=True).root(path)


class _Walk:
    def __init__(self, volume: Volume, time: int | None, *, copy: bool) -> None:
        self._volume, self._time, self._copy, self._entries = volume, time, copy, 0

    def root(self, path: Path) -> Directory:
        where = os.fsencode(path)
        try:
            fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return self._directory(fd, os.path.realpath(where), 0)
        except OSError as why:
            raise FilesError(f"{path}: {why.strerror}") from None

    def _at(self, status: os.stat_result) -> int:
        # preview1 knows no time before 1970.
        return max(0, status.st_mtime_ns) if self._time is None else self._time

    def _directory(self, fd: int, path: bytes, depth: int) -> Directory:
        """Takes `fd`. In the order of names: the same files give the same tree, whatever the host's order."""
        try:
            directory = Directory(self._volume, self._at(os.fstat(fd)))
            if depth > _DEPTH:
                raise FilesError(f"{os.fsdecode(path)}: directories more than {_DEPTH} deep")
            for name, status in self._listing(fd, path):
                where = os.path.join(path, name)
                try:
                    self._add(directory, fd, name, where, status, depth)
                except OSError as why:
                    raise FilesError(f"{os.fsdecode(where)}: {why.strerror}") from None
                except GuestError:
                    raise FilesError(f"{os.fsdecode(where)}: {self._full()}") from None
            time = self._at(os.fstat(fd))
            directory.mtim = directory.ctim = time
            return directory
        finally:
            os.close(fd)

    def _full(self) -> str:
        volume = self._volume
        return (
            f"with it the files are over what a guest's may be in all, {volume.max_count} names (--tmp-files) and "
            f"{volume.max_bytes} bytes (--tmp-size); there were {volume.count} names and {volume.bytes} bytes by then"
        )

    def _listing(self, fd: int, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        with os.scandir(fd) as found:
            entries = sorted((os.fsencode(entry.name), entry) for entry in found)
        for name, entry in entries:
            self._entries += 1
            where = os.fsdecode(os.path.join(path, name))
            if self._entries > MAX_ENTRIES:
                raise FilesError(f"{where}: more than {MAX_ENTRIES} files")
            try:
                name.decode()
            except UnicodeDecodeError:
                raise FilesError(f"{where!r}: a name that is no UTF-8, which WASI has no way to say") from None
            if len(name) > NAME_MAX:
                raise FilesError(f"{where}: a name of more than {NAME_MAX} bytes")
            yield name, entry.stat(follow_symlinks=False)

    def _add(self, directory: Directory, fd: int, name: bytes, path: bytes, status: os.stat_result, depth: int) -> None:
        volume, time = self._volume, self._at(status)
        put = directory.add if self._copy else directory.put
        if stat.S_ISDIR(status.st_mode):
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            put(name, self._directory(inside, path, depth + 1))
        elif stat.S_ISLNK(status.st_mode):
            put(name, Link(volume, os.fsencode(os.readlink(name, dir_fd=fd)), time))
        elif not stat.S_ISREG(status.st_mode):
            raise FilesError(f"{os.fsdecode(path)}: neither a file nor a directory nor a symbolic link")
        elif self._copy:
            put(name, self._copied(fd, name, time))
        else:
            put(name, ReadOnlyFile(volume, HostContents(path, status), time))

    def _copied(self, fd: int, name: bytes, time: int) -> MemoryFile:
        node = MemoryFile(self._volume, time)
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        try:
            node.fill(opened)
        finally:
            os.close(opened)
        node.mtim = node.ctim = time
        return node
