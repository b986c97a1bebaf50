"""The launches under way, in a file that the node's sudden end leaves behind.

    PATH-running    slots of 20 KiB:

     0          4          8                 16                24          36
    +----------+----------+-----------------+-----------------+-----------+---------------------------+
    | length   | CRC-32   | started, µs     | last seq before | 6 lengths | id request_id tenant      |
    | of slot  | of rest  |                 |                 | u16 each  | program digest object     |
    +----------+----------+-----------------+-----------------+-----------+---------------------------+

Length 0: free. One `pwrite` takes a slot and one frees it, some 5 µs together: beside the journal itself because a row
there costs three times as much, on the way to the guest's first byte. A torn slot does not match its sum, and is none.
The file's lock is the node's claim on the journal.
"""

import errno
import fcntl
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from insitu.runtime.journal.schema import JournalError

SLOT: Final = 20 << 10  # four texts of at most 4 KiB (see `task`), an id and a digest
_HEAD: Final = struct.Struct(">II")
_BODY: Final = struct.Struct(">QQ6H")


@dataclass(frozen=True, slots=True)
class Begun:
    """A launch that a worker was given. `seq`: of the last record before."""

    id: str
    request_id: str
    tenant: str
    program: str
    digest: str
    object: str
    started_us: int
    seq: int


class Running:
    def __init__(self, path: str) -> None:
        """Raises `JournalError`, also when another node has it."""
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self.fd)
                raise
        except BlockingIOError:
            journal = path.removesuffix("-running")
            raise JournalError(f"journal {journal}: another node writes it; --journal names another") from None
        except OSError as why:
            raise JournalError(f"journal's {path}: {why.strerror}") from None
        self._free: list[int] = []
        self._slots = 0
        self._young: set[int] = set()
        self._old: set[int] = set()
        """Slots taken since the last `sync`, and since the one before, that the disk may not have."""

    def left(self) -> list[Begun]:
        """What the node before left under way, the first begun first."""
        found = []
        for slot in range(-(-os.fstat(self.fd).st_size // SLOT)):
            length, checksum = _HEAD.unpack(os.pread(self.fd, _HEAD.size, slot * SLOT).ljust(_HEAD.size, b"\0"))
            if _BODY.size <= length <= SLOT - _HEAD.size:
                body = os.pread(self.fd, length, slot * SLOT + _HEAD.size)
                if len(body) == length and zlib.crc32(body) == checksum:
                    found.append(_begun(body))
        return sorted(found, key=lambda launch: launch.started_us)

    def empty(self, slots: int) -> None:
        """Forget all, with room for so many. Raises OSError."""
        os.ftruncate(self.fd, 0)
        os.posix_fallocate(self.fd, 0, slots * SLOT)
        os.fdatasync(self.fd)
        self._slots, self._free = slots, list(range(slots))

    def begin(self, launch: Begun) -> int:
        """Enter it. The slot, for `end`. Raises OSError."""
        texts = [
            launch.id.encode(),
            launch.request_id.encode(),
            launch.tenant.encode(),
            launch.program.encode(),
            launch.digest.encode(),
            launch.object.encode(),
        ]
        body = b"".join((_BODY.pack(launch.started_us, launch.seq, *map(len, texts)), *texts))
        data = _HEAD.pack(len(body), zlib.crc32(body)) + body
        if not self._free:
            self._free.append(self._slots)
            self._slots += 1
        if os.pwrite(self.fd, data, self._free[-1] * SLOT) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        slot = self._free.pop()
        self._young.add(slot)
        return slot

    def sync(self) -> bool:
        """From another thread: see that the disk has what is under way since the last call but one. Most launches have
        ended by then, and what has ended needs no slot on the disk. Whether to call again. Raises OSError."""
        if self._old:
            os.fdatasync(self.fd)
        self._old, self._young = self._young, set()
        return bool(self._old)

    def probe(self) -> None:
        """Raises OSError when there is no room for a launch."""
        os.posix_fallocate(self.fd, (self._free[-1] if self._free else self._slots) * SLOT, SLOT)

    def end(self, slot: int) -> None:
        try:
            os.pwrite(self.fd, bytes(_HEAD.size), slot * SLOT)
        except OSError:
            pass  # its record is in the journal: whoever finds the slot will see that
        self._young.discard(slot)
        self._old.discard(slot)
        self._free.append(slot)

    def close(self) -> None:
        os.close(self.fd)


def _begun(body: bytes) -> Begun:
    started, seq, *lengths = _BODY.unpack_from(body)
    texts, at = [], _BODY.size
    for length in lengths:
        texts.append(body[at : at + length].decode())
        at += length
    id_, request_id, tenant, program, digest, object_ = texts
    return Begun(id_, request_id, tenant, program, digest, object_, started, seq)
