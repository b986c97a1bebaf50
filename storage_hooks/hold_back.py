"""When the status of a run is decided.

A program that fails should get an honest status, and that is only possible while nothing was sent. So its first bytes
are held back until it has ended, or has written 64 KiB, or 250 ms have passed since its first byte, whichever comes
first. From then on the answer is a 200 and what is left to a failure is an aborted body.
"""

BYTES = 64 * 1024
SECONDS = 0.25


class HoldBack:
    """Bytes held back, and until when. Pure: the caller brings the time (seconds, any steady clock)."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.holding = True
        """False once the bytes were let go: nothing is held back any more."""
        self.deadline: float | None = None
        """When the first byte is 250 ms old; None before there is one, and once nothing is held."""

    def add(self, chunk: bytes, now: float) -> None:
        """Hold `chunk`, which is not empty, back too."""
        if self.deadline is None:
            self.deadline = now + SECONDS
        self._chunks.append(chunk)
        self._size += len(chunk)

    def due(self, now: float) -> bool:
        """Is it time to let go?"""
        return self._size >= BYTES or (self.deadline is not None and now >= self.deadline)

    def release(self) -> bytes:
        """All bytes held back; nothing is, from now on."""
        held = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self.holding = False
        self.deadline = None
        return held
