"""Small stored results, remembered in the proxy.

Of a result of a few kilobytes the second request to Swift costs as much as the first, which asks for the source. So a
proxy keeps small ones for a minute, and asks for the source alone. Nothing stale can come of it, since a name stands
for its bytes; only that an owner has dropped it, another proxy learns up to a minute later.

What has a range or a condition is read from the store, where Swift judges it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from insitu.storage_hooks import inside
from insitu.storage_hooks.derived.about import About
from insitu.storage_hooks.derived.asked import Asked
from insitu.storage_hooks.derived.store import CONDITIONS, Answer
from insitu.storage_hooks.inside import Headers

SECONDS: Final = 60.0
LARGEST: Final = 1 << 20
_OVERHEAD: Final = 2 << 10
"""What an entry takes beside its bytes, about."""


@dataclass(frozen=True, slots=True)
class _Entry:
    headers: Headers
    body: bytes
    until: float


class Memory:
    """Of one proxy: at most `room` bytes, the least recently used go first."""

    def __init__(self, room: int, clock: Callable[[], float] = time.time) -> None:
        self._room, self._clock = room, clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._used = 0

    def get(self, asked: Asked, name: str) -> Answer | None:
        """The answer to a plain GET of what is stored as `name`, if it is remembered."""
        key = asked.account, name
        entry = self._entries.get(key)
        if entry is None or not _plain(asked):
            return None
        if entry.until <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return Answer(200, entry.headers, [entry.body])

    def keep(self, asked: Asked, found: Answer) -> Answer:
        """`found`, the store's answer to the same, or one like it; it is remembered once it was read to its end."""
        length = int(inside.find(found.headers, "Content-Length") or LARGEST + 1)
        about = About.of_headers(found.headers)
        if found.status != 200 or length > LARGEST or about is None or not _plain(asked):
            return found
        until = min(self._clock() + SECONDS, about.expires)
        return Answer(200, found.headers, _Read(found, length, lambda body: self._keep(asked, found, body, until)))

    def forget(self, account: str) -> None:
        """Its owner has dropped some: all of the account's."""
        for key in [key for key in self._entries if key[0] == account]:
            self._drop(key)

    def _keep(self, asked: Asked, found: Answer, body: bytes, until: float) -> None:
        key = asked.account, asked.name
        self._drop(key)
        self._entries[key] = _Entry(found.headers, body, until)
        self._used += len(body) + _OVERHEAD
        while self._used > self._room:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= len(entry.body) + _OVERHEAD


class _Read:
    """A body that is told of once all of it was read."""

    def __init__(self, found: Answer, length: int, read: Callable[[bytes], None]) -> None:
        self._found, self._chunks = found, iter(found.body)
        self._length, self._read = length, read
        self._parts: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            body = b"".join(self._parts)
            if len(body) == self._length:
                self._read(body)
            raise
        self._parts.append(chunk)
        return chunk

    def close(self) -> None:
        self._found.close()


def _plain(asked: Asked) -> bool:
    environ = asked.environ
    return environ["REQUEST_METHOD"] == "GET" and not any(name in environ for name in (*CONDITIONS, "HTTP_IF_RANGE"))
