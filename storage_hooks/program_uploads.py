"""PUT into a container marked `X-Container-Programs: on`: what is no program is refused, with the reason.

The upload is laid aside until all of it is there, its digest taken, and the proxy's own node asked to validate and
compile it. Then it is stored like any other object. So the first run of it finds it compiled, and nobody's first run
finds out that it is broken.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final

from swift.common.utils import close_if_possible
from swift.common.wsgi import WSGIContext

from insitu.runtime.errors import NodeError
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.storage_hooks import inside, problem
from insitu.storage_hooks.copying import Copy
from insitu.storage_hooks.feed import InputBroken
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.refusing import Answered, Refused, refused, unavailable
from insitu.storage_hooks.runs import Runs, unconditional
from insitu.storage_hooks.writing import Upload

_IN_MEMORY: Final = 1 << 20
_PIECE: Final = 256 << 10


def put(runs: Runs, environ: Environ, start_response: Callable[..., Any], copy: Copy | None) -> Iterable[bytes]:
    """Answer a PUT or a copy; the caller has asked whether they may write. Raises `Refused`, `Answered`."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as aside:
        if copy is None:
            digest, size = _laid_aside(Upload(environ["wsgi.input"]), aside)
            _check_length(environ, size)
            sent, more = dict(environ), list[tuple[str, str]]()
        else:
            source: Headers
            source, body = _source(runs, copy)
            digest, size = _laid_aside(body, aside)
            sent, more = copy.writing(source), copy.answer_headers()
        _validate(runs, sent, digest, aside)
        aside.seek(0)
        sent.pop("HTTP_TRANSFER_ENCODING", None)
        sent |= {"wsgi.input": aside, "CONTENT_LENGTH": str(size)}
        context = WSGIContext(runs.app)
        answer: Iterable[bytes] = context._app_call(sent)
    headers = [*context._response_headers, *more]
    if context._response_status.startswith("2"):
        headers.append(("X-Run-Program", digest))
    start_response(context._response_status, headers, context._response_exc_info)
    return answer


def _laid_aside(body: Iterable[bytes], aside: IO[bytes]) -> tuple[str, int]:
    summed, size = hashlib.sha256(), 0
    try:
        for chunk in body:
            size += len(chunk)
            if size > MAX_PROGRAM:
                raise Refused(problem.not_a_program(f"it is over {MAX_PROGRAM} bytes, and no program is allowed more"))
            summed.update(chunk)
            aside.write(chunk)
    except (OSError, ValueError, InputBroken) as why:
        raise Refused(problem.upload_broken(f"it broke off after {size} bytes: {why}", short=True)) from None
    finally:
        close_if_possible(body)
    return f"sha256:{summed.hexdigest()}", size


def _check_length(environ: Environ, size: int) -> None:
    text = environ.get("CONTENT_LENGTH")
    if text and int(text) != size:
        raise Refused(problem.upload_broken(f"it ends after {size} bytes of {text}", short=True))


def _source(runs: Runs, copy: Copy) -> tuple[Headers, Iterable[bytes]]:
    context = WSGIContext(runs.app)
    body: Iterable[bytes] = context._app_call(unconditional(copy.reading()))
    if not context._response_status.startswith("200 "):
        raise Answered(context, body)
    return context._response_headers, body


def _validate(runs: Runs, environ: Environ, digest: str, aside: IO[bytes]) -> None:
    if runs.local is None:
        raise unavailable("programs are validated by this proxy's own insitu node, and it has none", [])
    tenant = inside.native(environ["PATH_INFO"].split("/", 3)[2])
    try:
        runs.local.bring(digest, _pieces(aside), prepare=True, tenant=tenant)
    except NodeError as why:
        raise refused(why.code, str(why), [], retry_after=getattr(why, "retry_after", None)) from None


def _pieces(aside: IO[bytes]) -> Iterator[bytes]:
    aside.seek(0)
    while piece := aside.read(_PIECE):
        yield piece
