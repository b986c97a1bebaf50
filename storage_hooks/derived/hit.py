"""A stored result as an answer to the client.

Swift's own are status, ETag, Content-Length, Content-Range, Last-Modified, and whether there is a body. From the object
that the program read, as it is now: what its owner says of it, and what Swift says of the request (CORS, its version).
From what was stored with the result: its type, what the program says of it, and the status that it wants answered.

    Cache-Control   public, no-cache for anonymous callers, else private, no-cache; or the owner's own words
    Vary            X-Run
    X-Run-Where     derived
    X-Run-Program   digest of the program that ran

no-cache lets a CDN keep the body and makes it ask each time whether the ETag still holds: a changed source or program
is another result under the same URL.
"""

from collections.abc import Iterable
from typing import Any, Final

from insitu.storage_hooks import inside
from insitu.storage_hooks.derived.about import META, About
from insitu.storage_hooks.derived.asked import Asked
from insitu.storage_hooks.derived.store import Answer, lookup
from insitu.storage_hooks.inside import Headers
from insitu.storage_hooks.metadata import Metadata
from insitu.storage_hooks.result_headers import SOURCE, request_headers, result_headers, status_line

WHERE: Final = "derived"

_SWIFTS: Final = frozenset(("etag", "content-length", "content-range", "last-modified", "accept-ranges"))
_PHRASES: Final = {
    200: "200 OK",
    206: "206 Partial Content",
    304: "304 Not Modified",
    412: "412 Precondition Failed",
    416: "416 Requested Range Not Satisfiable",
}


def look(app: Any, asked: Asked) -> Answer | None:
    """What is stored under `asked.name`, as Swift answers the client's request for it; None when nothing is."""
    found = lookup(asked.environ, app, asked.account, asked.name)
    if found is not None and found.status != 200 and _wants_a_status(found):
        # The program answers with a status of its own, of which there is no part, and which no condition changes.
        found.close()
        found = lookup(asked.environ, app, asked.account, asked.name, plain=True)
    return found


def hit(found: Answer, source: Headers, asked: Asked) -> Iterable[bytes]:
    """Answer with it. `source`: the headers of the object that the program read."""
    environ = asked.environ
    about = About.of_headers(found.headers) if found.status in (200, 206) else None
    cached = asked.policy.cache_control
    if cached is None:
        cached = "private, no-cache" if environ.get("REMOTE_USER") else "public, no-cache"
    status = _PHRASES[found.status]
    if found.status == 200 and about is not None and about.status != 200:
        status = status_line(Metadata(status=about.status), environ)
    asked.start_response(status, hit_headers(found, about, source, cached, let_in=asked.order.let_in))
    return found.body


def hit_headers(answer: Answer, about: About | None, source: Headers, cache_control: str, *, let_in: bool) -> Headers:
    """`source`: the headers of the object that was read. `about`: of the stored one, None where `answer` has no body
    of it. `let_in`: to somebody who may not read the object, and learns nothing that its owner says of it."""
    headers = [(k, v) for k, v in answer.headers if k.lower() in _SWIFTS]
    stored_type = inside.find(answer.headers, "Content-Type")
    if about is None:
        headers += request_headers(source)
        if stored_type is not None and answer.status != 304:
            headers.append(("Content-Type", stored_type))  # of Swift's own words
    else:
        said = {(META + name).lower() for name in about.metadata}
        kind = SOURCE if about.of_source else about.content_type
        headers += [
            (key, value)
            for key, value in result_headers(source, kind)
            if key.lower() not in said
            and not (let_in and key.lower().startswith(META.lower()))
            and (key.lower(), value) not in (("cache-control", "no-store"), ("vary", "X-Run"))
        ]
        headers += [(META + name, text) for name, text in about.metadata.items()]
        headers.append(("X-Run-Program", about.digest))
        if stored_type is not None and stored_type.startswith("multipart/byteranges"):
            headers = [(k, v) for k, v in headers if k.lower() != "content-type"]
            headers.append(("Content-Type", stored_type))
    return [*headers, ("Cache-Control", cache_control), ("Vary", "X-Run"), ("X-Run-Where", WHERE)]


def _wants_a_status(found: Answer) -> bool:
    about = About.of_headers(found.headers)
    return about is not None and about.status != 200
