"""Files whose bytes are in memory already: those of a bundle, which a confined worker could not open."""

from collections.abc import Mapping, Sequence
from typing import Final

from insitu.sandbox.clocks import FROZEN_START
from insitu.sandbox.files.nodes import Directory, ReadOnlyFile
from insitu.sandbox.files.volume import Volume

TIME: Final = FROZEN_START
"""Of all of them: they have no times of their own."""
Bytes = bytes | memoryview


class HeldContents:
    __slots__ = ("_data", "size")

    def __init__(self, data: Bytes) -> None:
        self._data, self.size = memoryview(data), len(data)

    def open(self) -> None: ...

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        data, count = self._data, 0
        for view in views:
            piece = data[offset : offset + len(view)]
            if not piece:
                break
            view[: len(piece)] = piece
            offset += len(piece)
            count += len(piece)
        return count

    def close(self) -> None: ...


def read_only(files: Mapping[str, Bytes]) -> Directory:
    """A tree for many launches. Path → bytes, paths relative and within the tree; a directory's ends with "/"."""
    volume = Volume(1, read_only=True)
    root = Directory(volume, TIME)
    parts = {path: path.removesuffix("/").encode().split(b"/") for path in files}
    for path in sorted(files, key=parts.__getitem__):  # the order in which a directory of the host would be read
        *parents, name = parts[path]
        place = root
        for parent in parents:
            place = _directory(place, parent)
        if path.endswith("/"):
            _directory(place, name)
        else:
            place.put(name, ReadOnlyFile(volume, HeldContents(files[path]), TIME))
    return root


def _directory(place: Directory, name: bytes) -> Directory:
    there = place.entries.get(name)
    if not isinstance(there, Directory):
        there = Directory(place.volume, TIME)
        place.put(name, there)
    return there
