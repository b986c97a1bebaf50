"""Runs programs next to the objects of one storage node: a filter of the object server.

    [pipeline:main]
    pipeline = healthcheck recon object_hook object-server

    [filter:object_hook]
    use = egg:insitu#object_hook
    # The socket of the insitu node on this machine (insitu node --socket …).
    socket = /run/insitu/node.sock
    # How clients see this node in X-Run-Where.
    node = object-1
    # Seconds to wait for the node to take a connection, and to accept a launch (a program that it has never seen is
    # compiled first).
    connect_timeout = 2
    accept_timeout = 45
    # A sign of life for the proxy while a program is silent, seconds. Well under the run switch's node_timeout.
    beat = 5
    # The proxies' key: runs are started only for who has it (see signature.py; `old_key` while it is exchanged).
    key_file = /etc/swift/insitu.key
    # Whether what a program has read to its end is held against the object's ETag, as Swift does.
    verify = yes

It must stand immediately left of the object-server app, which must keep `splice = no` (the default).

A GET that the proxy's run hook marked is answered with a program's output instead of the object's bytes. The object
server opens the object as always, so existence, expiry, and conditional headers are Swift's; then the open file goes to
the node. Any other request passes untouched, for the price of one dictionary look-up. (A marked PUT brings a program
that the node lacks, see bringing.py.)

* No signature of a proxy's under it: 403, and nothing was looked at. Another storage node may take it.
* Node down or without room: 503, nothing was started, and the run switch asks the next replica.
* Unknown program and the like: refused in a header; no other replica would know better.
* Object not whole here (a manifest, a fragment, ciphertext): refused, and the run switch reads it as if no run had been
  asked for. Never does a program see such bytes.
* Replica damaged: the run fails, and the replica is read once more for Swift to put it aside (see repair.py). One that
  is too short Swift has put aside when it was opened, and another one is asked.
* A symlink, and whatever is not a 200: Swift's own answer, unmarked; the proxy follows the link.
* Range: refused. The run hook sends none; this one is Swift trying to resume a broken body, and another run's bytes
  would be spliced to the first's.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from swift.common.swob import wsgi_to_str
from swift.common.utils import close_if_possible, get_logger, split_path
from swift.common.wsgi import WSGIContext

from insitu.runtime.client import LaunchRequest
from insitu.runtime.errors import BadRequest, Busy, NodeError, NodeUnavailable
from insitu.runtime.grammar import GrammarError
from insitu.storage_hooks import bringing, green, inside, settings, signature
from insitu.storage_hooks.inside import Environ, Headers, Terms, TermsError
from insitu.storage_hooks.local_node import LocalNode
from insitu.storage_hooks.object_run import ObjectRun
from insitu.storage_hooks.repair import Repairs
from insitu.storage_hooks.signature import SignatureError, Statement

StartResponse = Callable[..., Any]

_METHODS = frozenset(("GET", bringing.METHOD))

# Length and ranges are the object's, not the result's. The rest the proxy's filters still need (a static symlink is
# checked against the ETag), and the run hook drops what does not speak of the result.
_DROP = frozenset(("content-length", "accept-ranges", "content-range", "transfer-encoding"))

# An object that carries one of these is not what its bytes on this node seem to be.
_LINK = ("x-object-sysmeta-symlink-target",)
_NOT_WHOLE = (
    "x-static-large-object",
    "x-object-manifest",
    "x-object-sysmeta-ec-etag",
    "x-object-sysmeta-ec-frag-index",
    "x-object-sysmeta-crypto-body-meta",
    "x-object-transient-sysmeta-crypto-meta",
)


class ObjectHook:
    """The filter. One instance serves all requests of a server process."""

    def __init__(self, app: Any, conf: dict[str, str]) -> None:
        """Raises ValueError for a setting that is missing or malformed."""
        self.app = app
        self.local = LocalNode(conf, "object_hook")
        old = signature.key_of(conf, "object_hook", "old_key")
        self.keys = [signature.needed_key(conf, "object_hook"), *([] if old is None else [old])]
        self.logger = get_logger(conf, log_route="insitu-object-hook")
        self.repairs = Repairs(app, self.logger)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        value = environ.get(inside.ENV_REQUEST)
        if value is None or environ["REQUEST_METHOD"] not in _METHODS:
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        try:
            signature.check(self.keys, environ.get(inside.ENV_SIGNATURE), _statement(environ), time.time())
        except SignatureError as why:
            return self._unsigned(str(why), environ, start_response)
        if environ["REQUEST_METHOD"] == bringing.METHOD:
            return self._take_in(value, environ, start_response)
        if "HTTP_RANGE" in environ:
            start_response("409 Conflict", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        return self._run(value, environ, start_response)

    def _take_in(self, value: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers: Headers = [("Content-Type", "text/plain"), ("Content-Length", "0"), ("Connection", "close")]
        try:
            bringing.take_in(self.local, value, environ["wsgi.input"])
        except NodeError as why:
            headers = [*self._refusal(why.code, str(why), []), ("Connection", "close")]
            self.logger.warning("%s: took in no program (%s): %s", self.local.name, why.code, why)
            start_response("503 Service Unavailable", headers)
            return [b""]
        self.logger.info("%s: took in program %s", self.local.name, value)
        start_response("201 Created", headers)
        return [b""]

    def _run(self, value: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        context = WSGIContext(self.app)
        body = context._app_call(environ)
        headers: Headers = context._response_headers
        file = getattr(body, "_fp", None)
        if not context._response_status.startswith("200 ") or file is None or _has(headers, _LINK):
            start_response(context._response_status, [*headers, (inside.PASSED, "1")], context._response_exc_info)
            answer: Iterable[bytes] = body
            return answer
        if _has(headers, _NOT_WHOLE):
            close_if_possible(body)
            answer_headers = self._refusal(inside.UNSUPPORTED, "the object is not whole on one storage node", headers)
            start_response("200 OK", answer_headers)
            return [b""]
        try:
            # The node gets a descriptor of its own, so Swift's can go as soon as it has been sent.
            run = self._start(value, environ, file.fileno(), self.local.md5_of(headers))
        except NodeError as why:
            return self._refuse(why, headers, start_response)
        finally:
            close_if_possible(body)
        # eventlet would hold back frames under 4 KiB.
        green.write_through(environ)
        start_response(
            "200 OK",
            [(k, v) for k, v in headers if k.lower() not in _DROP]
            + [
                (inside.ID, run.accepted.id),
                (inside.PROGRAM, run.accepted.digest),
                (inside.TYPE, run.accepted.content_type),
                *inside.result_of(run.accepted),
                (inside.NODE, self.local.name),
            ],
        )
        return run

    def _start(self, value: str, environ: Environ, source: int, md5: str) -> ObjectRun:
        try:
            asked = inside.parse_header(value)
            terms = Terms.decode(environ.get(inside.ENV_TERMS, ""))
        except (GrammarError, TermsError) as why:
            raise BadRequest(str(why)) from None
        if asked.inputs:
            raise BadRequest("further inputs are the proxy's to open: such a run is none for a storage node")
        _device, _partition, account, container, name = split_path(environ["PATH_INFO"], 5, 5, True)
        request = LaunchRequest(
            program=asked.digest or asked.program,
            args=asked.args,
            tenant=terms.tenant,
            request_id=environ.get("HTTP_X_TRANS_ID", ""),
            object=wsgi_to_str(f"/{account}/{container}/{name}"),
            limits=terms.limits,
            env={},
            md5=md5,
            figures=False,  # of stdin and stdout alone: its sums say as much
        )
        return self.local.launch(
            request, source, green.client_socket(environ), damaged=self.repairs.of(environ) if md5 else None
        )

    def _refuse(self, why: NodeError, headers: Headers, start_response: StartResponse) -> Iterable[bytes]:
        elsewhere = isinstance(why, Busy | NodeUnavailable)
        self.logger.warning("%s: refused a run (%s): %s", self.local.name, why.code, why)
        answer = self._refusal(why.code, str(why), headers)
        if isinstance(why, Busy):
            answer.append(("Retry-After", str(max(1, round(why.retry_after)))))
        start_response("503 Service Unavailable" if elsewhere else "200 OK", answer)
        return [b""]

    def _unsigned(self, why: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        who = environ.get("REMOTE_ADDR", "somebody")
        self.logger.error("%s: refused a run that %s asked for: %s", self.local.name, who, why)
        headers = self._refusal(inside.MISCONFIGURED, f"{self.local.name} refused a run: {why}", [])
        start_response("403 Forbidden", headers)
        return [b""]

    def _refusal(self, code: str, reason: str, headers: Headers) -> Headers:
        answer: Headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", "0"),
            (inside.REFUSED, code),
            (inside.REASON, inside.quote_reason(reason)),
            (inside.NODE, self.local.name),
        ]
        # The proxy tells by it that the object is here, also when this is a handoff.
        stamp = inside.find(headers, "X-Backend-Timestamp")
        return answer if stamp is None else [*answer, ("X-Backend-Timestamp", stamp)]


def _statement(environ: Environ) -> Statement:
    """What the run switch must have signed (see RunSwitch._sign)."""
    # /DEVICE/PARTITION/ACCOUNT/CONTAINER/OBJECT
    _, _, _, *path = environ["PATH_INFO"].split("/", 3)
    return Statement(
        method=environ["REQUEST_METHOD"],
        path="/" + "".join(path),
        run=environ.get(inside.ENV_REQUEST, ""),
        terms=environ.get(inside.ENV_TERMS, ""),
        transaction=environ.get("HTTP_X_TRANS_ID", ""),
    )


def _has(headers: Headers, names: tuple[str, ...]) -> bool:
    return any(key.lower() in names and value for key, value in headers)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Any], ObjectHook]:
    """paste.deploy's way in: `use = egg:insitu#object_hook`."""
    settings.check(local_conf, "object_hook", settings.OBJECT_HOOK)
    conf = global_conf | local_conf
    return lambda app: ObjectHook(app, conf)
