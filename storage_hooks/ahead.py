"""A result on its way to a client that may be slow.

The bytes are taken as fast as the program gives them, and wait here for the client: in memory, then in a temporary file
without a name (in $TMPDIR), of which there is never more than a launch's limit of output. So a worker is free again as
soon as its guest has ended, and a launch's wall time is the program's alone. Where the disk has less than a tenth left,
nothing more is laid aside: then the program waits for its reader after all.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from swift.common.utils import close_if_possible

from insitu.storage_hooks import green
from insitu.storage_hooks.framed import RunAborted

MEMORY: Final = 4 << 20
"""Bytes of one result that wait in memory."""

_LOOK_AGAIN: Final = 0.05
"""Seconds until it is seen whether there is room by now."""


class Ahead:
    """The body, read ahead of whoever iterates this. What it raises is raised in its place, behind all that came."""

    def __init__(self, body: Iterable[bytes], reset: Callable[[], None]) -> None:
        """`reset` is called before `RunAborted` is raised."""
        self._body, self._reset = body, reset
        self._queue = green.Queue()
        """Chunks; or how many bytes of the file are next; or what the body raised; None at its end."""
        self._held = 0
        self._file: Any = None
        self._taken = 0
        self._thread: Any = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._thread is None:
            self._thread = green.spawn(self._fetch)
        item = self._queue.get()
        if isinstance(item, bytes):
            self._held -= len(item)
            return item
        if isinstance(item, int):
            data = os.pread(self._file.fileno(), item, self._taken)
            self._taken += item
            return data
        self._queue.put(item)  # the end stays the end
        if item is None:
            raise StopIteration
        if isinstance(item, RunAborted):
            self._reset()
        raise item

    def close(self) -> None:
        if self._thread is not None:
            self._thread.kill()
        close_if_possible(self._body)
        if self._file is not None:
            self._file.close()

    def _fetch(self) -> None:
        try:
            for chunk in self._body:
                while not self._in_memory(chunk) and not self._lay_aside(chunk):
                    green.wait_readable([], _LOOK_AGAIN)
        except BaseException as why:  # noqa: BLE001 - it is raised where it belongs
            self._queue.put(why)
        else:
            self._queue.put(None)

    def _in_memory(self, chunk: bytes) -> bool:
        """Whether it is now."""
        if self._held and self._held + len(chunk) > MEMORY:
            return False
        self._held += len(chunk)
        self._queue.put(chunk)
        return True

    def _lay_aside(self, chunk: bytes) -> bool:
        """Whether it is now."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the response
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail < disk.f_blocks // 10:
            return False
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self._queue.put(len(chunk))
        return True
