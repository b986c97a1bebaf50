"""PUT with a program: what is stored is the program's output.

    client's bytes ──▶ laid aside, checked (uploads.py) ──▶ guest at the proxy's node ──▶ PUT, to the right

All has come, and has the length and the MD5 that the client announced, before anything is started. Swift is asked to
store something only once the launch has begun well, and the last word on the body (its end) is given only when the
program ended well and the client is still there: until then Swift commits nothing, and an error in the middle makes it
drop what it has.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from swift.common.utils import close_if_possible
from swift.common.wsgi import WSGIContext

from insitu.storage_hooks import green, problem
from insitu.storage_hooks.framed import RunAborted
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.reading import on_its_way
from insitu.storage_hooks.refusing import Refused
from insitu.storage_hooks.result_headers import answer_headers, said_by, stored_headers
from insitu.storage_hooks.runs import Order, Ran, Runs, ended
from insitu.storage_hooks.uploads import received


def write(runs: Runs, environ: Environ, start_response: Callable[..., Any], order: Order) -> Iterable[bytes]:
    """Answer a PUT. Raises `Refused`."""
    runs.needs_local()
    with closing(received(environ)) as whole:
        upload = os.dup(whole.fileno())
    ran = runs.write(environ, order, upload)
    return store(runs, environ, start_response, ran, [])


def store(
    runs: Runs,
    environ: Environ,
    start_response: Callable[..., Any],
    ran: Ran,
    more: Headers,
) -> Iterable[bytes]:
    """Store what a run makes under the path of `environ`, a PUT. `more` headers go with the answer. Closes `ran`.

    Raises `Refused`, with nothing stored.
    """
    if said_by(ran).status >= 400:
        # The program itself refuses what came: its output is the reason.
        status, answer_to_it = answer_headers(ran, environ, let_in=True)
        start_response(status, answer_to_it)
        return on_its_way(ran, environ, ran.body)
    body = Body(ran, green.client_socket(environ))
    try:
        sent = dict(environ)
        sent["wsgi.input"] = body
        for name in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_ETAG"):
            sent.pop(name, None)
        if ran.length is None:
            sent["HTTP_TRANSFER_ENCODING"] = "chunked"
        else:
            sent["CONTENT_LENGTH"] = str(ran.length)
        sent.update(stored_headers(ran))
        context = WSGIContext(runs.app)
        answer = context._app_call(sent)
    finally:
        ran.close()
    if body.failure is not None:
        close_if_possible(answer)
        raise body.failure
    # RFC 9110, 9.3.4: no validator where what is stored is not what was sent. (A client would hold its MD5 against it.)
    # (A copy's client has sent nothing, and s3api needs one there.)
    headers: Headers = [(k, v) for k, v in context._response_headers if k.lower() != "etag" or more]
    start_response(context._response_status, headers + ran.run + more, context._response_exc_info)
    return answer  # type: ignore[no-any-return]


class Body:
    """What Swift reads as the body of a PUT: a run's output, which has an end only for a client that is still there."""

    def __init__(self, ran: Ran, client: Any | None) -> None:
        self._ran, self._client = ran, client
        self._rest = b""
        self._ended = False
        self.failure: BaseException | None = None
        """Why there was no end."""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, b"" at the end. Raises OSError where there is none: Swift then stores nothing."""
        try:
            while not self._rest and not self._ended:
                try:
                    self._rest = next(self._ran.body)
                except StopIteration:
                    if self._client is not None and green.peer_gone(self._client):
                        raise Refused(problem.client_gone()) from None
                    self._ended = True
        except RunAborted as why:
            self.failure = Refused(ended(self._ran, why), self._ran.run)
        except Exception as why:  # noqa: BLE001 - whatever it is, it is raised again once Swift has dropped its part
            self.failure = why
        if self.failure is not None:
            raise OSError(f"nothing more to store: {self.failure}")
        chunk = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(chunk) :]
        return chunk
