"""A paste filter that stands in for memcached: one dictionary inside the one proxy process.

Swift's proxy wants a cache for tokens and for account and container information; without any, every request asks the
account and container servers, and tempauth refuses service. The development proxy is a single process, so a dictionary
says the same as a memcached would. Paste configuration::

    [filter:cache]
    paste.filter_factory = insitu.storage_hooks.devcluster.cache:filter_factory

Values go through JSON in and out, as they do through memcached: what comes out is nobody else's object.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

MAX_ENTRIES: Final = 100_000
RELATIVE_MAX: Final = 30 * 24 * 3600  # memcached's convention: a larger timeout is a point in time

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class DictCache:
    """The part of swift.common.memcached.MemcacheRing that Swift uses. Least recently written entries go first."""

    def __init__(self, clock: Callable[[], float] = time.time, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max = max_entries
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def set(
        self,
        key: str,
        value: Any,
        serialize: bool = True,
        time: float = 0,
        min_compress_len: int = 0,
        raise_on_error: bool = False,
    ) -> None:
        """`time` in seconds: 0 for ever. Unserialized values come back as bytes, as memcached gives them."""
        if serialize:
            stored = b"j" + json.dumps(value.decode() if isinstance(value, bytes) else value).encode()
        else:
            stored = b"b" + (value if isinstance(value, bytes) else str(value).encode())
        self._entries[key] = (stored, self._expiry(time))
        self._entries.move_to_end(key)
        while len(self._entries) > self._max:
            self._entries.popitem(last=False)

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored, expires = entry
        if expires <= self._clock():
            self._entries.pop(key, None)
            return None
        return json.loads(stored[1:]) if stored[:1] == b"j" else stored[1:]

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """The new value; never below zero. `time` counts only for a new entry, as with memcached."""
        old = self.get(key)
        value = max(0, int(old or 0) + int(delta))
        expires = self._entries[key][1] if old is not None else self._expiry(time)
        self._entries[key] = (b"b%d" % value, expires)
        return value

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        return self.incr(key, -int(delta), time)

    def delete(self, key: str, server_key: str | None = None) -> None:
        self._entries.pop(key, None)

    def set_multi(
        self,
        mapping: Mapping[str, Any],
        server_key: str,
        serialize: bool = True,
        time: float = 0,
        min_compress_len: int = 0,
    ) -> None:
        for key, value in mapping.items():
            self.set(key, value, serialize, time)

    def get_multi(self, keys: Iterable[str], server_key: str) -> list[Any]:
        return [self.get(key) for key in keys]

    def _expiry(self, seconds: float) -> float:
        if seconds <= 0:
            return float("inf")
        return seconds if seconds > RELATIVE_MAX else self._clock() + seconds


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[App], App]:
    cache = DictCache()

    def wrap(app: App) -> App:
        def serve(env: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            env["swift.cache"] = cache
            return app(env, start_response)

        return serve

    return wrap
