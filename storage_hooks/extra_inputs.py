"""The extra inputs of a run: objects that the guest has as /dev/in/NAME.

Each is read before the launch into a file in memory, so that the guest can read it at any place, and a program that
reads its inputs in turns never waits for two of Swift's connections at once. They are meant for logos and word lists:
how large each may be is the operator's setting.
"""

import os
from collections.abc import Sequence
from typing import Any

from swift.common.swob import str_to_wsgi, wsgi_quote
from swift.common.utils import close_if_possible
from swift.common.wsgi import make_pre_authed_request, make_subrequest

from insitu.storage_hooks import problem
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.refusing import Refused, unavailable


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


class ExtraInputs:
    """Descriptors by channel; the caller closes them."""

    def __init__(self) -> None:
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
                if size > most:
                    raise Refused(problem.bad_input(channel, path, f"over {most} bytes, the most that is allowed"))
                os.write(fd, chunk)
            if response.content_length is not None and size != response.content_length:
                raise Refused(problem.input_broken(f"input {channel}, {path}: it broke off after {size} bytes"))
        finally:
            close_if_possible(response.app_iter)
        self.etags += ((channel, response.headers.get("Etag", "").strip('"')),)

    def close(self) -> None:
        for fd in self.descriptors.values():
            os.close(fd)
        self.descriptors.clear()


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
