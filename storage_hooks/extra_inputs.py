"""The extra inputs of a run: objects that the guest has as /dev/in/NAME.

Each is read before the launch into a file in memory, so that the guest can read it at any place, and a program that
reads its inputs in turns never waits for two of Swift's connections at once. They are meant for logos and word lists:
how large those of one run may be together is the operator's setting, and a proxy process reads no more than
`AT_ONCE` times that at any time.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

from swift.common.swob import str_to_wsgi, wsgi_quote
from swift.common.utils import close_if_possible
from swift.common.wsgi import make_pre_authed_request, make_subrequest

from insitu.runtime.errors import Busy
from insitu.storage_hooks import problem
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.refusing import Refused, refused, unavailable


def fetch(app: Any, environ: Environ, path: str, method: str, *, owners: bool) -> Any:
    """An object of the account of the request, by "/CONTAINER/OBJECT", with the caller's rights or the owner's: a
    `swob` response."""
    version, account = environ["PATH_INFO"].split("/", 3)[1:3]
    make = make_pre_authed_request if owners else make_subrequest
    request = make(
        environ,
        method=method,
        path=f"/{version}/{wsgi_quote(account)}{wsgi_quote(str_to_wsgi(path))}",
        agent="%(orig)s insitu",
        swift_source="INSITU",
    )
    return request.get_response(app)


AT_ONCE: Final = 8
_reading = 0
"""Bytes that this process has read and not handed over yet."""


class ExtraInputs:
    """Descriptors by channel; the caller closes them."""

    def __init__(self) -> None:
        self._size = 0
        self.descriptors: dict[str, int] = {}
        self.etags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(
        cls, app: Any, environ: Environ, inputs: Sequence[tuple[str, str]], most: int, *, owners: bool
    ) -> "ExtraInputs":
        """Raises `Refused` naming the channel, its object and what is wrong with it."""
        made = cls()
        try:
            for channel, path in inputs:
                made._read(app, environ, channel, path, most, owners)
        except BaseException:
            made.close()
            raise
        return made

    def _read(self, app: Any, environ: Environ, channel: str, path: str, most: int, owners: bool) -> None:
        response = fetch(app, environ, path, "GET", owners=owners)
        try:
            check(response, channel, path)
            fd = self.descriptors[channel] = os.memfd_create(f"insitu-in-{channel}", os.MFD_CLOEXEC)
            size = 0
            for chunk in response.app_iter:
                size += len(chunk)
                self._more(len(chunk), most, channel, path)
                os.write(fd, chunk)
            if response.content_length is not None and size != response.content_length:
                raise Refused(problem.input_broken(f"input {channel}, {path}: it broke off after {size} bytes"))
        finally:
            close_if_possible(response.app_iter)
        self.etags += ((channel, response.headers.get("Etag", "").strip('"')),)

    def _more(self, count: int, most: int, channel: str, path: str) -> None:
        global _reading
        if self._size + count > most:
            why = f"with it the inputs are over {most} bytes, the most that they may be together"
            raise Refused(problem.bad_input(channel, path, why))
        if _reading + count > AT_ONCE * most:
            raise refused(Busy.code, "the proxy is reading the inputs of too many runs", [], retry_after=2)
        self._size += count
        _reading += count

    def close(self) -> None:
        global _reading
        for fd in self.descriptors.values():
            os.close(fd)
        self.descriptors.clear()
        _reading -= self._size
        self._size = 0


def check(response: Any, channel: str, path: str) -> None:
    """That an input is there and may be read. Raises `Refused`."""
    if response.status_int // 100 == 2:
        return
    if response.status_int in (401, 403):
        raise Refused(problem.forbidden(f"input {channel}: you may not read {path}"))
    if response.status_int == 404:
        raise Refused(problem.bad_input(channel, path, "there is no such object"))
    if response.status_int // 100 == 4:  # a large object whose segments may not be read, say
        raise Refused(problem.bad_input(channel, path, f"Swift answers {response.status}"))
    raise unavailable(f"input {channel}, {path}: Swift answers {response.status}", [])
