"""Turns run requests and the owners' policies into runs, and what came of them into HTTP: a filter of the proxy.

    [pipeline:main]
    pipeline = … s3api tempauth run_hook copy … symlink proxy-logging run_switch proxy-server

    [filter:run_hook]
    use = egg:insitu#run_hook
    # The insitu node beside this proxy, which runs what no storage node can: large objects, erasure-coded and encrypted
    # ones, runs with several inputs, and what is written. Without these two settings such requests are refused.
    socket = /run/insitu/node.sock
    node = proxy-1
    # Limits of every run.
    memory = 256MiB
    wall = 10s
    output = 1GiB
    # Engine units, about one per instruction; 0 means no limit of its own.
    fuel = 0
    # The most that the extra inputs (in.NAME=/CONTAINER/OBJECT) of one run may hold together: they are kept in memory.
    max_input = 64MiB

It must stand right of the authentication filters and left of copy, slo, dlo and symlink, together with run_switch
(which see) and an object_hook on every object server. docs/operators.md has all headers, statuses and settings.
"""

from collections.abc import Callable, Iterable
from typing import Any

from swift.common.registry import register_swift_info
from swift.common.swob import HTTPException
from swift.common.utils import close_if_possible, get_logger
from swift.common.wsgi import WSGIContext

import insitu
from insitu.runtime.grammar import MAX_BYTES, GrammarError, RunRequest, parse_run
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import MIB, Limits, parse_duration, parse_size
from insitu.storage_hooks import (
    asking,
    copying,
    inside,
    policy_headers,
    problem,
    program_uploads,
    reading,
    rights,
    settings,
    writing,
)
from insitu.storage_hooks.copying import Copy
from insitu.storage_hooks.deciding import Deciding, Where
from insitu.storage_hooks.derived.manage import derived_request
from insitu.storage_hooks.derived.serving import Derived
from insitu.storage_hooks.derived.settings import Settings
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.local_node import LocalNode
from insitu.storage_hooks.policies import NEED_TYPE, NONE, NeedType, Policy, PolicyError, container_policy, type_of_put
from insitu.storage_hooks.refusing import Answered, Denied, Refused, discreetly
from insitu.storage_hooks.result_headers import without_users
from insitu.storage_hooks.runs import CONDITIONS, Order, Runs, unconditional

StartResponse = Callable[..., Any]

_VERSIONS = ("v1", "v1.0")
_METHODS = ("GET", "HEAD", "PUT", "COPY")
"""What policies are about."""


class RunHook:
    """The filter. One instance serves all requests of a proxy process."""

    def __init__(self, app: Any, conf: dict[str, str]) -> None:
        """Raises ValueError for a setting that is malformed."""
        self.app = app
        logger = get_logger(conf, log_route="insitu-run-hook")
        local = LocalNode(conf, "run_hook") if conf.get("socket") else None
        self._runs = Runs(app, _limits_of(conf), local, _size(conf, "max_input", 64 * MIB), logger)
        self._deciding = Deciding(app)
        self._derived = Derived(self._runs, Settings.of(conf, self._runs.limits.wall or 0.0))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Gatekeeper has stripped it already, if it is where it belongs.
        if inside.ENV_REQUEST in environ:
            inside.unmark(environ)
        parts = environ["PATH_INFO"].split("/", 4)
        is_object = len(parts) == 5 and parts[1] in _VERSIONS and all(parts[2:])
        try:
            asked = asking.asked(environ)
            if not is_object:
                return self._other(environ, start_response, asked)
            method = environ["REQUEST_METHOD"]
            if method not in _METHODS:
                if asked is not None:
                    raise Refused(problem.wrong_method(method))
                if method == "POST" and environ.get("HTTP_X_OBJECT_MANIFEST"):
                    self._check_manifest(environ, (parts[2], parts[3], parts[4]))
                return self._plain(environ, start_response)
            where = (parts[2], parts[3], parts[4])
            policy = container_policy(environ, self.app)
            if asked is None and policy is NONE and method != "COPY":  # which writes elsewhere
                return self._plain(environ, start_response)
            return self._object(environ, start_response, where, asked, policy)
        except GrammarError as why:
            return problem.malformed(str(why)).answer(environ, start_response, [])
        except PolicyError as why:
            return problem.unknown_policy(str(why)).answer(environ, start_response, [("Retry-After", "10")])
        except (Refused, Answered, Denied) as why:
            return why.answer(environ, start_response)
        except HTTPException as why:
            refusal: Iterable[bytes] = why(environ, start_response)
            return refusal

    def _other(self, environ: Environ, start_response: StartResponse, asked: str | None) -> Iterable[bytes]:
        """A request for no object."""
        if asked is not None:
            raise Refused(problem.not_an_object(inside.native(environ["PATH_INFO"])[:200]))
        answer = derived_request(self.app, environ, start_response, self._derived.memory.forget)
        if answer is None:
            answer = policy_headers.policy_request(self.app, environ, start_response)
        if answer is None:
            answer = self.app(environ, start_response)
        return answer

    def _object(
        self, environ: Environ, start_response: StartResponse, where: Where, asked: str | None, policy: Policy
    ) -> Iterable[bytes]:
        answer = self._read if environ["REQUEST_METHOD"] in ("GET", "HEAD") else self._write
        return answer(environ, start_response, where, asked, policy)

    def _read(
        self, environ: Environ, start_response: StartResponse, where: Where, asked: str | None, policy: Policy
    ) -> Iterable[bytes]:
        if asked == asking.PLAIN:
            self._deciding.plain(environ, policy)
            request = None
        elif asked is not None:
            request = parse_run(asked)
        else:
            request = self._by_policy(policy.for_read, where, lambda: self._type_read(environ, policy, where))
        if request is None:
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        order = self._deciding.reading(environ, where, request, policy)
        answer_with = self._derived.head if environ["REQUEST_METHOD"] == "HEAD" else self._derived.read
        with discreetly(order.let_in):
            return answer_with(environ, start_response, order, policy)

    def _by_policy(
        self, rule: Callable[[str, str | None], RunRequest | NeedType | None], where: Where, type_of: Callable[[], str]
    ) -> RunRequest | None:
        name = inside.native(where[2])
        found = rule(name, None)
        if found is NEED_TYPE:
            found = rule(name, type_of())
        assert found is not NEED_TYPE
        return found

    def _type_read(self, environ: Environ, policy: Policy, where: Where) -> str:
        """Of the object that is read: they may learn whether the policy holds who may only read what it makes."""
        sent = dict(environ)
        rights.widen(sent, policy, *where)
        return self._type_of(sent)

    def _type_of(self, environ: Environ) -> str:
        """The content type of an object; nobody runs anything for it. Raises `Answered` with what Swift says instead:
        what cannot be known is not answered as if the policy did not hold."""
        # The answer to a HEAD is none to a GET: that has a body.
        for method in ("HEAD", environ["REQUEST_METHOD"]):
            context = WSGIContext(self.app)
            body = context._app_call(unconditional(environ) | {"REQUEST_METHOD": method})
            if context._response_status.startswith("2"):
                close_if_possible(body)
                return inside.find(context._response_headers, "Content-Type") or ""
            if method == environ["REQUEST_METHOD"]:
                break
            close_if_possible(body)
        raise Answered(context, body)

    def _write(
        self, environ: Environ, start_response: StartResponse, where: Where, asked: str | None, policy: Policy
    ) -> Iterable[bytes]:
        copy = None
        if copying.is_copy(environ):
            try:
                copy = Copy(environ)
            except HTTPException:
                if asked is not None:
                    raise
                return self._plain(environ, start_response)  # Swift says the same
            where = copy.target
            if copy.moves:
                policy = container_policy(copy.writing([]), self.app)
        by_policy = self._by_policy(policy.for_write, where, lambda: self._type_written(environ, copy))
        if asked is not None and asked != asking.PLAIN:
            request: RunRequest | None = parse_run(asked)
            if by_policy is not None and request != by_policy:
                raise Refused(problem.against_policy())
        elif asked is not None and by_policy is not None:
            raise Refused(problem.against_policy())
        else:
            request = by_policy
        if request is None and not policy.programs:
            return self._plain(environ, start_response)
        if why := _no_bytes(environ):
            raise Refused(problem.not_bytes(why))
        if copy is not None:
            copy.check_whole()
        if request is None:
            self._deciding.authorize(environ if copy is None else copy.writing([]), "write_acl")
            if copy is not None:
                self._deciding.authorize(copy.reading(), "read_acl")
            return program_uploads.put(self._runs, environ, start_response, copy)
        if policy.programs:
            raise Refused(problem.not_a_program("what a run makes is not stored where programs are kept"))
        if copy is not None:
            return self._copy(copy, start_response, request, policy, named=by_policy is not None)
        order = self._deciding.writing(environ, where, request, policy)
        return writing.write(self._runs, environ, start_response, order)

    def _check_manifest(self, environ: Environ, where: Where) -> None:
        """A POST can make a manifest of an object, whose bytes then come from elsewhere. Raises `Refused`."""
        policy = container_policy(environ, self.app)
        if policy.programs or self._by_policy(policy.for_write, where, lambda: self._type_of(environ)) is not None:
            raise Refused(problem.not_bytes(_no_bytes(environ)))

    def _copy(
        self, copy: Copy, start_response: StartResponse, request: RunRequest, policy: Policy, *, named: bool
    ) -> Iterable[bytes]:
        target, source = copy.writing([]), copy.reading()
        if named:
            order = self._deciding.writing(target, copy.target, request, policy)
            self._deciding.authorize(source, "read_acl")
        else:
            self._deciding.authorize(target, "write_acl")
            order = self._deciding.reading(source, copy.source, request, container_policy(source, self.app))
        with discreetly(order.let_in):
            self._check_source(source, order)
            ran = self._runs.read(source, order)
            # Who may read results only is told nothing that the owner says of the source.
            source_headers = without_users(ran.source) if order.let_in else ran.source
            return writing.store(self._runs, copy.writing(source_headers), start_response, ran, copy.answer_headers())

    def _check_source(self, source: Environ, order: Order) -> None:
        """A copy's conditions are about its source, as with Swift's own copies. Raises `Answered`, `Refused`."""
        if order.let_in:
            return reading.check_conditions(source)  # of which he learns nothing
        if any(f"HTTP_{name}" in source for name in CONDITIONS):
            context = WSGIContext(self.app)
            body = context._app_call(source | {"REQUEST_METHOD": "HEAD"})
            if not context._response_status.startswith("2"):
                raise Answered(context, body)
            close_if_possible(body)

    def _type_written(self, environ: Environ, copy: Copy | None) -> str:
        if copy is None or environ.get("CONTENT_TYPE"):
            return type_of_put(environ)
        return self._type_of(copy.reading())

    def _plain(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer


def _no_bytes(environ: Environ) -> str:
    """Why what is written is nothing that a program could read; empty if it is."""
    if "multipart-manifest=put" in (environ.get("QUERY_STRING") or ""):
        return "a manifest of a large object"
    if environ.get("HTTP_X_OBJECT_MANIFEST"):
        return "a manifest of a large object (X-Object-Manifest)"
    if environ.get("HTTP_X_SYMLINK_TARGET"):
        return "a symlink"
    return ""


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


def _size(conf: dict[str, str], name: str, default: int) -> int:
    try:
        return parse_size(conf[name]) if name in conf else default
    except (LimitsError, ValueError) as why:
        raise ValueError(f"run_hook: {name}: {why}") from None


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Any], RunHook]:
    """paste.deploy's way in: `use = egg:insitu#run_hook`."""
    settings.check(local_conf, "run_hook", settings.RUN_HOOK)
    conf = global_conf | local_conf
    limits = _limits_of(conf)
    register_swift_info("insitu", version=insitu.__version__, max_run_request=MAX_BYTES, limits=limits.to_wire())
    return lambda app: RunHook(app, conf)
