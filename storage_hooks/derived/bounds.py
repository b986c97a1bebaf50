"""How much is kept for an account: after a store over the bound the oldest go, until nine tenths of it are used.

    stored ──▶ Sweeper.stored(account): is a sweep of this account under way? then it looks once more
                    │ no: a green thread
                    ▼
               bytes used (HEAD of the container) > bound?  ──▶ listing, oldest first, DELETE each

How many bytes there are is the container server's word, so all proxies see what any has stored; two that sweep the same
account at once delete the same objects. Age is no concern of the sweep: Swift itself expires what was stored with
X-Delete-At.
"""

import heapq
from collections.abc import Iterable
from typing import Any, Final

from insitu.storage_hooks.derived.store import Entry, StoreError, listing, remove, used
from insitu.storage_hooks.green import Timeout, spawn
from insitu.storage_hooks.inside import Environ

UNTIL: Final = 0.9
"""Down to this part of the bound, so that not every store is followed by a sweep."""


def oldest(entries: Iterable[Entry], excess: int) -> list[Entry]:
    """The oldest of `entries`, oldest first, just as many as have `excess` bytes together. Holds no more than those.

    What is none of ours (no About) counts as older than all.
    """
    chosen: list[tuple[int, int, Entry]] = []  # a heap, the newest on top
    total = 0
    for at, entry in enumerate(entries):
        heapq.heappush(chosen, (-_made(entry), -at, entry))
        total += entry.bytes
        while total - chosen[0][2].bytes >= excess and len(chosen) > 1:
            total -= heapq.heappop(chosen)[2].bytes
    return [entry for _, _, entry in sorted(chosen, reverse=True)] if excess > 0 else []


def _made(entry: Entry) -> int:
    return entry.about.made if entry.about is not None else 0


class Sweeper:
    """Keeps accounts within their bounds, one sweep of an account at a time in this proxy."""

    def __init__(self, app: Any, logger: Any) -> None:
        self._app = app
        self._logger = logger
        self._again: dict[str, bool] = {}

    def stored(self, environ: Environ, account: str, bound: int) -> None:
        """Something was stored for `account`, which may have `bound` bytes. Returns at once, raises nothing."""
        if account in self._again:
            self._again[account] = True
            return
        self._again[account] = False
        spawn(lambda: self._sweep(environ, account, bound))

    def _sweep(self, environ: Environ, account: str, bound: int) -> None:
        try:
            while True:
                self._once(environ, account, bound)
                if not self._again[account]:
                    return
                self._again[account] = False
        except (StoreError, Timeout) as why:
            self._logger.warning("derived objects of %s: not swept: %s", account, why)
        except Exception:  # nobody is behind this green thread to hear of it
            self._logger.exception("derived objects of %s: not swept", account)
        finally:
            del self._again[account]

    def _once(self, environ: Environ, account: str, bound: int) -> None:
        total = used(environ, self._app, account)
        if total <= bound:
            return
        for entry in oldest(listing(environ, self._app, account, limit=1 << 30), total - int(bound * UNTIL)):
            remove(environ, self._app, account, entry.name)
