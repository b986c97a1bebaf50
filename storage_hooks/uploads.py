"""What a client sends, received whole before anything is made of it.

A program is started once all has come, and is what its sender says it is: so no worker waits for a slow client, a
launch's wall time is the program's alone, and a broken upload starts nothing.
"""

import errno
from collections.abc import Callable, Iterator
from typing import Any, Final

from swift.common.constraints import MAX_FILE_SIZE
from swift.common.swob import (
    HTTPBadRequest,
    HTTPLengthRequired,
    HTTPNotImplemented,
    HTTPRequestEntityTooLarge,
    HTTPRequestTimeout,
    Request,
    normalize_etag,
)

from insitu.storage_hooks import problem
from insitu.storage_hooks.feed import InputBroken
from insitu.storage_hooks.green import Timeout
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.refusing import Refused, unavailable
from insitu.storage_hooks.whole import Whole

_CHUNK: Final = 64 << 10
_SILENCE: Final = 60.0
"""Seconds that a client may send nothing, as Swift's own client_timeout is."""


def received(environ: Environ, most: int = MAX_FILE_SIZE, too_large: Callable[[], Exception] | None = None) -> Whole:
    """All that the client of a PUT sends: of the length that it announced, and with the MD5 of the ETag that it sent.

    `most` bytes; more are refused as `too_large` says, or as Swift does. Raises `Refused` and swob's exceptions.
    """
    length = _length(environ)

    def beyond() -> Exception:
        refusal: Exception = HTTPRequestEntityTooLarge(request=Request(environ)) if too_large is None else too_large()
        return refusal

    if length is not None and length > most:
        raise beyond()
    try:
        whole = Whole.of(_chunks(environ, most, beyond))
    except InputBroken as why:
        raise Refused(problem.upload_broken(str(why), short=True)) from None
    except OSError as why:
        if why.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise unavailable("the proxy has no room to lay the upload aside", []) from None
    wrong = None
    if length is not None and whole.length != length:
        wrong = problem.upload_broken(f"it ends after {whole.length} bytes of {length}", short=True)
    elif (etag := environ.get("HTTP_ETAG")) and normalize_etag(etag).lower() != whole.md5:
        wrong = problem.upload_broken(f"its MD5 is {whole.md5}, and its ETag says {etag}", short=False)
    if wrong is not None:
        whole.close()
        raise Refused(wrong)
    return whole


def _length(environ: Environ) -> int | None:
    """What is announced; None: it comes in chunks. Refuses what Swift refuses, in its words."""
    request = Request(environ)
    try:
        length: int | None = request.message_length()
    except ValueError as why:
        raise HTTPBadRequest(request=request, content_type="text/plain", body=str(why)) from None
    except AttributeError as why:
        raise HTTPNotImplemented(request=request, content_type="text/plain", body=str(why)) from None
    if length is None and environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
        raise HTTPLengthRequired(request=request, content_type="text/plain", body="Missing Content-Length header.")
    return length


def _chunks(environ: Environ, most: int, beyond: Callable[[], Exception]) -> Iterator[bytes]:
    source: Any = environ["wsgi.input"]
    size = 0
    while True:
        limit = Timeout(_SILENCE)
        try:
            chunk: bytes = source.read(_CHUNK)
        except Timeout as late:
            if late is not limit:
                raise
            raise HTTPRequestTimeout(request=Request(environ)) from None
        except (OSError, ValueError) as why:  # eventlet's, of a connection or a chunk that is broken
            raise InputBroken(f"it broke off after {size} bytes ({type(why).__name__})") from None
        finally:
            limit.cancel()
        if not chunk:
            return
        size += len(chunk)
        if size > most:
            raise beyond()
        yield chunk
