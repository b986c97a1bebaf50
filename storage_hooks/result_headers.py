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

from insitu.storage_hooks import inside
from insitu.storage_hooks.inside import Headers

SOURCE = "source"
"""The content type of a program whose output is of its input's type."""

_KEPT = frozenset(("content-location", "vary", "x-object-version-id", "x-backend-storage-policy-index"))
_KEPT_PREFIXES = ("x-object-meta-", "access-control-")
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


def run_headers(headers: Headers) -> Headers:
    """What a client learns of the run itself."""
    names = {"X-Run-Id": inside.ID, "X-Run-Where": inside.WHERE, "X-Run-Program": inside.PROGRAM}
    found = ((public, inside.find(headers, private)) for public, private in names.items())
    return [(public, value) for public, value in found if value is not None]
