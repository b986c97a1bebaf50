"""Storing a result in the same stroke in which a client reads it.

    body ──▶ Tee ──▶ the client
              │ queue, a few chunks
              ▼
            a green thread: PUT of the derived object

The PUT is ended, and so committed by Swift, only after the body came to its end well. When the body raises (the run
failed) or is closed before (the client went away), the PUT breaks off like that of a client who hangs up, and Swift
stores nothing. Whatever goes wrong with the PUT is no concern of the client's: it is given up.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from swift.common.utils import close_if_possible

from insitu.storage_hooks.derived.store import StoreError
from insitu.storage_hooks.green import Queue, QueueFull, Timeout, spawn

CHUNKS: Final = 8
"""So many pieces of a body may wait for the store, of at most a quarter MiB each."""

PATIENCE: Final = 5.0
"""Seconds that a client's body waits for a store that takes nothing, once; then the result is not kept."""

Put = Callable[["Reader"], None]
"""Stores what the reader gives, to its end. Raises `StoreError`."""


class GivenUp(OSError):
    """The bytes that come to the store are no whole result. To Swift a client that hung up."""


class Reader:
    """The body of the PUT: what comes through the queue. `read` raises `GivenUp` once the storing was given up."""

    def __init__(self) -> None:
        self.queue: Any = Queue(CHUNKS)
        self.given_up = False
        self._rest = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, as many as one piece has; b"" at the end."""
        if not self._rest and not self._ended:
            self._check()
            piece = self.queue.get()
            self._check()
            self._ended = piece is None
            self._rest = memoryview(piece or b"")
        cut = len(self._rest) if size < 0 else size
        data, self._rest = bytes(self._rest[:cut]), self._rest[cut:]
        return data

    def readline(self, size: int = -1) -> bytes:
        """WSGI has it. Nobody reads a PUT's body by lines, so it is only never wrong."""
        return self.read(size)

    def give_up(self) -> None:
        """Whoever reads, or will, learns that nothing whole will come."""
        self.given_up = True
        try:
            self.queue.put_nowait(None)
        except QueueFull:
            pass  # The reader has pieces before it, and looks before it takes one.

    def drain(self) -> None:
        """Nobody reads any more: whoever waits to put something is let go."""
        self.given_up = True
        while not self.queue.empty():
            self.queue.get_nowait()

    def _check(self) -> None:
        if self.given_up:
            raise GivenUp("the result did not come to its end")


class Storing:
    """One PUT beside a body. `add` what the body gives, then `end`, or `abort`."""

    def __init__(self, put: Put, *, max_bytes: int, done: Callable[[str | None], None]) -> None:
        """`done` is called once, when the object is stored (None), or with the reason why it is not."""
        self._put = put
        self._room = max_bytes
        self._done = done
        self._reader = Reader()
        self._why = ""
        self._begun = self._over = False

    def add(self, chunk: bytes) -> None:
        """The body gave `chunk`. Waits a little when the store is slower; raises nothing."""
        self._room -= len(chunk)
        if self._room < 0:
            self.abort("the result is larger than what is kept")
        elif chunk:
            self._send(chunk)

    def end(self) -> None:
        """The body came to its end, and is whole."""
        self._send(None)
        self._over = True

    def abort(self, why: str) -> None:
        """Nothing is to be stored. After `end` it is too late, and that is fine."""
        if self._over:
            return
        self._over, self._why = True, why
        if self._begun:
            self._reader.give_up()
        else:
            self._done(why)

    def _send(self, piece: bytes | None) -> None:
        if self._over:
            return
        if not self._begun:
            self._begun = True
            spawn(self._store)
        try:
            self._reader.queue.put(piece, timeout=PATIENCE)
        except QueueFull:
            self.abort(f"the store took nothing for {PATIENCE:g} s")

    def _store(self) -> None:
        why: str | None = None
        try:
            self._put(self._reader)
        except (StoreError, Timeout) as refusal:
            why = self._why or str(refusal)
        except BaseException as broken:  # noqa: BLE001 - who waits for the result must hear of it, whatever it is
            why = self._why or f"{type(broken).__name__}: {broken}"
        if self._reader.given_up:
            why = why or self._why
        self._over = self._over or why is not None
        self._reader.drain()
        self._done(why)


class Tee:
    """The client's body: as `body`, and stored by the way. Must be closed, as WSGI servers do."""

    def __init__(self, body: Iterable[bytes], storing: Storing) -> None:
        self._body = body
        self._chunks = iter(body)
        self._storing = storing
        self._ended = False
        self.broken: BaseException | None = None
        """What the body raised, or that it was closed before its end: not the store is why nothing is stored."""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._ended = True
            self._storing.end()
            raise
        except BaseException as why:
            self.broken = why
            self._storing.abort(f"the run failed: {why}")
            raise
        self._storing.add(chunk)
        return chunk

    def close(self) -> None:
        """Before the end of the body: the client went away, and nothing is stored."""
        if not self._ended and self.broken is None:
            self.broken = GivenUp("the client went away")
        self._storing.abort("the client went away")
        close_if_possible(self._body)
