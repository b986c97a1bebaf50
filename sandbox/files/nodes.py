"""What a tree is made of: files, directories, symbolic links."""

import os
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final, Protocol

from insitu.sandbox import errno
from insitu.sandbox.channels import Sink, Source
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.volume import Volume

UNKNOWN, DIRECTORY, REGULAR_FILE, SYMBOLIC_LINK = 0, 3, 4, 7  # of preview1's `$filetype`
NAME_MAX: Final = 255  # bytes of one component
SIZE_MAX: Final = 1 << 40  # of a file, whatever the quota
_PER_FILE: Final = 64  # bytes that a volume counts for each entry, beside its contents


class Node:
    """What a name leads to. Times are nanoseconds since 1970."""

    __slots__ = ("atim", "ctim", "inode", "links", "mtim", "opened", "volume")
    filetype = UNKNOWN

    def __init__(self, volume: Volume, time: int | None = None) -> None:
        self.volume, self.inode, self.links, self.opened = volume, volume.inode(), 0, 0
        self.atim = self.mtim = self.ctim = volume.stamp() if time is None else time

    @property
    def size(self) -> int:
        return 0

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        """Into `views`, from `offset`; 0 at the end. Raises `GuestError`."""
        raise GuestError(errno.BADF)

    def write(self, views: Sequence[memoryview], offset: int) -> int:
        """How much of `views` was taken, at `offset`. Raises `GuestError`."""
        raise GuestError(errno.BADF)

    def resize(self, size: int) -> None:
        """Cut, or filled up with zeros. Raises `GuestError`."""
        self.volume.writable()
        raise GuestError(errno.INVAL)

    def touched(self) -> None:
        """Its contents have changed."""
        self.mtim = self.ctim = self.volume.stamp()

    def hold(self) -> None:
        """A descriptor of it is being opened. Raises `GuestError`."""
        self.opened += 1

    def release(self) -> None:
        """A descriptor of it is closed."""
        self.opened -= 1
        self.let_go()

    def let_go(self) -> None:
        """A name or a descriptor of it went: with the last of them go its contents."""


class Contents(Protocol):
    """The bytes of a read-only file, wherever they are. One may be open many times at once."""

    size: int

    def open(self) -> None:
        """Before the first read. Raises `GuestError`."""

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        """Into `views`, from `offset`. Raises `GuestError`."""

    def close(self) -> None: ...


class ReadOnlyFile(Node):
    __slots__ = ("contents",)
    filetype = REGULAR_FILE

    def __init__(self, volume: Volume, contents: Contents, time: int) -> None:
        super().__init__(volume, time)
        self.contents = contents
        self.links = 1

    @property
    def size(self) -> int:
        return self.contents.size

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        return self.contents.read(views, offset)

    def hold(self) -> None:
        self.contents.open()

    def release(self) -> None:
        self.contents.close()


class MemoryFile(Node):
    """A file whose bytes are ours."""

    __slots__ = ("data",)
    filetype = REGULAR_FILE

    def __init__(self, volume: Volume, time: int | None = None) -> None:
        super().__init__(volume, time)
        self.data = bytearray()

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        count, size = 0, len(self.data)
        if offset >= size:
            return 0
        with memoryview(self.data) as data:
            for view in views:
                length = min(len(view), size - offset)
                view[:length] = data[offset : offset + length]
                offset += length
                count += length
                if offset >= size:
                    break
        return count

    def write(self, views: Sequence[memoryview], offset: int) -> int:
        """All of `views` at `offset`. At the quota as much as fits, as on a disk that fills up; ENOSPC when that is
        nothing."""
        wanted = sum(map(len, views))
        if not wanted:
            return 0
        if offset + wanted > SIZE_MAX:
            raise GuestError(errno.FBIG)
        more = offset + wanted - len(self.data)
        volume = self.volume
        if more > 0 and volume.bytes + more > volume.max_bytes:
            volume.refused("tmp", volume.max_bytes, volume.bytes + more)
            wanted -= more - max(0, volume.max_bytes - volume.bytes)
            if wanted <= 0:
                raise GuestError(errno.NOSPC)
            more = offset + wanted - len(self.data)
        volume.take(max(0, more))
        self.data += bytes(max(0, offset - len(self.data)))  # a hole
        left = wanted
        # The common case, growing at the end, is one copy.
        for view in views:
            part = view[:left]
            if offset == len(self.data):
                self.data += part
            else:
                self.data[offset : offset + len(part)] = part
            offset += len(part)
            left -= len(part)
            if not left:
                break
        self.touched()
        return wanted

    def fill(self, fd: int) -> None:
        """With all that a host's descriptor gives. Raises OSError, ENOSPC."""
        while piece := os.read(fd, 1 << 20):
            self.volume.take(len(piece))
            self.data += piece

    def resize(self, size: int) -> None:
        if size > SIZE_MAX:
            raise GuestError(errno.FBIG)
        self.volume.take(size - len(self.data))
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data += bytes(size - len(self.data))
        self.touched()

    def let_go(self) -> None:
        if not self.links and not self.opened:
            self.volume.take(-len(self.data))
            self.data = bytearray()


class StreamNode(Node):
    """A channel that only goes on: all who open it have the same end of it."""

    __slots__ = ("sink", "source")

    def __init__(self, volume: Volume, time: int, *, source: Source | None = None, sink: Sink | None = None) -> None:
        super().__init__(volume, time)
        self.source, self.sink, self.links = source, sink, 1


class Link(Node):
    """A symbolic link."""

    __slots__ = ("target",)
    filetype = SYMBOLIC_LINK

    def __init__(self, volume: Volume, target: bytes, time: int | None = None) -> None:
        super().__init__(volume, time)
        self.target = target
        if volume.read_only:
            self.links = 1
        else:
            volume.take(len(target))

    @property
    def size(self) -> int:
        return len(self.target)

    def let_go(self) -> None:
        if not self.links:
            self.volume.take(-len(self.target))


class Directory(Node):
    """Names, in the order in which they came. Each has a cookie for readdir that is its own as long as it stays.

    Parents are referred to weakly: a worker collects no cycles, and a launch's tree has to go with the launch.
    """

    __slots__ = ("__weakref__", "_cookies", "_listing", "_next", "_parent", "entries", "gone")
    filetype = DIRECTORY

    def __init__(self, volume: Volume, time: int | None = None) -> None:
        super().__init__(volume, time)
        self.entries: dict[bytes, Node] = {}
        self._parent: weakref.ref[Directory] | None = None
        self.gone = False
        self._cookies: dict[bytes, int] = {}
        self._next = 3  # 1 and 2 are those of "." and ".."
        self._listing: list[tuple[int, bytes]] | None = None
        self.links = 1

    @property
    def is_root(self) -> bool:
        """Also of none that has outlived the one it was in: a guest may close what it found open."""
        return self._parent is None

    @property
    def parent(self) -> "Directory":
        """The directory itself at the root."""
        return (self._parent and self._parent()) or self

    def add(self, name: bytes, node: Node) -> None:
        """Counted by the directory's volume. Raises ENOSPC."""
        self.volume.add_entry()
        try:
            self.volume.take(len(name) + _PER_FILE)
        except GuestError:
            self.volume.drop_entry()
            raise
        self.put(name, node)
        node.links += 1
        self.touched()

    def put(self, name: bytes, node: Node, *, shared: bool = False) -> None:
        """Without counting: what is mounted, and what comes with a read-only tree. Hides what was called so before.

        `shared`: the node is other trees' too, so nothing is written on it.
        """
        if self.entries.pop(name, None) is not None:
            del self._cookies[name]
        if not shared and isinstance(node, Directory):
            node._parent = weakref.ref(self)
        self.entries[name] = node
        self._cookies[name] = self._next
        self._next += 1
        self._listing = None

    def remove(self, name: bytes) -> Node:
        node = self.entries.pop(name)
        del self._cookies[name]
        self._listing = None
        self.volume.drop_entry()
        self.volume.take(-len(name) - _PER_FILE)
        node.links -= 1
        self.touched()
        return node

    def move(self, name: bytes, target: "Directory", new: bytes) -> None:
        """`name` here becomes `new` there, where no such name is. Raises ENOSPC, and then nothing has changed."""
        self.volume.take(len(new) - len(name))
        node = self.entries.pop(name)
        del self._cookies[name]
        self._listing = None
        target.put(new, node)
        self.touched()
        target.touched()
        node.ctim = self.volume.stamp()

    def after(self, cookie: int) -> Iterator[tuple[int, bytes, Node]]:
        """(cookie, name, node) of every entry behind that cookie, "." and ".." among them."""
        if cookie < 1:
            yield 1, b".", self
        if cookie < 2:
            yield 2, b"..", self.parent
        if self._listing is None:
            self._listing = [(number, name) for name, number in self._cookies.items()]
        listing, entries = self._listing, self.entries
        for at in range(bisect_right(listing, cookie, key=itemgetter(0)), len(listing)):
            number, name = listing[at]
            yield number, name, entries[name]
