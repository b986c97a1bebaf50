"""PUT into a container marked `X-Container-Programs: on`: what is no program is refused, with the reason.

The upload is laid aside until all of it is there, its digest taken, and the proxy's own node asked to validate and
compile it. Then it is stored like any other object. So the first run of it finds it compiled, and nobody's first run
finds out that it is broken.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, Final

from swift.common.utils import close_if_possible
from swift.common.wsgi import WSGIContext

from insitu.runtime.errors import NodeError
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.storage_hooks import inside, problem
from insitu.storage_hooks.copying import Copy
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.refusing import Answered, Refused, refused
from insitu.storage_hooks.runs import Runs, unconditional
from insitu.storage_hooks.uploads import received
from insitu.storage_hooks.whole import Whole

_PIECE: Final = 256 << 10


def put(runs: Runs, environ: Environ, start_response: Callable[..., Any], copy: Copy | None) -> Iterable[bytes]:
    """Answer a PUT or a copy; the caller has asked whether they may write. Raises `Refused`, `Answered`."""
    runs.needs_local()
    if copy is None:
        whole = received(environ, MAX_PROGRAM, _too_large)
        sent, more = dict(environ), list[tuple[str, str]]()
    else:
        source, body = _source(runs, copy)
        whole = Whole.of(_bounded(body))
        sent, more = copy.writing(source), copy.answer_headers()
    with closing(whole):
        digest = _digest(whole)
        _validate(runs, sent, digest, whole)
        whole.rewind()
        sent.pop("HTTP_TRANSFER_ENCODING", None)
        sent |= {"wsgi.input": whole, "CONTENT_LENGTH": str(whole.length)}
        context = WSGIContext(runs.app)
        answer: Iterable[bytes] = context._app_call(sent)
    headers = [*context._response_headers, *more]
    if context._response_status.startswith("2"):
        headers.append(("X-Run-Program", digest))
    start_response(context._response_status, headers, context._response_exc_info)
    return answer


def _too_large() -> Exception:
    return Refused(problem.not_a_program(f"it is over {MAX_PROGRAM} bytes, and no program is allowed more"))


def _bounded(body: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    try:
        for chunk in body:
            size += len(chunk)
            if size > MAX_PROGRAM:
                raise _too_large()
            yield chunk
    finally:
        close_if_possible(body)


def _digest(whole: Whole) -> str:
    summed = hashlib.sha256()
    for piece in whole:
        summed.update(piece)
    return f"sha256:{summed.hexdigest()}"


def _source(runs: Runs, copy: Copy) -> tuple[Headers, Iterable[bytes]]:
    context = WSGIContext(runs.app)
    body: Iterable[bytes] = context._app_call(unconditional(copy.reading()))
    if not context._response_status.startswith("200 "):
        raise Answered(context, body)
    return context._response_headers, body


def _validate(runs: Runs, environ: Environ, digest: str, whole: Whole) -> None:
    assert runs.local is not None
    tenant = inside.native(environ["PATH_INFO"].split("/", 3)[2])
    try:
        runs.local.bring(digest, _pieces(whole), prepare=True, tenant=tenant)
    except NodeError as why:
        raise refused(why.code, str(why), [], retry_after=getattr(why, "retry_after", None)) from None


def _pieces(whole: Whole) -> Iterator[bytes]:
    whole.rewind()
    while piece := whole.read(_PIECE):
        yield piece
