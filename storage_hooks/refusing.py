"""Exceptions that carry the answer to a request, raised wherever it turns out that there is nothing else to say."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from swift.common.wsgi import WSGIContext

from insitu.runtime.errors import NodeUnavailable
from insitu.storage_hooks import inside, problem
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.problem import Problem
from insitu.storage_hooks.result_headers import request_headers


class Refused(Exception):
    """The answer is a problem; `headers` go with it."""

    def __init__(self, why: Problem, headers: Headers | None = None) -> None:
        super().__init__(why.detail)
        self.problem, self.headers = why, headers or []

    def answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.problem.answer(environ, start_response, self.headers)


@contextmanager
def discreetly(let_in: bool) -> Iterator[None]:
    """What is refused inside is refused in fewer words, if `let_in`: to somebody who may not read the object."""
    try:
        yield
    except Refused as why:
        if let_in:
            why.problem = why.problem.discreet()
        raise


class Answered(Exception):
    """The answer is Swift's own: no such object, not allowed, and the like."""

    def __init__(self, context: WSGIContext, body: Iterable[bytes]) -> None:
        super().__init__(context._response_status)
        self.status: str = context._response_status
        self.headers: Headers = context._response_headers
        self.exc_info, self.body = context._response_exc_info, body

    def answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(self.status, self.headers, self.exc_info)
        return self.body


class Denied(Exception):
    """The answer is what Swift's authorization says."""

    def __init__(self, response: Any) -> None:
        super().__init__(response.status)
        self._response = response

    def answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._response(environ, start_response)
        return answer


def refused(code: str, reason: str, headers: Headers, *, retry_after: float | None = None) -> Refused:
    """A refusal by a node error's code; of `headers`, what holds for any answer to this request goes out too."""
    why = problem.refused(code, reason)
    extra = request_headers(headers)
    if why.status == 503:
        text = inside.find(headers, "Retry-After") if retry_after is None else str(max(1, round(retry_after)))
        extra.append(("Retry-After", text or "2"))
    return Refused(why, extra)


def unavailable(reason: str, headers: Headers) -> Refused:
    return refused(NodeUnavailable.code, reason, headers)
