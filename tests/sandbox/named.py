"""How tests have a puppet open, read and write named channels."""

import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from insitu.sandbox.channels import Input, input_from_fd
from tests.sandbox.guests import vectors

Call = tuple[str | int, ...]
NOENT, ROFS, SPIPE, BADF, PIPE = 44, 69, 70, 8, 64
REGULAR = 4
EVERYTHING = (1 << 28) - 1
READING = EVERYTHING & ~(1 << 6 | 1 << 8 | 1 << 22)  # no write, allocate, resize

# How the puppet's memory is laid out: paths, then vectors, then buffers.
PATHS = {
    path: 32 * at for at, path in enumerate(["dev/in/one", "dev/in/two", "dev/out/one", "dev/out/two", "dev", "tmp/x"])
}
VECTOR, DATA, RESULT, OPENED = 512, 1024, 800, 900


def image(length: int, data: bytes = b"") -> bytes:
    """The paths, one vector of `length` bytes at DATA, and what is there."""
    memory = bytearray(DATA) + data
    for path, at in PATHS.items():
        memory[at : at + len(path)] = path.encode()
    memory[VECTOR : VECTOR + 8] = vectors((DATA, length))
    return bytes(memory)


def opened(path: str, *, rights: int | None = None, flags: int = 0) -> Call:
    """The first one that a guest opens is descriptor 4."""
    if rights is None:
        rights = READING if "/in/" in path else EVERYTHING
    return ("path_open", 3, 0, PATHS[path], len(path), flags, rights, 0, 0, OPENED)


def read(fd: int, at: int | None = None) -> Call:
    return ("fd_read", fd, VECTOR, 1, RESULT) if at is None else ("fd_pread", fd, VECTOR, 1, at, RESULT)


def write(fd: int, at: int | None = None) -> Call:
    return ("fd_write", fd, VECTOR, 1, RESULT) if at is None else ("fd_pwrite", fd, VECTOR, 1, at, RESULT)


@contextmanager
def file(data: bytes = b"") -> Iterator[int]:
    with tempfile.TemporaryFile() as made:
        made.write(data)
        made.flush()
        yield made.fileno()


def content(fd: int) -> bytes:
    return os.pread(fd, 1 << 24, 0)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextmanager
def stream(kind: str, data: bytes) -> Iterator[tuple[int, Input]]:
    """The end to write to, which has written `data` and is closed by whoever wants the end to be seen; an input."""
    if kind == "pipe":
        source, target = os.pipe()
    else:
        ends = socket.socketpair()
        source, target = (end.detach() for end in ends)
    try:
        os.write(target, data)
        yield target, input_from_fd(source)
    finally:
        os.close(source)
        os.close(target)
