"""Derived objects in Swift: requests of the proxy's own, which clients cannot make.

They take the way that a client's request takes from the run hook on, so quotas, encryption and logging see them; they
are authorized beforehand and may say reserved names. Whoever calls has made sure that the client may have the result.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from swift.common.swob import str_to_wsgi
from swift.common.utils import close_if_possible, drain_and_close
from swift.common.wsgi import WSGIContext, make_pre_authed_env
from swift.proxy.controllers.base import get_container_info

from insitu.storage_hooks import inside
from insitu.storage_hooks.derived.about import SYSMETA, About
from insitu.storage_hooks.derived.names import CONTAINER
from insitu.storage_hooks.inside import Environ, Headers

SOURCE: Final = "INSITU"
"""How Swift's access log names these requests."""

CONDITIONS: Final = (
    *("HTTP_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"),
    *("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"),
)
_PAGE: Final = 10_000


class StoreError(Exception):
    """Swift did not do what was asked; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Swift says to a request."""

    status: int
    headers: Headers
    body: Iterable[bytes]

    def close(self) -> None:
        close_if_possible(self.body)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the listing."""

    name: str
    bytes: int
    etag: str
    about: About | None


def lookup(environ: Environ, app: Any, account: str, name: str, *, plain: bool = False) -> Answer | None:
    """The stored result as Swift answers the client's GET or HEAD for it; None when there is none to be had.

    `environ` is the client's: its range and conditions are judged on the stored object, unless `plain`. A store that
    does not answer is as good as an empty one: the program can be run.
    """
    request = _request(environ, environ["REQUEST_METHOD"], account, name)
    for condition in () if plain else CONDITIONS:
        if condition in environ:
            request[condition] = environ[condition]
    if request["REQUEST_METHOD"] == "HEAD":
        request.pop("HTTP_RANGE", None)
    answer = _ask(app, dict(request))
    if answer.status in (206, 416) and not _in_range(environ, answer):
        # Swift knows no If-Range, and what the client has already is of another result.
        answer.close()
        del request["HTTP_RANGE"]
        answer = _ask(app, request)
    # An object that is not there fails If-Match with a 412, too: that one is of no object.
    if answer.status in (304, 416) or (answer.status in (200, 206, 412) and _is_ours(answer)):
        return answer
    drain_and_close(answer.body, 1 << 16)
    return None


def put(environ: Environ, app: Any, account: str, name: str, about: About, source: Any, length: int | None) -> None:
    """Store what `source.read(size)` gives, to its end. Whatever it raises as OSError leaves nothing stored.

    Raises `StoreError` when it could not be stored.
    """
    # No container yet is known before a byte of the body is taken, or was not known to this proxy's cache.
    if not _has_container(environ, app, account):
        _expect(app, _request(environ, "PUT", account, None), "the container could not be made")
    request = _request(environ, "PUT", account, name)
    for key, value in about.headers():
        request["CONTENT_TYPE" if key == "Content-Type" else "HTTP_" + key.upper().replace("-", "_")] = value
    request["wsgi.input"] = source
    if length is None:
        request["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        request["CONTENT_LENGTH"] = str(length)
    _expect(app, request, "it was not stored")


def remove(environ: Environ, app: Any, account: str, name: str) -> None:
    """Delete it, if it is there. Raises `StoreError`."""
    _expect(app, _request(environ, "DELETE", account, name), "it was not deleted", also=404)


def used(environ: Environ, app: Any, account: str) -> int:
    """Bytes of all derived objects of an account, as the container server counts them. Raises `StoreError`."""
    answer = _ask(app, _request(environ, "HEAD", account, None))
    drain_and_close(answer.body)
    if answer.status == 404:
        return 0
    if answer.status // 100 != 2:
        raise StoreError(f"the container server answered {answer.status}")
    return int(inside.find(answer.headers, "X-Container-Bytes-Used") or 0)


def listing(
    environ: Environ, app: Any, account: str, prefix: str = "", marker: str = "", limit: int = _PAGE
) -> Iterator[Entry]:
    """At most `limit` entries whose names begin with `prefix`, behind `marker`, by name. Raises `StoreError`."""
    while limit > 0:
        query = f"format=json&limit={min(limit, _PAGE)}&prefix={quote(prefix)}&marker={quote(marker)}"
        answer = _ask(app, _request(environ, "GET", account, None, query))
        if answer.status == 404:
            drain_and_close(answer.body, 1 << 16)
            return
        page = json.loads(b"".join(answer.body)) if answer.status == 200 else None
        answer.close()
        if page is None:
            raise StoreError(f"the container server answered {answer.status}")
        for entry in page:
            yield Entry(entry["name"], entry["bytes"], entry["hash"], About.of_listing(entry["content_type"]))
        if len(page) < min(limit, _PAGE):
            return
        limit -= len(page)
        marker = page[-1]["name"]


def _request(environ: Environ, method: str, account: str, name: str | None, query: str = "") -> Environ:
    path = f"/v1/{account}/{CONTAINER}" + ("" if name is None else f"/{name}")
    request: Environ = make_pre_authed_env(
        environ, method, str_to_wsgi(path), agent="insitu", query_string=query, swift_source=SOURCE
    )
    request["HTTP_X_BACKEND_ALLOW_RESERVED_NAMES"] = "true"
    # Of the client's page, not of these.
    for name_ in ("HTTP_ORIGIN", "HTTP_REFERER", "HTTP_ACCESS_CONTROL_REQUEST_METHOD"):
        request.pop(name_, None)
    return request


def _ask(app: Any, request: Environ) -> Answer:
    context = WSGIContext(app)
    body = context._app_call(request)
    return Answer(int(context._response_status[:3]), context._response_headers, body)


def _expect(app: Any, request: Environ, otherwise: str, also: int = 0) -> None:
    """Raises `StoreError` unless Swift answers with a success, or `also`."""
    answer = _ask(app, request)
    drain_and_close(answer.body, 1 << 16)
    if answer.status // 100 != 2 and answer.status != also:
        raise StoreError(f"{otherwise}: Swift answered {answer.status}")


def _has_container(environ: Environ, app: Any, account: str) -> bool:
    # Cached, as for any container; Swift forgets what it knows when the container is made.
    status = get_container_info(_request(environ, "GET", account, None), app, swift_source=SOURCE)["status"]
    return bool(status // 100 == 2)


def _is_ours(answer: Answer) -> bool:
    return inside.find(answer.headers, SYSMETA) is not None


def _in_range(environ: Environ, answer: Answer) -> bool:
    """Whether the client's If-Range, if it sent one, holds for the stored object."""
    wanted = environ.get("HTTP_IF_RANGE")
    if wanted is None:
        return True
    etag, date = (inside.find(answer.headers, name) for name in ("Etag", "Last-Modified"))
    # Swift shows ETags without quotes, and takes them either way; a weak one (W/"…") never holds.
    return bool(etag and wanted.strip().strip('"') == etag.strip('"')) or wanted == date
