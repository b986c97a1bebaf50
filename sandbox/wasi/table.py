"""The guest's descriptors: streams, open files, open directories, and the table that numbers them.

A descriptor answers for itself what does not go with its kind: each method of `Descriptor` raises the error number for
that, and the kinds override what they can do. What a descriptor *may* do, its rights, the calls check before.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from typing import Final

from insitu.sandbox import errno
from insitu.sandbox.channels import Sink, Source, Wait
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.nodes import UNKNOWN, Directory, Node
from insitu.sandbox.wasi import abi

Views = Sequence[memoryview]
_OFFSET_MAX: Final = (1 << 63) - 1


class Descriptor:
    __slots__ = ("flags", "inheriting", "rights")
    can = 0
    """All rights that go with the kind."""

    def __init__(self, rights: int, inheriting: int = 0, flags: int = 0) -> None:
        self.rights, self.inheriting, self.flags = rights, inheriting, flags

    @property
    def filetype(self) -> int:
        return UNKNOWN

    def read(self, views: Views, wait: Wait) -> int:
        raise GuestError(errno.BADF)

    def write(self, views: Views, wait: Wait) -> int:
        raise GuestError(errno.BADF)

    def read_at(self, views: Views, offset: int) -> int:
        raise GuestError(errno.BADF)

    def write_at(self, views: Views, offset: int) -> int:
        raise GuestError(errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        raise GuestError(errno.BADF)

    def set_flags(self, flags: int) -> None:
        raise GuestError(errno.BADF)

    def resize(self, size: int) -> None:
        raise GuestError(errno.INVAL)

    def allocate(self, offset: int, length: int) -> None:
        raise GuestError(errno.BADF)

    def advise(self) -> None:
        raise GuestError(errno.BADF)

    def sync(self) -> None:
        raise GuestError(errno.INVAL)

    def directory(self) -> Directory:
        raise GuestError(errno.NOTDIR)

    def node(self) -> Node | None:
        """What it is open on; None for a stream."""
        return None

    def waiting(self, *, writing: bool) -> tuple[int | None, int]:
        """(host descriptor to poll, or None: ready at once; bytes that are there to be read). EBADF: not that way."""
        raise GuestError(errno.BADF)

    def close(self) -> None: ...


class Stream(Descriptor):
    """A source or a sink that only goes on."""

    __slots__ = ("sink", "source")

    def __init__(self, source: Source | None = None, sink: Sink | None = None) -> None:
        ways = (abi.READ if source else 0) | (abi.WRITE if sink else 0)
        super().__init__(abi.STREAM_RIGHTS | ways)
        self.source, self.sink = source, sink

    def read(self, views: Views, wait: Wait) -> int:
        if self.source is None:
            raise GuestError(errno.BADF)
        return self.source.read(views, wait) if views else 0

    def write(self, views: Views, wait: Wait) -> int:
        if self.sink is None:
            raise GuestError(errno.BADF)
        return self.sink.write(views, wait) if views else 0

    def read_at(self, views: Views, offset: int) -> int:
        raise GuestError(errno.SPIPE)

    def write_at(self, views: Views, offset: int) -> int:
        raise GuestError(errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        raise GuestError(errno.SPIPE)

    def set_flags(self, flags: int) -> None:
        if flags & ~abi.APPEND:
            raise GuestError(errno.NOTSUP)  # non-blocking, sync: a channel has neither
        self.flags = flags

    def allocate(self, offset: int, length: int) -> None:
        raise GuestError(errno.SPIPE)

    def advise(self) -> None:
        raise GuestError(errno.SPIPE)

    def waiting(self, *, writing: bool) -> tuple[int | None, int]:
        channel = self.sink if writing else self.source
        if channel is None:
            raise GuestError(errno.BADF)
        return channel.ready(), 1


class File(Descriptor):
    """An open file of the tree, with a position of its own."""

    __slots__ = ("_node", "position")
    can = abi.FILE_RIGHTS

    def __init__(self, node: Node, rights: int, inheriting: int, flags: int) -> None:
        super().__init__(rights & self.can, inheriting, flags)
        node.hold()
        self._node, self.position = node, 0

    @property
    def filetype(self) -> int:
        return self._node.filetype

    def node(self) -> Node:
        return self._node

    def read(self, views: Views, wait: Wait) -> int:
        count = self._node.read(views, self.position)
        self.position += count
        return count

    def write(self, views: Views, wait: Wait) -> int:
        count = self.write_at(views, self.position)
        if count:
            self.position = self._node.size if self.flags & abi.APPEND else self.position + count
        return count

    def read_at(self, views: Views, offset: int) -> int:
        return self._node.read(views, _offset(offset))

    def write_at(self, views: Views, offset: int) -> int:
        """At the end under O_APPEND, whatever the offset: so does Linux."""
        if not views:
            return 0
        return self._node.write(views, self._node.size if self.flags & abi.APPEND else _offset(offset))

    def seek(self, offset: int, whence: int) -> int:
        if whence > 2:
            raise GuestError(errno.INVAL)
        to = offset + (0, self.position, self._node.size)[whence]
        if to < 0:
            raise GuestError(errno.INVAL)
        if to > _OFFSET_MAX:
            raise GuestError(errno.OVERFLOW)
        self.position = to
        return to

    def set_flags(self, flags: int) -> None:
        self.flags = flags

    def resize(self, size: int) -> None:
        self._node.resize(_offset(size))

    def allocate(self, offset: int, length: int) -> None:
        if not length:
            raise GuestError(errno.INVAL)
        end = _offset(_offset(offset) + _offset(length))
        if end > self._node.size:
            self._node.resize(end)

    def advise(self) -> None: ...

    def sync(self) -> None: ...

    def waiting(self, *, writing: bool) -> tuple[int | None, int]:
        return None, 1 if writing else max(0, self._node.size - self.position)

    def close(self) -> None:
        self._node.release()


def _offset(value: int) -> int:
    if value > _OFFSET_MAX:
        raise GuestError(errno.INVAL)
    return value


class OpenDirectory(Descriptor):
    """An open directory. A preopened one has a `name`, and may be made only when it is looked at."""

    __slots__ = ("_directory", "name")
    can = abi.DIRECTORY_RIGHTS

    def __init__(
        self,
        directory: Directory | Callable[[], Directory],
        rights: int = abi.DIRECTORY_RIGHTS,
        inheriting: int = abi.FILE_RIGHTS | abi.DIRECTORY_RIGHTS,
        flags: int = 0,
        name: bytes | None = None,
    ) -> None:
        super().__init__(rights & self.can, inheriting, flags)
        self._directory, self.name = directory, name

    @property
    def filetype(self) -> int:
        return Directory.filetype

    def directory(self) -> Directory:
        if not isinstance(self._directory, Directory):
            self._directory = self._directory()
        return self._directory

    def node(self) -> Node:
        return self.directory()

    def resize(self, size: int) -> None:
        raise GuestError(errno.BADF)

    def sync(self) -> None: ...


class Table:
    """Descriptors by number; a new one gets the lowest that is free. `limit` of them at most."""

    __slots__ = ("_fds", "_free", "limit")

    def __init__(self, limit: int, *descriptors: Descriptor) -> None:
        self.limit = limit
        self._fds = dict(enumerate(descriptors))
        self._free: list[int] = []  # below len(_fds) + len(_free), lowest first

    def __getitem__(self, fd: int) -> Descriptor:
        entry = self._fds.get(fd)
        if entry is None:
            raise GuestError(errno.BADF)
        return entry

    def __len__(self) -> int:
        return len(self._fds)

    def __contains__(self, fd: int) -> bool:
        return fd in self._fds

    def full(self) -> bool:
        return len(self._fds) >= self.limit

    def add(self, descriptor: Descriptor) -> int:
        fd = self._free.pop(0) if self._free else len(self._fds)
        self._fds[fd] = descriptor
        return fd

    def close(self, fd: int) -> None:
        entry = self._fds.pop(fd, None)
        if entry is None:
            raise GuestError(errno.BADF)
        insort(self._free, fd)
        entry.close()

    def renumber(self, source: int, target: int) -> None:
        """What `source` was is `target` from now on; what that was is closed."""
        entry, replaced = self[source], self[target]
        if source == target:
            return
        del self._fds[source]
        insort(self._free, source)
        self._fds[target] = entry
        replaced.close()

    def close_all(self) -> None:
        for entry in self._fds.values():
            entry.close()
        self._fds.clear()
