"""What the owner of an account sees of its derived objects, and can drop.

    GET    /v1/ACCOUNT?derived [&prefix=CONTAINER/OBJECT] [&limit=N] [&marker=…]
           200, a JSON list by source and key, at most N (1,000; 10,000 at most) entries:
           [{"object": "CONTAINER/OBJECT", "key": …, "program": …, "digest": …, "args": …, "bytes": N, "etag": MD5,
             "made": "2026-11-22T10:00:00Z", "expires": …}, …]
           The next page is behind marker=OBJECT/KEY of the last entry.
    DELETE /v1/ACCOUNT?derived [&prefix=…] [&limit=N]
           200, {"dropped": N, "more": false}; ask again while there is more.

For those whom Swift calls the account's owners; 403 for all others, 401 for those whom Swift does not know.
"""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from swift.common.swob import HTTPForbidden, Request, wsgi_to_str
from swift.common.utils import split_path

from insitu.storage_hooks import problem
from insitu.storage_hooks.derived.names import marker_of, named, prefix_of
from insitu.storage_hooks.derived.store import Entry, StoreError, listing, remove
from insitu.storage_hooks.inside import Environ

StartResponse = Callable[..., Any]

LIMIT: Final = 1_000
LIMIT_MAX: Final = 10_000


def derived_request(
    app: Any, environ: Environ, start_response: StartResponse, dropped: Callable[[str], None]
) -> Iterable[bytes] | None:
    """The answer to a request for an account's derived objects; None when this is another request.

    `dropped` is called with the account when its owner has dropped some.
    """
    query = environ.get("QUERY_STRING", "")
    if not query.startswith("derived") and "&derived" not in query:
        return None
    request = Request(environ)
    account = _account(environ)
    if account is None or "derived" not in request.params:
        return None
    environ["swift.format_listing"] = False  # the filter of that name is not to take it for one of Swift's
    refusal = _not_the_owner(environ)
    if refusal is not None:
        return refusal(environ, start_response)  # type: ignore[no-any-return]
    try:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            document: Any = _list(app, environ, account, request.params)
        elif environ["REQUEST_METHOD"] == "DELETE":
            try:
                document = _drop(app, environ, account, request.params)
            finally:
                dropped(account)
        else:
            raise ValueError("?derived is read with GET and dropped with DELETE")
    except ValueError as why:
        return problem.malformed_listing(str(why)).answer(environ, start_response, [])
    except StoreError as why:
        return problem.derived_unavailable(str(why)).answer(environ, start_response, [("Retry-After", "2")])
    body = json.dumps(document, indent=1).encode() + b"\n"
    start_response(
        "200 OK",
        [
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ],
    )
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _list(app: Any, environ: Environ, account: str, params: Any) -> list[dict[str, Any]]:
    prefix, marker, limit = _wanted(params)
    return [line for entry in listing(environ, app, account, prefix, marker, limit) if (line := _line(entry))]


def _drop(app: Any, environ: Environ, account: str, params: Any) -> dict[str, Any]:
    prefix, marker, limit = _wanted(params)
    found = list(islice(listing(environ, app, account, prefix, marker, limit + 1), limit + 1))
    for entry in found[:limit]:
        remove(environ, app, account, entry.name)
    return {"dropped": min(len(found), limit), "more": len(found) > limit}


def _wanted(params: Any) -> tuple[str, str, int]:
    """Prefix and marker as names, and the limit. Raises ValueError."""
    path, text, limit = (wsgi_to_str(params.get(name, "")) for name in ("prefix", "marker", "limit"))
    marker = marker_of(text) if text else ""
    if "\0" in path or marker is None:
        raise ValueError("prefix is CONTAINER or CONTAINER/OBJECT, marker is OBJECT/KEY of the last entry before")
    if limit and not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= LIMIT_MAX):
        raise ValueError(f"limit={limit[:20]!r} is no number from 1 to {LIMIT_MAX}")
    return prefix_of(path), marker, int(limit or LIMIT)


def _line(entry: Entry) -> dict[str, Any] | None:
    name, about = named(entry.name), entry.about
    if name is None or about is None:
        return None
    return {
        "object": name.path,
        "key": name.key,
        "program": about.program,
        "digest": about.digest,
        "args": about.args,
        "bytes": entry.bytes,
        "etag": entry.etag,
        "made": _time(about.made),
        "expires": _time(about.expires),
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _account(environ: Environ) -> str | None:
    try:
        version, account = split_path(environ["PATH_INFO"].rstrip("/"), 2, 2)
    except ValueError:
        return None
    return str(wsgi_to_str(account)) if version in ("v1", "v1.0") else None


def _not_the_owner(environ: Environ) -> Any:
    """A WSGI application that refuses; None for the account's owner."""
    # As a change of the account's own settings, which is the owner's alone: to delete an account is more than to
    # empty this drawer of it, and to list one is less.
    asked = Request({**environ, "REQUEST_METHOD": "POST"})
    authorize = environ.get("swift.authorize")
    refusal = authorize(asked) if authorize is not None else None
    if refusal is None and not asked.environ.get("swift_owner"):
        refusal = HTTPForbidden(request=asked)
    return refusal
