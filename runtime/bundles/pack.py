"""A bundle's files laid out flat, as they lie in the cache: one file, to be mapped and handed to guests.

     0            8               12
    +------------+---------------+-------------------+---------------------+
    | magic      | length, u32   | JSON [[path, n]…] | the bytes of each … |
    | insitu\\0\\0 | little-endian |                   |                     |
    +------------+---------------+-------------------+---------------------+

The compiler, confined, unpacks what a stranger packed; the spawner maps the result before it forks, so workers open
nothing, and all of them share the pages. Nothing of it stands in the host's file system under a name of the stranger's.
"""

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from insitu.sandbox.files.tree import Files

_MAGIC: Final = b"insitu\0\0"
_HEAD: Final = struct.Struct("<8sI")


@dataclass(frozen=True, slots=True)
class Pack:
    files: Files
    size: int
    """Bytes that are mapped."""


def write(files: Mapping[str, bytes]) -> bytes:
    head = json.dumps([[path, len(data)] for path, data in files.items()], separators=(",", ":")).encode()
    return b"".join([_HEAD.pack(_MAGIC, len(head)), head, *files.values()])


def read(fd: int) -> Pack:
    """Maps it. Raises ValueError when it is none: it comes from a compiler, which a stranger may have taken over."""
    mapped = memoryview(mmap.mmap(fd, 0, prot=mmap.PROT_READ))
    if len(mapped) < _HEAD.size:
        raise ValueError("no pack")
    magic, length = _HEAD.unpack_from(mapped)
    if magic != _MAGIC:
        raise ValueError("no pack")
    at = _HEAD.size + length
    files: dict[str, memoryview] = {}
    try:
        for path, size in json.loads(bytes(mapped[_HEAD.size : at])):
            if not isinstance(path, str) or not isinstance(size, int) or size < 0:
                raise ValueError("a pack with names or sizes that are none")
            files[path] = mapped[at : at + size]
            at += size
    except (TypeError, RecursionError):
        raise ValueError("a pack without a list of its files") from None
    if at != len(mapped):
        raise ValueError("a pack of another length")
    return Pack(Files.held(files), len(mapped))
