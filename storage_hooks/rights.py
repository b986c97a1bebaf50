"""Who may run what: the rules beyond Swift's own.

Swift decides who reads, writes and lists, as ever. What is added here:

* Whoever does not come in a name of their own (no token at all, or a URL that somebody else signed, which signs neither
  the query nor X-Run) runs what the container's owner named, and nothing else, and gets no object as it is where the
  owner has said that a program answers for it.
* Whom X-Container-Run-Read names, reads results of named programs, though Swift would let them read no object there.
  For this the authentication filter is asked once more, with that ACL in the place of X-Container-Read.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs

from insitu.runtime.grammar import RunRequest
from insitu.storage_hooks import problem
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.policies import AccountPolicy, Policy
from insitu.storage_hooks.problem import Problem

Authorize = Callable[[Any], Any]


class Caller(StrEnum):
    """In whose name a request comes."""

    ANONYMOUS = "anonymous"
    TEMPURL = "tempurl"
    """Somebody with a URL, or a form, that a user has signed: tempurl's, formpost's, or a presigned one of S3."""
    USER = "user"

    @classmethod
    def of(cls, environ: Environ) -> "Caller":
        user = environ.get("REMOTE_USER")
        if not user:
            return cls.ANONYMOUS
        # Filters that stand in for authentication call themselves .wsgi.tempurl, .wsgi.formpost, …
        if str(user).startswith(".wsgi.") or (environ.get("swift.source") == "S3" and _presigned(environ)):
            return cls.TEMPURL
        return cls.USER


def named(policy: Policy, request: RunRequest) -> bool:
    """Has the container's owner named exactly this?"""
    return request == policy.on_read or any(entry.admits(request) for entry in policy.allow)


def may(caller: Caller, policy: Policy, account: AccountPolicy, request: RunRequest | None) -> Problem | None:
    """May they ask for this (None: the object as it is, `-`), if Swift lets them read? None if so."""
    if request is None:
        if caller is not Caller.USER and policy.on_read is not None:
            return problem.not_named("the object as it is")
        return None
    if not account.runs:
        return problem.runs_off()
    if caller is not Caller.USER and not named(policy, request):
        return problem.not_named("this run request")
    return None


class Widening:
    """A request's `swift.authorize`, which also admits those whom X-Container-Run-Read names: to one object alone."""

    def __init__(self, environ: Environ, policy: Policy, path: tuple[str, str, str]) -> None:
        self.used = False
        """Somebody was admitted who may not read the object itself. They get nothing that is not the program's."""
        self._environ = environ
        self._policy = policy
        self._path = path
        self._authorize: Authorize = environ["swift.authorize"]
        environ["swift.authorize"] = self._widened

    def undo(self) -> None:
        """Swift's own rules again."""
        self._environ["swift.authorize"] = self._authorize

    def _widened(self, req: Any) -> Any:
        denied = self._authorize(req)
        if denied is None or req.method not in ("GET", "HEAD") or _path_of(req) != self._path:
            return denied
        # Swift asks twice, at first without any ACL: both are tried here, so that it is known which one admitted.
        before = req.acl
        try:
            req.acl = self._policy.read_acl
            if self._authorize(req) is None:
                return None
            req.acl = self._policy.run_read
            if self._authorize(req) is None:
                self.used = True
                return None
        finally:
            req.acl = before
        return denied


def widen(environ: Environ, policy: Policy, account: str, container: str, obj: str) -> Widening | None:
    """Let those whom the policy's `run_read` names read this object (names as in PATH_INFO), for a named run alone.

    In place; it travels with all that is made of `environ`, and admits to no other path. The caller sees to it that
    nobody is answered with the object's own bytes or metadata then. None when there is nobody to admit.
    """
    if policy.run_read is None or "swift.authorize" not in environ:
        return None
    return Widening(environ, policy, (account, container, obj))


def _path_of(req: Any) -> tuple[str, ...] | None:
    try:
        _, *path = req.split_path(4, 4, True)
    except ValueError:
        return None
    return tuple(path)


def _presigned(environ: Environ) -> bool:
    """Is the signature of this S3 request in its URL? It does not cover headers then, but for those it names.

    s3api has rewritten the query; the request as it came is what its check of the signature is bound to. If that is
    not to be found, the answer is yes.
    """
    try:
        request = environ["s3api.auth_details"]["check_signature"].__self__.req
        query = parse_qs(request.environ.get("QUERY_STRING") or "", keep_blank_values=True)
    except (KeyError, AttributeError, TypeError, ValueError):
        return True
    return "X-Amz-Credential" in query or "AWSAccessKeyId" in query
