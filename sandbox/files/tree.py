"""The tree of one launch, put together from what the launch brings.

    no directory given        /tmp        in memory, the guest's own
    --files DIR               /           DIR, read-only; /tmp in memory
    --root DIR                /           a copy of DIR in memory, the guest's own
    a bundle's files          /           held in memory, read-only; /tmp in memory

and in each, when there are named channels, /dev/in/NAME and /dev/out/NAME.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from insitu.sandbox.errors import FilesError
from insitu.sandbox.files import held
from insitu.sandbox.files.host_tree import copied, read_only
from insitu.sandbox.files.nodes import Directory, Node
from insitu.sandbox.files.volume import Volume

_FILES, _MEMORY, _CHANNELS = 1, 2, 3  # device numbers


class Files:
    """Where a launch's files come from. Looked at once; for any number of launches."""

    __slots__ = ("_copy", "_shared")

    def __init__(self, *, shared: Directory | None = None, copy: Path | None = None) -> None:
        self._shared, self._copy = shared, copy

    @classmethod
    def read_only(cls, path: Path, *, time: int | None = None) -> "Files":
        """Raises `FilesError`."""
        return cls(shared=read_only(path, time=time))

    @classmethod
    def held(cls, files: Mapping[str, held.Bytes]) -> "Files":
        """From bytes in memory, by path; a directory's path ends with "/"."""
        return cls(shared=held.read_only(files))

    @classmethod
    def joined(cls, under: "Files", over: "Files") -> "Files":
        """Both, neither a copy. Raises `FilesError` for a name at the top that both have."""
        both = Directory(Volume(_FILES, read_only=True), 0)
        for files in (under, over):
            for name, node in ({} if files._shared is None else files._shared.entries).items():
                if name in both.entries:
                    raise FilesError(f"/{os.fsdecode(name)}: two that bring files both bring it")
                both.put(name, node, shared=True)
        return cls(shared=both)

    @property
    def is_copy(self) -> bool:
        """Whether `tree` reads the host's files, and may fail over them."""
        return self._copy is not None

    @classmethod
    def private_copy(cls, path: Path) -> "Files":
        """A new copy for every launch: `tree` may raise `FilesError`."""
        return cls(copy=path)

    def tree(self, memory: Volume, channels: Mapping[bytes, Mapping[bytes, Node]], time: int | None) -> Directory:
        """The root of a launch's tree. `memory` counts what the guest may write; `channels`: "in" and "out" → nodes.

        `time`: that of everything that a copy brings; by default its own. Raises `FilesError`.
        """
        if self._copy is not None:
            root = copied(self._copy, memory, time=time)
        else:
            now = memory.stamp()
            root = Directory(Volume(_FILES, read_only=True), now)
            if self._shared is not None:
                for name, node in self._shared.entries.items():
                    if name != b"tmp":
                        root.put(name, node, shared=True)
            root.put(b"tmp", Directory(memory, now))
        if channels:
            volume = Volume(_CHANNELS, read_only=True)
            dev = Directory(volume, memory.stamp())
            for way, nodes in channels.items():
                directory = Directory(volume, memory.stamp())
                for name, node in nodes.items():
                    directory.put(name, node)
                dev.put(way, directory)
            root.put(b"dev", dev)
        return root


NO_FILES: Final = Files()


def memory_volume(max_bytes: int, max_count: int, stamp: Callable[[], int]) -> Volume:
    return Volume(_MEMORY, max_bytes=max_bytes, max_count=max_count, stamp=stamp)
