"""GET and HEAD of an object through a program, as HTTP has it.

A result that is being made has no ETag and no length, unless it is whole before its first byte is sent. So conditions
that need an ETag cannot hold (If-Match: 412), or always do (If-None-Match); those that need a date are ignored, as RFC
9110 has it where there is none; and so is a Range.
"""

from collections.abc import Callable, Iterable
from typing import Any

from swift.common.wsgi import WSGIContext

from insitu.storage_hooks import green, problem
from insitu.storage_hooks.ahead import Ahead
from insitu.storage_hooks.framed import RunAborted
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.refusing import Answered, Refused
from insitu.storage_hooks.result_headers import answer_headers, result_headers, without_users
from insitu.storage_hooks.runs import Order, Ran, Runs, ended, unconditional
from insitu.storage_hooks.whole import Whole


def read(runs: Runs, environ: Environ, start_response: Callable[..., Any], order: Order) -> Iterable[bytes]:
    """Answer a GET with a run. Raises `Refused`, `Answered`."""
    check_conditions(environ)
    return answer(runs.read(environ, order), environ, start_response, order)


def answer(
    ran: Ran,
    environ: Environ,
    start_response: Callable[..., Any],
    order: Order,
    instead: Iterable[bytes] | None = None,
) -> Iterable[bytes]:
    """Answer with a result. `instead`: a body around that of `ran`, or of the same bytes. Raises `Refused`."""
    try:
        status, headers = answer_headers(ran, environ, let_in=order.let_in)
        body: Iterable[bytes] = ran.body if instead is None else instead
        if ran.length is None and green.speaks_http_1_0(environ):
            # Its end would be a closed connection, which may as well be a broken one.
            body = whole = _whole(ran)
            headers.append(("Content-Length", str(whole.length)))
        elif ran.length is None:
            body = on_its_way(ran, environ, body)
    except BaseException:
        ran.close()
        raise
    start_response(status, headers)
    return body


def on_its_way(ran: Ran, environ: Environ, body: Iterable[bytes]) -> Iterable[bytes]:
    """`body`, that of `ran` or one around it, as it goes to the client while it is made."""
    green.write_through(environ)
    return Ahead(body, ran.body.reset)


def head(runs: Runs, environ: Environ, start_response: Callable[..., Any], order: Order) -> Iterable[bytes]:
    """Answer a HEAD: nothing is started, and what would come has neither ETag nor length before it is made."""
    check_conditions(environ)
    context = WSGIContext(runs.app)
    body: Iterable[bytes] = context._app_call(unconditional(environ))
    if not context._response_status.startswith("2"):
        raise Answered(context, body)
    # Which type a program's output has is its node's to know. "chunked" is what a GET would most likely be; without it
    # proxy-logging would state a length of 0.
    headers: Headers = [h for h in result_headers(context._response_headers, "") if h != ("Content-Type", "")]
    if order.let_in:
        headers = without_users(headers)
    headers.append(("Transfer-Encoding", "chunked"))
    start_response("200 OK", headers, context._response_exc_info)
    return body


def check_conditions(environ: Environ) -> None:
    """Of a result that has no ETag. Raises `Refused`."""
    match = environ.get("HTTP_IF_MATCH", "*").strip()
    if match != "*":
        raise Refused(problem.no_match("If-Match names an ETag, and a result that is not stored has none"))


def _whole(ran: Ran) -> Whole:
    """All of a result, laid aside. Raises `Refused` when the run fails after all."""
    try:
        return Whole.of(ran.body)
    except RunAborted as why:
        raise Refused(ended(ran, why), ran.run) from None
