"""What tests of frozen launches share: ways in which the same bytes come, and a guest that looks for differences."""

import os
import random
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from insitu.sandbox.channels import Input, Source, input_from_fd, source_from_fd
from tests.sandbox.guests import IMAGE, script
from tests.sandbox.named import OPENED, PATHS, RESULT, image, opened

# How the same bytes come.


def _feed(fd: int, pieces: Iterator[bytes]) -> None:
    try:
        for piece in pieces:
            while piece:
                piece = piece[os.write(fd, piece) :]
    except BrokenPipeError:
        pass  # the test failed, and nobody reads any more
    finally:
        os.close(fd)


def _cut(data: bytes, most: int) -> Iterator[bytes]:
    chance, at = random.Random(7), 0
    while at < len(data):
        size = chance.randint(1, most)
        yield data[at : at + size]
        at += size


@contextmanager
def bringing(kind: str, data: bytes) -> Iterator[int]:
    """A descriptor to read it from. "pipe" and "socket" bring a byte at a time, the others pieces of up to 5,000
    bytes."""
    with ExitStack() as stack:
        if kind == "file":
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(data)
            file.flush()
            yield file.fileno()
            return
        if kind.endswith("pipe"):
            source, target = os.pipe()
        else:
            source, target = (end.detach() for end in socket.socketpair())
        most = 1 if kind in ("pipe", "socket") else 5000
        thread = threading.Thread(target=_feed, args=(target, _cut(data, most)))
        thread.start()
        stack.callback(thread.join)
        stack.callback(os.close, source)
        yield source


@contextmanager
def coming(kind: str, data: bytes) -> Iterator[tuple[Source, Input]]:
    """As a stdin, and as a named input; only one of them may be read."""
    with bringing(kind, data) as fd:
        yield source_from_fd(fd), input_from_fd(fd)


_POLL = 3000
_ASK: list[tuple[str | int, ...]] = [
    opened("dev/in/one"),
    *[("clock_time_get", clock, 0, RESULT + 8 * clock) for clock in range(4)],
    ("random_get", 1100, 100),
    ("poll_oneoff", _POLL, 4000, 3, 4200),
    ("fd_filestat_get", 0, 4300),
    ("fd_fdstat_get", 0, 4400),
    ("fd_filestat_get", 4, 4500),
    ("path_filestat_get", 3, 0, PATHS["tmp/x"], 3, 4600),
    ("fd_readdir", 3, 5000, 500, 0, 4900),
    ("fd_read", 0, 512, 1, 4910),
    ("fd_pread", 4, 512, 1, 30, 4920),
    ("fd_seek", 4, 0, 2, 4928),
    ("path_open", 3, 0, PATHS["tmp/x"], 5, 1, 64, 0, 0, OPENED),
]


def _memory(sleep: int) -> bytes:
    """The puppet's, with three subscriptions: stdin, a sleep, stdout."""
    memory = bytearray(image(64).ljust(IMAGE, b"\0"))
    for at, (kind, subject, timeout) in enumerate([(1, 0, 0), (0, 1, sleep), (2, 1, 0)]):
        place = _POLL + 48 * at
        memory[place : place + 8] = (100 + at).to_bytes(8, "little")
        memory[place + 8], memory[place + 16] = kind, subject
        memory[place + 24 : place + 32] = timeout.to_bytes(8, "little")
    return bytes(memory)


ASKED = len(_ASK)


def asking(sleep: int = 3_600_000_000_000) -> bytes:
    """A puppet's stdin: it asks for everything that could tell one run from another, and its output has the answers.
    It needs the named input `one`. `sleep`: nanoseconds (an hour)."""
    return script(_ASK, _memory(sleep)) + b"what else there is on stdin"
