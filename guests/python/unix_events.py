"""What asyncio takes from its platform. A guest has no sockets, pipes, signals, processes or second thread, so there is
nothing that a selector could wait for: this loop only knows the clock. Coroutines, tasks, `sleep`, `gather`, `timeout`,
queues, locks and events work as ever; whatever would wait for a descriptor raises NotImplementedError or OSError.

In the guest this is the module `asyncio.unix_events`.
"""

import errno
import time
from asyncio import base_events, events
from typing import Any, NoReturn

__all__ = ("DefaultEventLoopPolicy", "EventLoop", "SelectorEventLoop")


class _Clock:
    """In the place of a selector."""

    def select(self, timeout: float | None) -> list[Any]:
        """Raises RuntimeError where nothing will ever be due: otherwise the wait would end with the launch's limit."""
        if timeout is None:
            raise RuntimeError("all tasks wait for one another: a guest has nothing else that could wake one")
        time.sleep(max(timeout, 0))
        return []


class SelectorEventLoop(base_events.BaseEventLoop):
    def __init__(self, selector: object = None) -> None:
        super().__init__()
        self._selector = _Clock()

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Wakes a loop that waits, for another thread or a signal: there is neither."""

    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.ENOTSUP, "a guest has no sockets")

    getnameinfo = getaddrinfo


EventLoop = SelectorEventLoop


class DefaultEventLoopPolicy(events.BaseDefaultEventLoopPolicy):
    _loop_factory = SelectorEventLoop
