"""Marks a damaged replica for Swift's own repair.

A program has read an object to its end, and it was not what its ETag says. Swift finds that out itself when an object
is read to its end: it then moves the replica into quarantine, from where auditors and replicators take over, and serves
the next request from another one. So the object is read once more, through the object server in this process, as any
client might.
"""

import io
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from swift.common.utils import close_if_possible

from insitu.storage_hooks import green, inside
from insitu.storage_hooks.inside import Environ

PATIENCE: Final = 60.0
"""Seconds after which who has read a damaged replica is told so, also while it is still being put aside."""

_CONDITIONS = ("HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
_TIMES = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE")


class Repairs:
    """Those of one object server's process. The same object is read by one of them at a time."""

    def __init__(self, app: Callable[..., Any], logger: Any) -> None:
        """`app`: the object server's WSGI application."""
        self._app = app
        self._logger = logger
        self._under_way: dict[str, green.Event] = {}

    def of(self, environ: Environ) -> Callable[[float], bool]:
        """For the replica that a request reads: a function that begins its repair when it is called first, waits so
        many seconds for it, and says whether it is done. It goes on when nobody waits any more."""
        event: green.Event | None = None
        until = 0.0

        def repaired(patience: float) -> bool:
            nonlocal event, until
            if event is None:
                event, until = self._begin(environ), time.monotonic() + PATIENCE
            return event.wait(patience) is not None or time.monotonic() > until

        return repaired

    def _begin(self, environ: Environ) -> green.Event:
        path = environ["PATH_INFO"]
        if path not in self._under_way:
            self._under_way[path] = green.Event()
            green.spawn(partial(self._read, path, _plain(environ)))
        return self._under_way[path]

    def _read(self, path: str, environ: Environ) -> None:
        self._logger.error("%s is damaged: it is read to its end, so that Swift puts it aside", path)
        try:
            body = self._app(environ, lambda *_: None)
            try:
                for _chunk in body:
                    pass
            finally:
                close_if_possible(body)
        except Exception as why:  # noqa: BLE001 - whatever Swift raises for a replica that it has just put aside
            self._logger.warning("%s: reading it to its end ended with %r", path, why)
        finally:
            self._under_way.pop(path).send(True)


def _plain(environ: Environ) -> Environ:
    """A request for all of the object, and for nothing else."""
    made = {name: value for name, value in environ.items() if name not in (*_CONDITIONS, *_TIMES)}
    inside.unmark(made)
    # The connection's own: nothing is to be read from it, or told to whoever serves it.
    made["wsgi.input"] = io.BytesIO()
    made.pop("eventlet.input", None)
    return made
