"""Which of an object's headers also speak of what a program made of it.

The answer to a run is a representation of its own. Kept is what Swift says of the request (CORS, the symlink's target,
the version) and what the owner says of the object (X-Object-Meta-*, as a plain GET would show). Dropped is whatever
describes the object's bytes or vouches for them:

* ETag, Last-Modified: a client would revalidate the result against the object, and swiftclient takes an ETag for the
  MD5 of the body.
* Content-Length, Accept-Ranges: of the object.
* Content-Encoding, -Disposition, -Language, -Type: of the object, unless the program's type is "source": then it hands
  on the same kind of bytes, and they hold.
* Cache-Control, Expires: the owner meant the object. A result says no-store: a shared cache that keeps answers by URL
  alone must never hand it to someone who asked for the object.
"""

from typing import TYPE_CHECKING

from insitu.storage_hooks import inside
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.metadata import NONE, Metadata, parse

if TYPE_CHECKING:
    from insitu.storage_hooks.runs import Ran

SOURCE = "source"
"""The content type of a program whose output is of its input's type."""

_KEPT = frozenset(("content-location", "vary", "x-object-version-id", "x-backend-storage-policy-index"))
_USER = "x-object-meta-"
_KEPT_PREFIXES = (_USER, "access-control-")
_PHRASES = {200: "OK", 400: "Bad Request"}
_KEPT_OF_SOURCE = frozenset(("content-type", "content-encoding", "content-disposition", "content-language"))


def request_headers(headers: Headers) -> Headers:
    """What holds for any answer to the request, also a problem."""
    return [(k, v) for k, v in headers if k.lower() == "vary" or k.lower().startswith("access-control-")]


def result_headers(headers: Headers, content_type: str) -> Headers:
    """The headers of a result, from those of the object and the program's content type."""
    kept = [
        (key, value)
        for key, value in headers
        if key.lower() in _KEPT
        or key.lower().startswith(_KEPT_PREFIXES)
        or (content_type == SOURCE and key.lower() in _KEPT_OF_SOURCE)
    ]
    if content_type != SOURCE:
        kept.append(("Content-Type", content_type))
    return [*kept, ("Cache-Control", "no-store"), ("Vary", "X-Run")]


def answer_headers(ran: "Ran", environ: Environ, *, let_in: bool) -> tuple[str, Headers]:
    """Status and headers of a result, with what the program itself says of it. `let_in`: to somebody who may not read
    the object, and learns nothing that its owner says of it."""
    said = said_by(ran)
    content_type = said.content_type or ran.content_type
    headers = result_headers(ran.source, content_type) + ran.run
    own = said.user_headers()
    if own or let_in:
        instead = {key.lower() for key, _ in own}
        headers = [
            (key, value)
            for key, value in headers
            if not key.lower().startswith(_USER) or not (let_in or key.lower() in instead)
        ]
    if ran.length is not None:
        headers.append(("Content-Length", str(ran.length)))
    return status_line(said, environ), headers + own


def status_line(said: Metadata, environ: Environ) -> str:
    """What the program wants answered, as far as the client's protocol has it."""
    status = said.status
    if environ.get("swift.source") == "S3" and status != 200:
        status = 200 if status < 300 else 400  # s3api passes on little else
    return f"{status} {_PHRASES[status]}" if status != said.status else said.status_line()


def without_users(headers: Headers) -> Headers:
    """Without what the owner says of the object (X-Object-Meta-*): for those who may read results of it only."""
    return [(key, value) for key, value in headers if not key.lower().startswith(_USER)]


def said_by(ran: "Ran") -> Metadata:
    """What the program says of its result, which the storage node has checked."""
    return NONE if ran.metadata is None else parse(ran.metadata.encode())


def stored_headers(ran: "Ran") -> dict[str, str]:
    """What the program says of its output, as variables of the request that stores it."""
    said = said_by(ran)
    found = {f"HTTP_{key.upper().replace('-', '_')}": value for key, value in said.user_headers()}
    content_type = said.content_type or ran.content_type
    if content_type != SOURCE:
        found["CONTENT_TYPE"] = content_type
    return found


def run_headers(headers: Headers) -> Headers:
    """What a client learns of the run itself."""
    names = {"X-Run-Id": inside.ID, "X-Run-Where": inside.WHERE, "X-Run-Program": inside.PROGRAM}
    found = ((public, inside.find(headers, private)) for public, private in names.items())
    return [(public, value) for public, value in found if value is not None]
