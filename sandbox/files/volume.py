"""Where nodes live, and what counts them.

A tree is one namespace with one root. Parts of it belong to different volumes: a read-only one that comes with the
program, a writable one in memory, the channels. As on any Unix, nothing is linked or renamed from one to another.
"""

from collections.abc import Callable

from insitu.sandbox import errno
from insitu.sandbox.errno import GuestError


class Volume:
    """Nodes that live and are counted together.

    `refused` is told of a request beyond the quota, as ("tmp" or "tmp_files", allowed, asked for).
    """

    __slots__ = ("_inodes", "bytes", "count", "device", "max_bytes", "max_count", "read_only", "refused", "stamp")

    def __init__(
        self,
        device: int,
        *,
        read_only: bool = False,
        max_bytes: int = 0,
        max_count: int = 0,
        stamp: Callable[[], int] = lambda: 0,
    ) -> None:
        self.device, self.read_only, self.stamp = device, read_only, stamp
        self.refused: Callable[[str, int, int], object] = lambda *_: None
        self.max_bytes, self.max_count = max_bytes, max_count
        self.bytes = self.count = self._inodes = 0

    def inode(self) -> int:
        self._inodes += 1
        return self._inodes

    def writable(self) -> None:
        if self.read_only:
            raise GuestError(errno.ROFS)

    def take(self, count: int) -> None:
        """So many bytes more (or fewer). Raises ENOSPC, and then nothing has changed."""
        if count > 0 and self.bytes + count > self.max_bytes:
            self.refused("tmp", self.max_bytes, self.bytes + count)
            raise GuestError(errno.NOSPC)
        self.bytes += count

    def add_entry(self) -> None:
        """A name more in some directory, which is what files are counted by."""
        if self.count >= self.max_count:
            self.refused("tmp_files", self.max_count, self.count + 1)
            raise GuestError(errno.NOSPC)
        self.count += 1

    def drop_entry(self) -> None:
        self.count -= 1
