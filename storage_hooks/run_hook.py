"""Turns `X-Run` on a GET into a run, and what came of it into HTTP: a filter of the proxy.

    [pipeline:main]
    pipeline = … s3api tempauth run_hook copy … symlink proxy-logging run_switch proxy-server

    [filter:run_hook]
    use = egg:insitu#run_hook
    # Limits of every run.
    memory = 256MiB
    wall = 10s
    output = 1GiB
    # Engine units, about one per instruction; 0 means no limit of its own.
    fuel = 0

It must stand right of the authentication filters and left of copy, slo, dlo and symlink, together with run_switch
(which see) and an object_hook on every object server. Requests without `X-Run` pass untouched, for two look-ups.

What clients get:

    GET with X-Run: NAME [ARG…]     200 and the program's output, with X-Run-Id, X-Run-Where, X-Run-Program
    HEAD with X-Run                 never runs; the headers that a result would have, as far as they are known
    any other method, no object     400
    Range, X-Newest                 ignored: the whole result; the replica that answers
    If-Match, If-None-Match, …      evaluated by Swift, on the object: 304 and 412 as without X-Run

    400  malformed X-Run, or an object that is not whole on one node (large objects, erasure coded, encrypted)
    404  no such object, or no such program
    422  the program failed: exit code, trap, or limit by name, with the tail of its stderr; or it cannot run at all
    500  it was started, and its end is unknown
    503  nothing was started, with Retry-After

A program that fails after its status was sent has its connection reset. The missing last chunk would say as much to
HTTP/1.1, but in HTTP/1.0 a closed connection is how a whole body ends, and eventlet does not tell which one is spoken.

Without these filters a Swift ignores `X-Run` and answers with the object. Who must know first asks `GET /info`, which
has an "insitu" section where they are installed.

Who may read an object is who may run a program on it: authentication and ACLs are Swift's and untouched.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from swift.common.registry import register_swift_info
from swift.common.swob import wsgi_to_str
from swift.common.utils import close_if_possible, get_logger, split_path
from swift.common.wsgi import WSGIContext

import insitu
from insitu.runtime.errors import NodeLost, NodeUnavailable
from insitu.runtime.grammar import MAX_BYTES, GrammarError
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import Limits, parse_duration, parse_size
from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks import inside, problem
from insitu.storage_hooks.framed import RunAborted
from insitu.storage_hooks.frames import FrameError
from insitu.storage_hooks.green import ClientGone, ClientWatch
from insitu.storage_hooks.inside import Environ, Headers, Terms
from insitu.storage_hooks.problem import Problem
from insitu.storage_hooks.result_headers import request_headers, result_headers, run_headers

StartResponse = Callable[..., Any]


class RunHook:
    """The filter. One instance serves all requests of a proxy process."""

    def __init__(self, app: Any, conf: dict[str, str]) -> None:
        """Raises ValueError for a setting that is malformed."""
        self.app = app
        self.limits = _limits_of(conf)
        self.logger = get_logger(conf, log_route="insitu-run-hook")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        value = environ.pop("HTTP_X_RUN", None)
        if value is None:
            # Gatekeeper has stripped it already, if it is where it belongs.
            if inside.ENV_REQUEST in environ:
                del environ[inside.ENV_REQUEST]
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        environ.pop(inside.ENV_REQUEST, None)
        try:
            account = _account(environ)
            inside.parse_header(value)
        except _Refusal as why:
            return why.problem.answer(environ, start_response, [])
        except GrammarError as why:
            return problem.malformed(str(why)).answer(environ, start_response, [])
        # Of the result that would be, not of the object; a Range that reaches a node is always Swift resuming.
        environ.pop("HTTP_RANGE", None)
        environ.pop("HTTP_IF_RANGE", None)
        if environ["REQUEST_METHOD"] == "HEAD":
            return self._head(environ, start_response)
        environ[inside.ENV_REQUEST] = value
        environ[inside.ENV_TERMS] = Terms(tenant=account, limits=self.limits).encode()
        return self._get(environ, start_response)

    def _head(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        context = WSGIContext(self.app)
        body: Iterable[bytes] = context._app_call(environ)
        headers: Headers = context._response_headers
        if context._response_status.startswith("2"):
            # Which type a program's output has is its node's to know. "chunked" is what a GET would most likely be;
            # without it proxy-logging would state a length of 0.
            headers = [h for h in result_headers(headers, "") if h != ("Content-Type", "")]
            headers.append(("Transfer-Encoding", "chunked"))
        start_response(context._response_status, headers, context._response_exc_info)
        return body

    def _get(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        context = WSGIContext(self.app)
        watch = ClientWatch(environ)
        try:
            with watch:
                body: Iterable[bytes] = context._app_call(environ)
            headers: Headers = context._response_headers
            run_id = inside.find(headers, inside.ID)
            if run_id is not None:
                return self._ran(run_id, headers, Watched(body, watch), environ, start_response)
        except ClientGone:
            gone = problem.refused(NodeLost.code, "the client went away")
            return gone.answer(environ, start_response, [])
        except BaseException:
            watch.close()
            raise
        watch.close()
        return self._not_run(
            context._response_status, headers, body, context._response_exc_info, environ, start_response
        )

    def _ran(
        self, run_id: str, headers: Headers, body: "Watched", environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        about = run_headers(headers)
        outcome = inside.find(headers, inside.OUTCOME)
        if outcome is not None:
            try:
                end = inside.decode_outcome(outcome)
            except FrameError as why:
                end = Outcome(end="lost", note=str(why))
            if not end.ok:
                body.close()
                answer = problem.ended(end, run_id, inside.find(headers, inside.PROGRAM) or "")
                return answer.answer(environ, start_response, request_headers(headers) + about)
        length = inside.find(headers, "Content-Length")
        result = result_headers(headers, inside.find(headers, inside.TYPE) or "application/octet-stream") + about
        if length is not None:
            result.append(("Content-Length", length))
        start_response("200 OK", result)
        return body

    def _not_run(
        self,
        status: str,
        headers: Headers,
        body: Iterable[bytes],
        exc_info: Any,
        environ: Environ,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        code = inside.find(headers, inside.REFUSED)
        answer: Problem | None = None
        if code is not None:
            answer = problem.refused(code, inside.unquote_reason(inside.find(headers, inside.REASON) or ""))
        elif status.startswith("2"):
            # The object's own bytes: never an answer to a run request.
            answer = problem.unsupported_object(_why_not_whole(headers))
        elif status.startswith("404 ") and environ.get("swift.source") != "S3":  # s3api makes its own NoSuchKey of it
            answer = problem.no_such_object(inside.native(environ["PATH_INFO"])[:200])
        elif status.startswith("503 "):
            # Swift's own: none of its servers answered. Had one been asked to run, the switch would have said so.
            answer = problem.refused(NodeUnavailable.code, "no storage server that holds the object answers")
        if answer is None:
            start_response(status, headers, exc_info)
            return body
        close_if_possible(body)
        extra = request_headers(headers)
        retry_after = inside.find(headers, "Retry-After")
        if answer.status == 503:
            extra.append(("Retry-After", retry_after or "2"))
        return answer.answer(environ, start_response, extra)


class Watched:
    """A run's body, given up as soon as the client goes away, also while there is nothing to write."""

    def __init__(self, body: Iterable[bytes], watch: ClientWatch) -> None:
        self._body = body
        self._chunks = iter(body)
        self._watch = watch

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            with self._watch:
                return next(self._chunks)
        except ClientGone:
            raise RunAborted("the client went away") from None
        except RunAborted:
            self._watch.reset()
            raise

    def close(self) -> None:
        self._watch.close()
        close_if_possible(self._body)


class _Refusal(Exception):
    def __init__(self, why: Problem) -> None:
        super().__init__(why.detail)
        self.problem = why


def _account(environ: Environ) -> str:
    """The account of the object that is read. Raises `_Refusal` when no object is read."""
    method = environ["REQUEST_METHOD"]
    if method not in ("GET", "HEAD"):
        raise _Refusal(problem.wrong_method(method))
    path = environ["PATH_INFO"]
    try:
        version, account, _container, _object = split_path(path, 4, 4, True)
    except ValueError:
        version = account = ""
    if version not in ("v1", "v1.0"):
        raise _Refusal(problem.not_an_object(inside.native(path)[:200]))
    return str(wsgi_to_str(account))


def _why_not_whole(headers: Headers) -> str:
    if inside.find(headers, "X-Static-Large-Object") or inside.find(headers, "X-Object-Manifest"):
        return "the object is a large object: its segments lie on many nodes"
    if inside.find(headers, "X-Symlink-Target"):
        return "symlink=get asks for the link itself, which has no bytes"
    return "the object's bytes are not whole on one storage node, or no object_hook is installed there"


def _limits_of(conf: dict[str, str]) -> Limits:
    """The limits that the settings name. Raises ValueError."""
    default = Limits()
    try:
        return Limits(
            memory=parse_size(conf["memory"]) if "memory" in conf else default.memory,
            wall=parse_duration(conf["wall"]) if "wall" in conf else default.wall,
            output=parse_size(conf["output"]) if "output" in conf else default.output,
            fuel=int(conf.get("fuel", 0)) or None,
        )
    except (LimitsError, ValueError) as why:
        raise ValueError(f"run_hook: {why}") from None


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Any], RunHook]:
    """paste.deploy's way in: `use = egg:insitu#run_hook`."""
    conf = global_conf | local_conf
    limits = _limits_of(conf)
    register_swift_info("insitu", version=insitu.__version__, max_run_request=MAX_BYTES, limits=limits.to_wire())
    return lambda app: RunHook(app, conf)
