"""Bytes that come over HTTP, on their way into a guest's stdin at the proxy's own node.

    body of an object ──▶ Feed ──▶ pipe ──▶ guest

A pipe's end says only "no more", never "broken off": a guest must not take half an object for a whole one. So the end
is closed only once all bytes have come that were announced. Else the launch is cancelled: whoever waits for it watches
`broken`, a socket whose other end is closed then.
"""

import os
import socket
from collections.abc import Iterable
from typing import Any

from swift.common.utils import close_if_possible

from insitu.storage_hooks import green
from insitu.storage_hooks.framed import RunAborted


class InputBroken(RunAborted):
    """The input did not come whole."""


class Here:
    """An input that is here already, as a file. It looks like a `Feed`."""

    failure: BaseException | None = None
    broken = None

    def __init__(self, fd: int) -> None:
        """`fd` is closed here."""
        self.read_end = fd

    def start(self) -> None:
        self.close()

    def close(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1


class Feed:
    """Fills a pipe from an iterable of bytes, in a green thread of its own."""

    def __init__(self, body: Iterable[bytes], length: int | None) -> None:
        """`length`: bytes that were announced, if they were."""
        self._body, self._length = body, length
        self.failure: BaseException | None = None
        """Why the input is not whole, once that is known."""
        self.read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.broken, self._breaker = socket.socketpair()
        self._thread: Any = None

    def start(self) -> None:
        """From now on; `read_end` has been handed over, and is closed here."""
        os.close(self.read_end)
        self.read_end = -1
        self._thread = green.spawn(self._run)

    def close(self) -> None:
        """At any time; what was still to come is not read any more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.kill()
        self._close_pipe()
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1
        close_if_possible(self._body)
        self.broken.close()
        self._breaker.close()

    def _run(self) -> None:
        try:
            self._pour()
        except BaseException as why:  # noqa: BLE001 - whatever ends it, the guest must not take it for the input's end
            # The pipe stays open until the launch is closed: its end would read as the input's.
            broken = isinstance(why, Exception | green.Timeout) and not isinstance(why, InputBroken)
            self.failure = InputBroken(f"{type(why).__name__}: {why}") if broken else why
            self._breaker.close()
        else:
            self._close_pipe()

    def _pour(self) -> None:
        count = 0
        for chunk in self._body:
            count += len(chunk)
            try:
                green.write_all(self._write_end, chunk)
            except BrokenPipeError:
                return  # the guest has read all that it wants
        if self._length is not None and count != self._length:
            raise InputBroken(f"the input ends after {count} bytes of {self._length}")

    def _close_pipe(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
