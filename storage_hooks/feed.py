"""Bytes that come over HTTP, on their way into a guest's stdin at the proxy's own node.

    body (of an object, or a client's upload) ──▶ Feed ──▶ pipe ──▶ guest

A pipe's end says only "no more", never "broken off": a guest must not take half an object for a whole one. So the end
is closed only once all bytes have come that were announced, and all checks of them hold. Else the launch is cancelled:
whoever waits for it watches `broken`, a socket whose other end is closed then.
"""

import hashlib
import os
import socket
from collections.abc import Iterable
from typing import Any

from swift.common.utils import close_if_possible

from insitu.storage_hooks import green
from insitu.storage_hooks.framed import RunAborted


class InputBroken(RunAborted):
    """The input did not come whole (`short`), or is not what its sender said it is."""

    def __init__(self, why: str, *, short: bool) -> None:
        super().__init__(why)
        self.short = short


class Feed:
    """Fills a pipe from an iterable of bytes, in a green thread of its own."""

    def __init__(
        self, body: Iterable[bytes], length: int | None, *, md5: str | None = None, read_on: bool = False
    ) -> None:
        """`length`: bytes that were announced, if they were. `md5`: hex digits that they must have. `read_on`: to the
        end, whether the guest wants them or not, for a verdict on all of them."""
        self._body, self._length, self._md5, self._read_on = body, length, md5, read_on
        self._sum = hashlib.md5(usedforsecurity=False) if md5 is not None else None
        self.failure: BaseException | None = None
        """Why the input is not whole, once that is known."""
        self.done = False
        """All of it has come, and is as announced; or nobody wants more of it."""
        self.read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.broken, self._breaker = socket.socketpair()
        self._thread: Any = None

    def start(self) -> None:
        """From now on; `read_end` has been handed over, and is closed here."""
        os.close(self.read_end)
        self.read_end = -1
        self._thread = green.spawn(self._run)

    def wait(self) -> None:
        """Until all has come. Raises what `failure` says."""
        while not self.done and self.failure is None:
            green.wait_readable([self.broken.fileno()], 3600.0)
        if self.failure is not None:
            raise self.failure

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
            # What is no Exception is meant for somebody: s3api's verdict on a signed body, say.
            self.failure = InputBroken(f"{type(why).__name__}: {why}", short=True) if broken else why
            self._breaker.close()
        else:
            self.done = True
            self._close_pipe()
            self._breaker.send(b".")

    def _pour(self) -> None:
        count, wanted = 0, True
        for chunk in self._body:
            count += len(chunk)
            if self._sum is not None:
                self._sum.update(chunk)
            if wanted:
                try:
                    green.write_all(self._write_end, chunk)
                except BrokenPipeError:
                    wanted = False  # the guest has read all that it wants
                    if not self._read_on:
                        return
        if self._length is not None and count != self._length:
            raise InputBroken(f"the input ends after {count} bytes of {self._length}", short=True)
        if self._sum is not None and self._sum.hexdigest() != self._md5:
            raise InputBroken(f"the input's MD5 is {self._sum.hexdigest()}, and its ETag says {self._md5}", short=False)

    def _close_pipe(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
