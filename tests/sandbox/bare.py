"""A guest without an engine: the host functions themselves, on a memory that is a bytearray.

For tests that make calls by the ten thousand. All that the engine adds is the way into a host function.
"""

import struct
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

from insitu.sandbox import raw
from insitu.sandbox.channels import EmptySource, Wait
from insitu.sandbox.clocks import FrozenClocks, SeededChance
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.nodes import Directory, Node
from insitu.sandbox.files.tree import NO_FILES, Files, memory_volume
from insitu.sandbox.files.volume import Volume
from insitu.sandbox.limits import Limits
from insitu.sandbox.wasi.guest import Guest
from insitu.sandbox.wasi.host import CALLS
from insitu.sandbox.wasi.table import OpenDirectory, Stream, Table
from tests.sandbox.specification import FUNCTIONS

ALL: Final = (1 << 30) - 1  # every right there is
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND: Final = 1
READ, WRITE = 1 << 1, 1 << 6
DIRECTORY_BASE: Final = ALL & ~(READ | WRITE | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 22 | 1 << 27 | 3 << 28)

_PATH, _OTHER, _RESULT, _VECTOR, _DATA = 0, 1 << 17, 1 << 18, (1 << 18) + 128, 1 << 19


class _Memory:
    """What `Guest` asks of an instance."""

    has_memory = True

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))

    def refresh(self) -> memoryview:
        return self.view

    def find_memory(self, _caller: int) -> bool:
        return True


class Bare:
    """Its methods are the calls of preview1 with Python's values for memory: (error number, result) each."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        files: Files = NO_FILES,
        channels: Mapping[bytes, Mapping[bytes, Node]] | None = None,
        wall: float = 600,
        memory: int = 1 << 20,
    ) -> None:
        limits = limits or Limits()
        clocks = FrozenClocks(1)
        self.volume: Volume = memory_volume(limits.tmp, limits.tmp_files, clocks.stamp)
        self.root: Directory = files.tree(self.volume, channels or {}, None)
        self.table = Table(
            limits.open_files, Stream(source=EmptySource()), Stream(), Stream(), OpenDirectory(self.root, name=b"/")
        )
        instance = cast(raw.Instance, _Memory(memory))
        wait = Wait(time.monotonic() + wall)
        self.guest = Guest(instance, [], [], self.table, self.volume, limits, clocks, SeededChance(1), wait)
        self.volume.refused = self.guest.refuse
        self.memory = instance.view

    def call(self, name: str, *arguments: int) -> int:
        """The error number."""
        words = raw.Args()
        for at, (value, letter) in enumerate(zip(arguments, FUNCTIONS[name], strict=True)):
            words[4 * at] = value & 0xFFFFFFFF
            if letter == "I":
                words[4 * at + 1] = value >> 32 & 0xFFFFFFFF
        try:
            return CALLS[name](self.guest, words)
        except GuestError as error:
            return error.code

    def put(self, data: bytes, at: int = _PATH) -> tuple[int, int]:
        self.memory[at : at + len(data)] = data
        return at, len(data)

    def u32(self, at: int = _RESULT) -> int:
        return int(struct.unpack_from("<I", self.memory, at)[0])

    def u64(self, at: int = _RESULT) -> int:
        return int(struct.unpack_from("<Q", self.memory, at)[0])

    # path_*

    def open(
        self,
        fd: int,
        path: bytes,
        oflags: int = 0,
        base: int = READ | WRITE | ALL & ~DIRECTORY_BASE,
        inheriting: int = ALL & ~(3 << 28),
        *,
        follow: bool = False,
        flags: int = 0,
    ) -> tuple[int, int]:
        base &= ~(3 << 28)
        code = self.call("path_open", fd, int(follow), *self.put(path), oflags, base, inheriting, flags, _RESULT)
        return code, self.u32()

    def opendir(self, fd: int, path: bytes, *, follow: bool = False) -> tuple[int, int]:
        return self.open(fd, path, DIRECTORY, DIRECTORY_BASE, follow=follow)

    def mkdir(self, fd: int, path: bytes) -> int:
        return self.call("path_create_directory", fd, *self.put(path))

    def rmdir(self, fd: int, path: bytes) -> int:
        return self.call("path_remove_directory", fd, *self.put(path))

    def unlink(self, fd: int, path: bytes) -> int:
        return self.call("path_unlink_file", fd, *self.put(path))

    def rename(self, fd: int, path: bytes, to_fd: int, to: bytes) -> int:
        return self.call("path_rename", fd, *self.put(path), to_fd, *self.put(to, _OTHER))

    def link(self, fd: int, path: bytes, to_fd: int, to: bytes, *, follow: bool = False) -> int:
        return self.call("path_link", fd, int(follow), *self.put(path), to_fd, *self.put(to, _OTHER))

    def symlink(self, target: bytes, fd: int, path: bytes) -> int:
        return self.call("path_symlink", *self.put(target), fd, *self.put(path, _OTHER))

    def readlink(self, fd: int, path: bytes, room: int = 4096) -> tuple[int, bytes]:
        code = self.call("path_readlink", fd, *self.put(path), _DATA, room, _RESULT)
        return code, bytes(self.memory[_DATA : _DATA + self.u32()]) if code == 0 else b""

    def stat(self, fd: int, path: bytes, *, follow: bool = False) -> tuple[int, "Stat"]:
        code = self.call("path_filestat_get", fd, int(follow), *self.put(path), _DATA)
        return code, self._stat()

    # fd_*

    def fstat(self, fd: int) -> tuple[int, "Stat"]:
        return self.call("fd_filestat_get", fd, _DATA), self._stat()

    def _stat(self) -> "Stat":
        return Stat(*struct.unpack_from("<QQB7xQQQQQ", self.memory, _DATA))

    def read(self, fd: int, count: int, offset: int | None = None) -> tuple[int, bytes]:
        struct.pack_into("<II", self.memory, _VECTOR, _DATA, count)
        if offset is None:
            code = self.call("fd_read", fd, _VECTOR, 1, _RESULT)
        else:
            code = self.call("fd_pread", fd, _VECTOR, 1, offset, _RESULT)
        return code, bytes(self.memory[_DATA : _DATA + self.u32()]) if code == 0 else b""

    def write(self, fd: int, data: bytes, offset: int | None = None) -> tuple[int, int]:
        struct.pack_into("<II", self.memory, _VECTOR, *self.put(data, _DATA))
        if offset is None:
            code = self.call("fd_write", fd, _VECTOR, 1, _RESULT)
        else:
            code = self.call("fd_pwrite", fd, _VECTOR, 1, offset, _RESULT)
        return code, self.u32()

    def seek(self, fd: int, offset: int, whence: int) -> tuple[int, int]:
        return self.call("fd_seek", fd, offset & (1 << 64) - 1, whence, _RESULT), self.u64()

    def readdir(self, fd: int, cookie: int = 0, room: int = 4096) -> tuple[int, bytes]:
        """The raw bytes that one call gives."""
        code = self.call("fd_readdir", fd, _DATA, room, cookie, _RESULT)
        return code, bytes(self.memory[_DATA : _DATA + self.u32()]) if code == 0 else b""

    def names(self, fd: int, room: int = 4096) -> list[bytes]:
        """All of a directory, as a C library reads it: again from the last whole entry as long as the buffer is full.
        `room` must hold the longest entry."""
        found: list[bytes] = []
        cookie = 0
        while True:
            code, data = self.readdir(fd, cookie, room)
            assert code == 0
            entries = parse_entries(data)
            found += [name for _, _, _, name in entries]
            if len(data) < room:
                return found
            assert entries, "a full buffer without one whole entry"
            cookie = entries[-1][0]

    def close(self, fd: int) -> int:
        return self.call("fd_close", fd)


class Stat(NamedTuple):
    device: int
    inode: int
    type: int
    links: int
    size: int
    atim: int
    mtim: int
    ctim: int


def parse_entries(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(next cookie, inode, type, name) of every whole entry."""
    entries: list[tuple[int, int, int, bytes]] = []
    at = 0
    while at + 24 <= len(data):
        cookie, inode, length, kind = struct.unpack_from("<QQIB3x", data, at)
        if at + 24 + length > len(data):
            break
        entries.append((cookie, inode, kind, data[at + 24 : at + 24 + length]))
        at += 24 + length
    return entries


def counted(root: Directory, held: Sequence[Node] = ()) -> tuple[int, int]:
    """(bytes, names) that the nodes of `root`'s own volume, and those held open, come to."""
    size = names = 0
    seen: set[int] = set()
    stack: list[Directory] = [root]
    nodes: list[Node] = list(held)
    while stack:
        directory = stack.pop()
        for name, node in directory.entries.items():
            if node.volume is root.volume:
                size += len(name) + 64
                names += 1
                nodes.append(node)
                if isinstance(node, Directory):
                    stack.append(node)
    for node in nodes:
        if id(node) not in seen:
            seen.add(id(node))
            size += node.size
    return size, names
