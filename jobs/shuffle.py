"""From the map stage's lines to partitions: split by key, spill within bounds, count a task's output once and whole.

A line is KEY<TAB>VALUE, the key being all bytes before the first TAB. Every line of a key goes to the same partition:

    partition = CRC-32 of the key, modulo the number of partitions

which is the same in every process and on every machine (Python's own hash() is not), and fast. It is no secret: who
chooses the keys can make one partition large, at the cost of the job's own speed and nothing else.

    attempt ──feed──► TaskOutput: a buffer per partition; beyond its memory it spills to one unnamed file of its own
                          │ commit, only when the attempt's stream came to its end
                          ▼
    Shuffle: one unnamed file per partition, appended to under a lock, with a running MD5 for the upload

An attempt that fails is dropped with its buffers and its file, so nothing of it is ever seen; `commit` takes each task
once. All files are unnamed (deleted as they are opened): a killed process leaves nothing on the local disk.
"""

import hashlib
import os
import tempfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from insitu.jobs.errors import SpoolError
from insitu.jobs.failure import AttemptFailed, Failure
from insitu.jobs.names import shown

MAX_LINE = 8 * 1024 * 1024
"""Bytes of the longest line taken: keys lie in memory here and in the reducing program."""
MEMORY = 256 * 1024 * 1024
"""Bytes that all attempts of a job together may hold before they spill."""
MAX_PARTITION = 5 * 1024 * 1024 * 1024
"""Bytes of the largest object that Swift stores in one piece by default; a partition is one object."""

_COPY = 1024 * 1024


def partition_of(key: bytes, partitions: int) -> int:
    """The partition, from 0, that all lines of this key go to."""
    return zlib.crc32(key) % partitions


def _reason(why: OSError) -> str:
    return (why.strerror or str(why)).lower()


class TaskOutput:
    """One attempt's lines, split by partition. Not shared between threads. Close it, committed or not."""

    def __init__(self, partitions: int, memory: int, directory: Path | None) -> None:
        self._partitions = partitions
        self._memory = memory
        self._directory = directory
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._held = [bytearray() for _ in range(partitions)]
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(partitions)]
        self.lines = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, what: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def feed(self, chunk: bytes) -> None:
        """Take the stream's next bytes. Raises `AttemptFailed` for a bad line, `SpoolError` when the disk fails."""
        self.bytes += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if end == 0:
            self._keep(chunk)
            return
        block = b"".join([*self._tail, chunk[:end]]) if self._tail else chunk[:end]
        self._tail.clear()
        self._tail_bytes = 0
        self._split(block)
        if end < len(chunk):
            self._keep(chunk[end:])

    def finish(self) -> None:
        """The stream came to its end: a last line without a line break counts as a line, and gets one."""
        if self._tail:
            self._split(b"".join([*self._tail, b"\n"]))
            self._tail.clear()
            self._tail_bytes = 0

    def close(self) -> None:
        """Forget everything. Harmless when done twice."""
        self._held = []
        if self._file is not None:
            self._file.close()
            self._file = None

    def write_to(self, partition: int, target: "_Partition") -> None:
        """Append what this attempt has for one partition. Raises OSError."""
        if self._file is not None:
            for offset, length in self._spilled[partition]:
                while length:
                    piece = os.pread(self._file.fileno(), min(length, _COPY), offset)
                    if not piece:
                        raise OSError("a spilled file ended before its time")
                    target.append(piece)
                    offset += len(piece)
                    length -= len(piece)
        target.append(self._held[partition])

    def _keep(self, chunk: bytes) -> None:
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        if self._tail_bytes > MAX_LINE:
            raise AttemptFailed(
                Failure("output", f"line {self.lines + 1} of the program's output is longer than {MAX_LINE} bytes")
            )

    def _split(self, block: bytes) -> None:
        partitions = self._partitions
        lines = block.split(b"\n")
        lines.pop()
        sorted_out: list[list[bytes]] = [[] for _ in range(partitions)]
        crc32 = zlib.crc32
        for line in lines:
            tab = line.find(b"\t")
            if tab < 0:
                raise AttemptFailed(Failure("output", self._no_tab(line, lines)))
            sorted_out[crc32(line[:tab]) % partitions].append(line)
        for held, some in zip(self._held, sorted_out, strict=True):
            if some:
                some.append(b"")
                held += b"\n".join(some)
        self.lines += len(lines)
        self._held_bytes += len(block)
        if self._held_bytes > self._memory:
            self._spill()

    def _no_tab(self, line: bytes, lines: list[bytes]) -> str:
        start = shown(line[:60].decode("utf-8", "backslashreplace"))
        at = self.lines + 1 + next(n for n, other in enumerate(lines) if other is line)
        return f"line {at} of the program's output has no TAB, and lines are KEY<TAB>VALUE; it begins with {start!r}"

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed by close()
            for partition, held in enumerate(self._held):
                if held:
                    self._spilled[partition].append((self._file.tell(), len(held)))
                    self._file.write(held)
            self._file.flush()
        except OSError as why:
            raise SpoolError(f"cannot spill map output to the local disk: {_reason(why)}") from None
        self._held = [bytearray() for _ in range(self._partitions)]
        self._held_bytes = 0


class _Partition:
    """One partition's file, its length in bytes and its MD5 so far."""

    def __init__(self, directory: Path | None) -> None:
        self.lock = threading.Lock()
        self.file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed by Shuffle.close()
        self.length = 0
        self.md5 = hashlib.md5(usedforsecurity=False)

    def append(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            written = self.file.write(view)
            view = view[written:]
        self.length += len(data)
        self.md5.update(data)


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that lie in an unnamed local file: read them with `reader()`, as often as wanted."""

    file: IO[bytes]
    length: int
    md5: str
    content_type: str = "application/octet-stream"

    def reader(self) -> "Reader":
        return Reader(self.file.fileno(), self.length)

    def close(self) -> None:
        self.file.close()


class Reader:
    """A file-like view from offset 0 that shares no offset with other readers."""

    def __init__(self, fd: int, length: int) -> None:
        self._fd = fd
        self._at = 0
        self._length = length

    def read(self, size: int = -1) -> bytes:
        left = self._length - self._at
        data = os.pread(self._fd, left if size < 0 else min(size, left), self._at)
        self._at += len(data)
        return data


class Shuffle:
    """All partitions of one job. Safe to commit to from several threads."""

    def __init__(self, partitions: int, attempts: int, memory: int = MEMORY, directory: Path | None = None) -> None:
        """`attempts` run at a time and share `memory` bytes. Raises `SpoolError`."""
        self._directory = directory
        self._share = max(memory // max(attempts, 1), 64 * 1024)
        self._lock = threading.Lock()
        self._committed: set[int] = set()
        self._partitions: list[_Partition] = []
        try:
            for _ in range(partitions):
                self._partitions.append(_Partition(directory))
        except OSError as why:
            self.close()
            raise SpoolError(f"cannot make {partitions} partition files: {_reason(why)}") from None

    def output(self) -> TaskOutput:
        """A place for one attempt's lines."""
        return TaskOutput(len(self._partitions), self._share, self._directory)

    def commit(self, task: int, output: TaskOutput) -> bool:
        """Count a finished attempt's lines, unless the task was counted before (then False: nothing is added).

        Raises `SpoolError`: the partitions are then unusable, and the job must end.
        """
        with self._lock:
            if task in self._committed:
                return False
            self._committed.add(task)
        try:
            for number, partition in enumerate(self._partitions):
                with partition.lock:
                    output.write_to(number, partition)
                    length = partition.length
                if length > MAX_PARTITION:
                    raise SpoolError(
                        f"partition {number} is larger than {MAX_PARTITION} bytes, the largest object that is stored "
                        "in one piece; use more partitions"
                    )
        except OSError as why:
            raise SpoolError(f"cannot write map output to the local disk: {_reason(why)}") from None
        return True

    def stored(self, partition: int) -> Stored:
        """One partition as it is to be uploaded. Call it when the map stage is over."""
        found = self._partitions[partition]
        return Stored(found.file, found.length, found.md5.hexdigest())

    def release(self, partition: int) -> None:
        """This partition lies in the storage now: free the local disk."""
        self._partitions[partition].file.close()

    def close(self) -> None:
        for partition in self._partitions:
            partition.file.close()
