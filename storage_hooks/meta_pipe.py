"""The pipe of a launch's metadata channel (see metadata.py), read as it fills: no guest is left waiting for it."""

import os

from insitu.storage_hooks.metadata import MAX_BYTES

_READ = 64 * 1024


class MetaPipe:
    """What a guest writes to /dev/out/meta, as far as it counts. Never waits."""

    def __init__(self) -> None:
        self._said = b""
        self._fd = self._write_end = -1

    def open(self) -> int:
        """Make it. The end to be given to the launch; then `launched` closes it here."""
        self._fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return self._write_end

    def launched(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    @property
    def watched(self) -> list[int]:
        """What to wait for: the pipe's end until it is at its end, then nothing."""
        return [] if self._fd < 0 else [self._fd]

    def take(self) -> bool:
        """Take what is there of the next 64 KiB; what is more than metadata may be is thrown away. Was there any?"""
        if self._fd < 0:
            return False
        try:
            piece = os.read(self._fd, _READ)
        except BlockingIOError:
            return False
        if not piece:
            self.close()
            return False
        self._said += piece[: MAX_BYTES + 1 - len(self._said)]
        return True

    def said(self) -> bytes:
        """All that was written until now, or as much as tells that it is too long."""
        while len(self._said) <= MAX_BYTES and self.take():
            pass
        return self._said

    def close(self) -> None:
        self.launched()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
