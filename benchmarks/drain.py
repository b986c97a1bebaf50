"""Who reads what is streamed: a process of its own, so that it takes no time from either side's.

Run as a program it serves one Unix socket (its stdin): each message carries the read end of a pipe; it empties the
pipe, as fast as it can, and answers how many bytes there were and the last of them. With `d` as the message it also
answers their SHA-256, which is slower than a stream.
"""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BUFFER: Final = 1 << 20
_TAIL: Final = 64
_PATIENCE: Final = 120.0  # seconds


@dataclass(frozen=True)
class Drained:
    count: int
    tail: bytes
    """The last bytes, up to 64."""
    sha256: str
    """Empty when it was not asked for."""


class Drain:
    def __init__(self, peer: socket.socket, pid: int) -> None:
        self._peer, self._pid = peer, pid

    @contextmanager
    def placed(self, reader: int, writer: int) -> Iterator[None]:
        """Meanwhile it runs on processor `reader`, and the calling thread and its children on `writer`."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(self._pid, {reader})
        os.sched_setaffinity(0, {writer})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
            os.sched_setaffinity(self._pid, before)

    def begin(self, read_end: int, *, digest: bool = False) -> None:
        """Have the pipe emptied; `read_end` is passed on, and closed here."""
        socket.send_fds(self._peer, [b"d" if digest else b"c"], [read_end])
        os.close(read_end)

    def end(self) -> Drained:
        """Once the pipe has ended."""
        words = self._peer.recv(4096).split()
        if len(words) != 3:
            raise RuntimeError("the process that drains has died")
        return Drained(int(words[0]), bytes.fromhex(words[1].decode())[-_TAIL:], words[2].decode().strip("-"))


@contextmanager
def draining() -> Iterator[Drain]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_PATIENCE)
    with ours:
        with theirs:
            process = subprocess.Popen([sys.executable, str(Path(__file__).resolve())], stdin=theirs.fileno())
        try:
            yield Drain(ours, process.pid)
        finally:
            ours.close()  # it ends when nobody asks any more
            process.wait(_PATIENCE)


def _serve(peer: socket.socket) -> None:
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    while True:
        message, fds, _, _ = socket.recv_fds(peer, 16, 1)
        if not message:
            return
        (pipe,) = fds
        digest = hashlib.sha256() if message == b"d" else None
        count, tail = 0, b""
        while got := os.readv(pipe, [buffer]):
            count += got
            tail = bytes(view[max(0, got - _TAIL) : got])
            if digest is not None:
                digest.update(view[:got])
        os.close(pipe)
        peer.send(f"{count} {tail.hex()} {digest.hexdigest() if digest else '-'}".encode())


if __name__ == "__main__":
    with socket.socket(fileno=0) as asking:
        _serve(asking)
