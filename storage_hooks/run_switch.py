"""Sends a run to a node that holds the object, once and never twice: a filter of the proxy.

    [pipeline:main]
    pipeline = … s3api tempauth run_hook copy … symlink proxy-logging run_switch proxy-server

    [filter:run_switch]
    use = egg:insitu#run_switch
    # Seconds of complete silence after which a node counts as dead. Must exceed the object hooks' beat, and the time
    # a node may take to accept (accept_timeout there).
    node_timeout = 60
    # What the storage nodes know this proxy by (see signature.py, also for `lifetime`).
    key_file = /etc/swift/insitu.key

It must stand immediately left of the proxy-server app, whose settings it uses as they are. Requests without the run
hook's mark pass untouched, for the price of one dictionary look-up. So do, in the end, reads that carry it and cannot
run on one node: of an erasure coded, encrypted or large object, or on a server without an object hook. Of these the
mark is taken off, and the proxy's own application answers with the object as it always does.

To its left everything looks like an ordinary answer: the frames (see frames.py) are taken apart here, the body is the
program's output, and a body that must not pass for a whole one ends in an exception, by which the server closes the
client's connection without the last chunk.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from swift.common.error_limiter import ErrorLimiter
from swift.common.utils import close_if_possible, generate_trans_id, get_logger
from swift.common.wsgi import WSGIContext
from swift.proxy.server import Application

from insitu.runtime.errors import Busy, NodeError, NodeLost, NodeUnavailable, ProgramRejected, UnknownProgram
from insitu.runtime.grammar import GrammarError
from insitu.storage_hooks import bringing, inside, settings, signature
from insitu.storage_hooks.framed import frames_of, unframed
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.run_application import Address, RunApplication, address
from insitu.storage_hooks.signature import Statement

StartResponse = Callable[..., Any]

_UNTIL_IT_IS_MENDED = "60"


class _Asked(NamedTuple):
    """What Swift answered, of which no byte was read yet."""

    app: RunApplication
    status: str
    headers: Headers
    body: Any
    exc_info: Any

    def close(self) -> None:
        close_if_possible(self.body)


class RunSwitch:
    """The filter. One instance serves all requests of a proxy process."""

    def __init__(self, app: Any, conf: dict[str, str]) -> None:
        """Raises ValueError when it stands in the wrong place, or for a malformed setting."""
        if not isinstance(app, Application):
            raise ValueError(
                "run_switch: it must be the last filter of the pipeline, immediately left of the proxy-server app, "
                f"but the next one there is {type(app).__name__}"
            )
        self.app = app
        text = conf.get("node_timeout", "60")
        try:
            self.node_timeout = float(text)
        except ValueError:
            self.node_timeout = 0.0
        if self.node_timeout <= 0:
            raise ValueError(f"run_switch: node_timeout = {text!r} is not a number of seconds above 0")
        self.key = signature.needed_key(conf, "run_switch")
        self.lifetime = _lifetime(conf)
        limiter = app.error_limiter
        # A node that is slow at runs must not be shunned for plain reads, nor the other way round.
        self.error_limiter = ErrorLimiter(limiter.suppression_interval, limiter.suppression_limit)
        self.logger = get_logger(conf, log_route="insitu-run-switch")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if inside.ENV_REQUEST not in environ or environ["REQUEST_METHOD"] != "GET":
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        # Asking every replica for the newest would run the program on each.
        newest = environ.pop("HTTP_X_NEWEST", None)
        asked = self._ask(environ)
        brought = set[Address]()
        avoided = set[Address]()
        failed: NodeError | None = None
        while (node := _lacking(asked, environ)) is not None and address(node) not in brought:
            brought.add(address(node))
            pieces = environ[inside.ENV_PROVIDER]()
            if pieces is None:
                break
            asked.close()
            try:
                self._bring(node, pieces, environ)
            except NodeError as why:
                self.logger.warning("no program was brought to %s: %s", address(node), why)
                failed = why
                if isinstance(why, ProgramRejected):
                    return self._not_brought(failed, start_response)
                avoided.add(address(node))
            asked = self._ask(environ, node, avoided)
        app, status, headers = asked.app, asked.status, asked.headers
        if inside.find(headers, inside.ID) is not None:
            return self._result(app, asked.body, headers, start_response)
        if app.settled and status.startswith("5"):
            return self._unknown(app, asked.body, start_response)
        if _refused_everywhere(app, status):
            return self._nowhere(app, asked.body, start_response)
        if failed is not None and status.startswith("503 "):
            asked.close()
            return self._not_brought(failed, start_response)
        if _is_plain(status, headers):
            # Of what came so far nothing was read, and this way it is Swift's own read, with all that makes it safe.
            asked.close()
            inside.unmark(environ)
            if newest is not None:
                environ["HTTP_X_NEWEST"] = newest
            answer = self.app(environ, start_response)
            return answer
        start_response(status, headers, asked.exc_info)
        return asked.body  # type: ignore[no-any-return]

    def _ask(
        self, environ: Environ, first: dict[str, Any] | None = None, avoided: Collection[Address] = ()
    ) -> "_Asked":
        self._sign(environ)
        app = RunApplication.of(self.app, self.node_timeout, self.error_limiter, first, avoided)
        context = WSGIContext(app)
        body = context._app_call(environ)
        return _Asked(app, context._response_status, context._response_headers, body, context._response_exc_info)

    def _sign(self, environ: Environ) -> None:
        # It is signed too, and Swift would make one later when it sees none.
        if "swift.trans_id" not in environ:
            environ["swift.trans_id"] = generate_trans_id("")
        # As it arrives: HTTP has no blanks at either end.
        environ[inside.ENV_REQUEST] = environ[inside.ENV_REQUEST].strip()
        _version, _, path = environ["PATH_INFO"][1:].partition("/")
        statement = Statement(
            method=environ["REQUEST_METHOD"],
            path=f"/{path}",
            run=environ[inside.ENV_REQUEST],
            terms=environ.get(inside.ENV_TERMS, ""),
            transaction=environ["swift.trans_id"],
        )
        environ[inside.ENV_SIGNATURE] = self._signature(statement)

    def _signature(self, statement: Statement) -> str:
        return signature.sign(self.key, statement, time.time(), self.lifetime)

    def _bring(self, node: dict[str, Any], pieces: Iterable[bytes], environ: Environ) -> None:
        """Bring the program of a run to a storage node that lacks it. Raises `NodeError`."""
        digest = _program_of(environ[inside.ENV_REQUEST])
        transaction = environ["swift.trans_id"]
        statement = Statement(bringing.METHOD, bringing.path_of(digest), digest, "", transaction)
        headers = {
            inside.REQUEST: digest,
            inside.SIGNATURE: self._signature(statement),
            "X-Trans-Id": transaction,
        }
        try:
            bringing.bring(node, digest, pieces, headers, (self.app.conn_timeout, self.node_timeout))
        finally:
            close_if_possible(pieces)

    def _result(
        self, app: RunApplication, body: Any, headers: Headers, start_response: StartResponse
    ) -> Iterable[bytes]:
        # "chunked" speaks of the connection to the node; eventlet adds its own.
        headers = [(k, v) for k, v in headers if k.lower() not in ("transfer-encoding", "content-length")]
        headers.append((inside.WHERE, _where(inside.find(headers, inside.NODE) or "?", app.node)))
        headers, result = unframed(headers, frames_of(app, body), body, self.logger)
        start_response("200 OK", headers)
        return result

    def _unknown(self, app: RunApplication, body: Any, start_response: StartResponse) -> Iterable[bytes]:
        close_if_possible(body)
        where = _where("a node", app.node)
        self.logger.error("a run was sent to %s (%s), and no answer came", where, app.node)
        reason = "the storage node that was asked gave no answer; whether the program ran there is unknown"
        start_response("200 OK", _refused(NodeLost.code, reason))
        return [b""]

    def _not_brought(self, why: NodeError, start_response: StartResponse) -> Iterable[bytes]:
        if isinstance(why, ProgramRejected):
            start_response("200 OK", _refused(why.code, str(why)))
        else:
            code = why.code if isinstance(why, Busy) else NodeUnavailable.code
            start_response("503 Service Unavailable", [*_refused(code, str(why)), ("Retry-After", "2")])
        return [b""]

    def _nowhere(self, app: RunApplication, body: Any, start_response: StartResponse) -> Iterable[bytes]:
        close_if_possible(body)
        last = app.refusals[-1]
        reason = "; ".join(dict.fromkeys(refusal.reason for refusal in app.refusals))
        headers = _refused(last.code, reason)
        after = next((r.retry_after for r in app.refusals if r.retry_after), "2")
        if last.code == inside.MISCONFIGURED:
            self.logger.error("no storage node takes a run of this proxy's: %s", reason)
            after = _UNTIL_IT_IS_MENDED
        headers.append(("Retry-After", after))
        start_response("503 Service Unavailable", headers)
        return [b""]


def _refused_everywhere(app: RunApplication, status: str) -> bool:
    """Did some node refuse, so that nothing was started, and none had a better answer?"""
    if not app.refusals or status[0] not in "45":
        return False
    # Who refuses a signature has not looked for the object; what others say of it holds.
    return not status.startswith("404 ") or any(refusal.code != inside.MISCONFIGURED for refusal in app.refusals)


def _lacking(asked: _Asked, environ: Environ) -> dict[str, Any] | None:
    """The storage node that has not got the program, where it can be brought one."""
    if inside.find(asked.headers, inside.REFUSED) != UnknownProgram.code or inside.ENV_PROVIDER not in environ:
        return None
    return asked.app.node if _program_of(environ[inside.ENV_REQUEST]) else None


def _program_of(value: str) -> str:
    """The program of a mark, if it is named by its digest, else nothing: a name is what each node calls so."""
    try:
        asked = inside.parse_header(value)
    except GrammarError:
        return ""
    return asked.digest or (asked.program if asked.program.startswith("sha256:") else "")


def _lifetime(conf: Mapping[str, str]) -> int:
    text = conf.get("lifetime", str(signature.LIFETIME))
    value = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= value <= 86400:
        raise ValueError(f"run_switch: lifetime = {text!r} is not a whole number of seconds from 1 to 86400")
    return value


def _is_plain(status: str, headers: Headers) -> bool:
    """Is this the object itself, or word that no program can run on it there?

    What has no bytes (a symlink, which its own filter follows) is as good from this application as from another.
    """
    refused = inside.find(headers, inside.REFUSED)
    if refused is not None:
        return refused == inside.UNSUPPORTED
    return status.startswith("200 ") and inside.find(headers, "Content-Length") != "0"


def _where(name: str, node: dict[str, Any] | None) -> str:
    if node is None:
        return name
    return f"{name}; replica={node['index']}" if "handoff_index" not in node and "index" in node else f"{name}; handoff"


def _refused(code: str, reason: str) -> Headers:
    return [
        (inside.REFUSED, code),
        (inside.REASON, inside.quote_reason(reason)),
        ("Content-Type", "text/plain"),
        ("Content-Length", "0"),
    ]


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Any], RunSwitch]:
    """paste.deploy's way in: `use = egg:insitu#run_switch`."""
    settings.check(local_conf, "run_switch", settings.RUN_SWITCH)
    conf = global_conf | local_conf
    return lambda app: RunSwitch(app, conf)
