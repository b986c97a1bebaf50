"""Starts the run of one request, wherever it can run, and says how it began.

    Order ──▶ Runs.read ──▶ at a storage node that holds the object: the marked GET (see run_switch.py)
                        ──▶ at the proxy's own node: everything else (see local_run.py)

What comes of it is a `Ran`, whose status is decided; or an exception that carries the answer: `Refused`, a problem of
ours, or `Answered`, Swift's own.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from swift.common.utils import close_if_possible
from swift.common.wsgi import WSGIContext

from insitu.runtime.client import LaunchRequest
from insitu.runtime.errors import Busy, NodeError, NodeUnavailable
from insitu.runtime.grammar import RunRequest, format_run
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks import inside, problem
from insitu.storage_hooks.extra_inputs import ExtraInputs
from insitu.storage_hooks.feed import Feed, Here, InputBroken
from insitu.storage_hooks.framed import RunAborted
from insitu.storage_hooks.frames import FrameError
from insitu.storage_hooks.green import ClientGone, ClientWatch
from insitu.storage_hooks.inside import Environ, Headers, Terms
from insitu.storage_hooks.local_node import LocalNode
from insitu.storage_hooks.local_run import run_here
from insitu.storage_hooks.problem import Problem
from insitu.storage_hooks.refusing import Answered, Refused, refused, unavailable
from insitu.storage_hooks.result_headers import request_headers, run_headers

_ELSEWHERE = (Busy.code, NodeUnavailable.code)
_NO_NODE = ", and this one has no insitu node of its own (run_hook's setting 'socket')"
CONDITIONS = ("RANGE", "IF_RANGE", "IF_MATCH", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "IF_UNMODIFIED_SINCE")


@dataclass(frozen=True, slots=True)
class Order:
    """A run with everything about it decided but for where. `request.program` is a name or a digest by now."""

    request: RunRequest
    tenant: str
    object: str
    """/ACCOUNT/CONTAINER/OBJECT, for the record."""
    provider: Callable[[], Iterable[bytes]] | None = None
    """Where a node gets the program's bytes that does not have it."""
    owners: bool = False
    """The owner named these very words: program and inputs are read in his name, and not in the caller's."""
    let_in: bool = False
    """The caller may read results of this run, but not the object: nothing of that is told him."""


@dataclass(slots=True)
class Ran:
    """A run whose status is decided. `close` must be called, as of any WSGI body."""

    source: Headers
    """Of the object that was read, as Swift gave them."""
    run: Headers
    """Of the run, for clients."""
    content_type: str
    """A media type, or "source"."""
    digest: str
    body: "Watched"
    length: int | None
    metadata: str | None = None
    """As `inside.META` had it."""
    frozen: bool = False
    """The launch was frozen: its result is the only one that there can be."""
    stated: str = ""
    """See `ProgramInfo.stated`."""
    inputs: tuple[tuple[str, str], ...] = field(default=())
    """Extra inputs by channel, with the ETags of what was read."""

    def close(self) -> None:
        self.body.close()


class Runs:
    """How one proxy starts runs. `local`: its own node, if it has one."""

    def __init__(self, app: Any, limits: Limits, local: LocalNode | None, max_input: int, logger: Any) -> None:
        self.app, self.limits, self.local, self.max_input, self.logger = app, limits, local, max_input, logger

    def read(self, environ: Environ, order: Order) -> Ran:
        """A run on the object that `environ` asks for. Raises `Refused`, `Answered`."""

        def start(watch: ClientWatch) -> Ran:
            if order.request.inputs:
                return self._here(environ, order, self._plain(environ), watch)
            return self._at_nodes(environ, order, watch)

        return _watched(environ, start)

    def _at_nodes(self, environ: Environ, order: Order, watch: ClientWatch) -> Ran:
        sent = unconditional(environ)
        sent[inside.ENV_REQUEST] = format_run(order.request.program, order.request.args)
        sent[inside.ENV_TERMS] = Terms(tenant=order.tenant, limits=self.limits).encode()
        if order.provider is not None:
            sent[inside.ENV_PROVIDER] = order.provider
        context = WSGIContext(self.app)
        body = context._app_call(sent)
        headers: Headers = context._response_headers
        if inside.find(headers, inside.ID) is not None:
            return self._ran(headers, headers, body, watch)
        code = inside.find(headers, inside.REFUSED)
        if code is None and context._response_status.startswith("2"):
            return self._here(environ, order, Plain(headers, body), watch)
        if code is None and not context._response_status.startswith("503 "):
            raise _answered(environ, context, body)
        close_if_possible(body)
        if code in _ELSEWHERE and self.local is not None:
            return self._here(environ, order, self._plain(environ), watch)
        if code is None:
            # Swift's own: none of its servers answered. Had one been asked to run, the switch would have said so.
            raise unavailable("no storage server that holds the object answers", headers)
        raise refused(code, inside.unquote_reason(inside.find(headers, inside.REASON) or ""), headers)

    def _plain(self, environ: Environ) -> "Plain":
        """The object as a plain GET gives it. Raises `Answered`."""
        sent = unconditional(environ)
        context = WSGIContext(self.app)
        body = context._app_call(sent)
        if not context._response_status.startswith("200 "):
            raise _answered(environ, context, body)
        return Plain(context._response_headers, body)

    def _here(self, environ: Environ, order: Order, plain: "Plain", watch: ClientWatch) -> Ran:
        if inside.find(plain.headers, "X-Static-Large-Object") and "part-number=" in (
            environ.get("QUERY_STRING") or ""
        ):
            close_if_possible(plain.body)
            raise Refused(problem.unsupported_object("part-number asks for a part, and programs read whole objects"))
        if self.local is None:
            close_if_possible(plain.body)
            what = "further inputs are read at the proxy" if order.request.inputs else _why_not_whole(plain.headers)
            raise Refused(problem.unsupported_object(f"{what}{_NO_NODE}"), request_headers(plain.headers))
        length = inside.find(plain.headers, "Content-Length")
        feed = Feed(plain.body, None if length is None else int(length))
        return self._locally(environ, order, feed, plain.headers, watch, md5=self.local.md5_of(plain.headers))

    def write(self, environ: Environ, order: Order, upload: int) -> Ran:
        """A run at the proxy's own node on what a client has sent, a file. Raises `Refused`."""
        here = Here(upload)
        try:
            return _watched(environ, lambda watch: self._locally(environ, order, here, [], watch))
        except BaseException:
            here.close()  # also where it was never begun
            raise

    def needs_local(self) -> None:
        """For what is run at the proxy. Raises `Refused` where it has no node."""
        if self.local is None:
            raise Refused(problem.unsupported_object(f"what is written is run at the proxy{_NO_NODE}"))

    def _locally(
        self,
        environ: Environ,
        order: Order,
        feed: Feed | Here,
        source: Headers,
        watch: ClientWatch,
        *,
        md5: str = "",
    ) -> Ran:
        """A run at the proxy's own node, of what `feed` brings. The feed is closed with it. `md5`: what the guest must
        have read once it has read all. Raises `Refused`."""
        assert self.local is not None
        try:
            inputs = ExtraInputs.read(self.app, environ, order.request.inputs, self.max_input, owners=order.owners)
        except BaseException:
            feed.close()
            raise
        try:
            if order.provider is not None:
                self.local.bring(order.request.program, order.provider())
            headers, body = run_here(
                self.local,
                replace(self.launch_request(environ, order), md5=md5),
                feed,
                inputs.descriptors,
                self.logger,
            )
        except NodeError as why:
            feed.close()
            raise refused(why.code, str(why), source, retry_after=getattr(why, "retry_after", None)) from None
        except InputBroken as why:
            raise Refused(problem.input_broken(str(why))) from None
        finally:
            inputs.close()
        return replace(self._ran(source, headers, body, watch), inputs=inputs.etags)

    def launch_request(self, environ: Environ, order: Order) -> LaunchRequest:
        return LaunchRequest(
            program=order.request.program,
            args=order.request.args,
            tenant=order.tenant,
            request_id=environ.get("swift.trans_id", ""),
            object=order.object,
            limits=self.limits,
            env={},
            figures=bool(order.request.inputs),  # of stdin and stdout alone the sums say as much
        )

    def _ran(self, source: Headers, headers: Headers, body: Any, watch: ClientWatch) -> Ran:
        about = run_headers(headers)
        digest = inside.find(headers, inside.PROGRAM) or ""
        run_id = inside.find(headers, inside.ID) or "?"
        malformed = inside.find(headers, inside.MALFORMED)
        if malformed is not None:
            self._over(body, watch)
            why = problem.malformed_metadata(inside.unquote_reason(malformed), run_id, digest)
            raise Refused(why, request_headers(source) + about)
        outcome = inside.find(headers, inside.OUTCOME)
        if outcome is not None:
            try:
                end = inside.decode_outcome(outcome)
            except FrameError as why:
                end = Outcome(end="lost", note=str(why))
            if not end.ok:
                self._over(body, watch)
                raise Refused(problem.ended(end, run_id, digest), request_headers(source) + about)
        length = inside.find(headers, "Content-Length")
        return Ran(
            source=source,
            run=about,
            content_type=inside.find(headers, inside.TYPE) or "application/octet-stream",
            digest=digest,
            body=Watched(body, watch),
            length=None if length is None else int(length),
            metadata=inside.find(headers, inside.META),
            frozen=inside.find(headers, inside.FROZEN) is not None,
            stated=inside.find(headers, inside.STATED) or "",
        )

    def _over(self, body: Any, watch: ClientWatch) -> None:
        close_if_possible(body)
        watch.close()


@dataclass(frozen=True, slots=True)
class Plain:
    """An object as Swift answers a plain GET of it."""

    headers: Headers
    body: Iterable[bytes]


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

    def reset(self) -> None:
        """Reset the client's connection: whatever its protocol, it cannot take that for the body's end."""
        self._watch.reset()

    def close(self) -> None:
        self._watch.close()
        close_if_possible(self._body)


def _watched(environ: Environ, start: Callable[[ClientWatch], Ran]) -> Ran:
    """What `start` gives, unless the client goes away meanwhile. Raises `Refused`, and what `start` does."""
    watch = ClientWatch(environ)
    try:
        with watch:
            return start(watch)
    except ClientGone:
        watch.close()
        raise Refused(problem.client_gone()) from None
    except BaseException:
        watch.close()
        raise


def ended(ran: Ran, why: RunAborted) -> Problem:
    """The problem of a run that failed after its status was decided, for whoever can still be told one."""
    if why.outcome is None:
        return problem.refused("lost", str(why))
    return problem.ended(why.outcome, inside.find(ran.run, "X-Run-Id") or "?", ran.digest)


def unconditional(environ: Environ) -> Environ:
    """The same request without a Range and conditions: they are about the result, and not about the object."""
    sent = dict(environ)
    for name in CONDITIONS:
        sent.pop(f"HTTP_{name}", None)
    return sent


def _answered(environ: Environ, context: WSGIContext, body: Iterable[bytes]) -> Refused | Answered:
    if context._response_status.startswith("404 ") and environ.get("swift.source") != "S3":
        # (s3api makes its own NoSuchKey of Swift's.)
        close_if_possible(body)
        why = problem.no_such_object(inside.native(environ["PATH_INFO"])[:200])
        return Refused(why, request_headers(context._response_headers))
    return Answered(context, body)


def _why_not_whole(headers: Headers) -> str:
    if inside.find(headers, "X-Static-Large-Object") or inside.find(headers, "X-Object-Manifest"):
        what = "the object is a large object: its segments lie on many nodes"
    else:
        what = "the object's bytes are not whole on one storage node, or no object_hook is installed there"
    return what
